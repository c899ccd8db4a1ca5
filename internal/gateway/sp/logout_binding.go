package sp

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"io"
	"net/url"
	"slices"
	"strings"

	"cequence.cloud/saml-operator/internal/xmldsig"
)

// MaxQueryBytes is the size of the largest query taken. Browsers and servers
// carry less.
const MaxQueryBytes = 64 << 10

const (
	parameterEncoding = "SAMLEncoding"
	deflateEncoding   = "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"
)

// LogoutMessage is a LogoutRequest or a LogoutResponse as it came. Nothing in
// it has been verified.
type LogoutMessage struct {
	// Response: it is to be a LogoutResponse.
	Response bool
	// RelayState is to be sent back with the answer to a request, and means
	// nothing else.
	RelayState string

	encoded []byte
	query   *query // of the HTTP-Redirect binding, else nil
}

// query is what the HTTP-Redirect binding has instead of a signature in the
// XML [SAMLBindings 3.4.4.1].
type query struct {
	signed    bool
	octets    string // as received: whoever escapes anew may escape otherwise
	algorithm string
	value     []byte
}

// LogoutFromQuery takes the message out of a query as it was received
// [SAMLBindings 3.4.4]. The error is an *Error.
func LogoutFromQuery(raw string) (*LogoutMessage, error) {
	if len(raw) > MaxQueryBytes {
		return nil, refuse(CodeTooLarge, "query of %d bytes", len(raw))
	}
	parameters, err := queryParameters(raw)
	if err != nil {
		return nil, err
	}
	if encoding, ok := parameters[parameterEncoding]; ok && encoding.value != deflateEncoding {
		return nil, refuse(CodeEncodingInvalid, "SAMLEncoding is %s", quote(encoding.value))
	}
	name, err := messageParameter(func(name string) bool { _, ok := parameters[name]; return ok })
	if err != nil {
		return nil, err
	}
	m := &LogoutMessage{Response: name == parameterResponse, RelayState: parameters[parameterRelayState].value, query: &query{}}
	if m.encoded, err = base64.StdEncoding.DecodeString(parameters[name].value); err != nil || len(m.encoded) == 0 {
		return nil, refuse(CodeEncodingInvalid, "%s is not base64", name)
	}

	algorithm, hasAlgorithm := parameters[parameterSigAlg]
	signature, hasSignature := parameters[parameterSignature]
	switch {
	case !hasAlgorithm && !hasSignature:
		return m, nil
	case !hasAlgorithm || !hasSignature:
		return nil, refuse(CodeSignatureStructure, "SigAlg and Signature belong together")
	}
	m.query.signed, m.query.algorithm = true, algorithm.value
	if m.query.value, err = base64.StdEncoding.DecodeString(signature.value); err != nil || len(m.query.value) == 0 {
		return nil, refuse(CodeSignatureStructure, "Signature is not base64")
	}
	m.query.octets = name + "=" + parameters[name].raw
	if relayState, ok := parameters[parameterRelayState]; ok {
		m.query.octets += "&" + parameterRelayState + "=" + relayState.raw
	}
	m.query.octets += "&" + parameterSigAlg + "=" + algorithm.raw
	return m, nil
}

// LogoutFromForm takes the message out of the form of the HTTP-POST binding
// [SAMLBindings 3.5.4]. The error is an *Error.
func LogoutFromForm(form url.Values) (*LogoutMessage, error) {
	for _, name := range []string{parameterRequest, parameterResponse, parameterRelayState} {
		if len(form[name]) > 1 {
			return nil, refuse(CodeParametersInvalid, "%s is there twice", name)
		}
	}
	name, err := messageParameter(form.Has)
	if err != nil {
		return nil, err
	}
	m := &LogoutMessage{Response: name == parameterResponse, RelayState: form.Get(parameterRelayState)}
	if m.encoded, err = decodeForm(name, form.Get(name)); err != nil {
		return nil, err
	}
	return m, nil
}

// HasMessage says whether a query carries any parameter of a binding.
func HasMessage(raw string) bool {
	parameters, err := queryParameters(raw)
	return err != nil || len(parameters) > 0
}

// messageParameter returns which of the two parameters there is.
func messageParameter(has func(name string) bool) (string, error) {
	request, response := has(parameterRequest), has(parameterResponse)
	switch {
	case request && response:
		return "", refuse(CodeParametersInvalid, "a request and a response at once")
	case request:
		return parameterRequest, nil
	case response:
		return parameterResponse, nil
	}
	return "", refuse(CodeParametersInvalid, "neither a request nor a response")
}

// parameter is one of the query: as received, and what that stands for.
type parameter struct{ raw, value string }

// queryParameters returns those of the binding. Each has to be there once at
// most and under its plain name, so that nobody reads another one. Others are
// none of our business: nobody has signed them.
func queryParameters(raw string) (map[string]parameter, error) {
	ours := []string{parameterRequest, parameterResponse, parameterRelayState, parameterEncoding, parameterSigAlg, parameterSignature}
	found := map[string]parameter{}
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(name)
		if err != nil {
			return nil, refuse(CodeParametersInvalid, "a parameter's name is not escaped as it should be")
		}
		if !slices.Contains(ours, plain) {
			continue
		}
		if _, twice := found[plain]; twice || plain != name {
			return nil, refuse(CodeParametersInvalid, "%s is there twice, or under an escaped name", plain)
		}
		p := parameter{raw: value}
		if p.value, err = url.QueryUnescape(value); err != nil {
			return nil, refuse(CodeEncodingInvalid, "%s is not escaped as it should be", plain)
		}
		found[plain] = p
	}
	return found, nil
}

func (v verifier) querySigned(q *query) (bool, error) {
	if !q.signed {
		return false, nil
	}
	value, err := xmldsig.NewValue(q.algorithm, []byte(q.octets), q.value)
	if err != nil {
		return false, signatureRefusal(err)
	}
	if _, err := v.trusted(value, nil); err != nil {
		return false, err
	}
	return true, nil
}

// inflate stops where a message would be too large.
func inflate(deflated []byte) ([]byte, error) {
	document, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(deflated)), MaxResponseBytes+1))
	switch {
	case len(document) > MaxResponseBytes:
		return nil, refuse(CodeTooLarge, "the message is of more than %d bytes, inflated", MaxResponseBytes)
	case err != nil:
		return nil, refuse(CodeEncodingInvalid, "the message is not compressed by DEFLATE")
	}
	return document, nil
}
