package sp

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"cequence.cloud/saml-operator/internal/xmldsig"
	"cequence.cloud/saml-operator/internal/xmltree"
)

// MaxQueryBytes is the size of the largest query taken. Browsers and servers
// carry less.
const MaxQueryBytes = 64 << 10

// The statuses that we answer with, and want to read [SAMLCore 3.2.2.2].
const (
	StatusSuccess   = "urn:oasis:names:tc:SAML:2.0:status:Success"
	StatusRequester = "urn:oasis:names:tc:SAML:2.0:status:Requester"
	StatusResponder = "urn:oasis:names:tc:SAML:2.0:status:Responder"
)

const (
	parameterEncoding = "SAMLEncoding"
	deflateEncoding   = "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"

	// Entra ID has two names [Entra ID, Single Sign-Out SAML Protocol].
	entraIssuer       = "https://sts.windows.net/"
	entraLogoutIssuer = "https://login.microsoftonline.com/"
)

// LogoutExpectations is what a logout message has to fit, as Expectations are
// for a Response.
type LogoutExpectations struct {
	// SLOURL must be equal to Destination, byte for byte.
	SLOURL              string
	IDPEntityID         string
	SigningCertificates []*x509.Certificate
	Now                 time.Time
	ClockSkew           time.Duration
}

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

// LogoutRequest asks to end a user's sessions [SAMLCore 3.7.1].
type LogoutRequest struct {
	ID           string
	IssueInstant time.Time
	// NotOnOrAfter, in one from VerifyLogoutRequest, is from when on that
	// refuses it, skew included: ID must be remembered until then.
	NotOnOrAfter time.Time
	Issuer       string
	Destination  string
	NameID       NameID
	// SessionIndexes name the sessions; none means all.
	SessionIndexes []string
}

// LogoutResponse answers a LogoutRequest [SAMLCore 3.7.2].
type LogoutResponse struct {
	ID           string
	IssueInstant time.Time
	Issuer       string
	Destination  string
	InResponseTo string
	Status       string
	// Signed: a trusted key vouches for one from VerifyLogoutResponse.
	Signed bool
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

var errLogoutUnsigned = refuse(CodeSignatureMissing, "the LogoutRequest is not signed")

// VerifyLogoutRequest checks a request of the IdP and returns what it says.
// One that is not signed is refused. The error is an *Error.
func VerifyLogoutRequest(m *LogoutMessage, want LogoutExpectations) (request *LogoutRequest, err error) {
	defer func() {
		if recover() != nil {
			request, err = nil, refuse(CodeInternal, "panic while verifying")
		}
	}()
	v, err := want.verifier()
	if err != nil {
		return nil, err
	}
	if m.query != nil && !m.query.signed {
		return nil, errLogoutUnsigned
	}
	root, signed, err := v.logoutMessage(m, "LogoutRequest", logoutRequestShape)
	switch {
	case err != nil:
		return nil, err
	case !signed:
		return nil, errLogoutUnsigned
	}
	request = &LogoutRequest{Issuer: want.IDPEntityID, Destination: want.SLOURL}
	if request.ID, err = identity(root); err != nil {
		return nil, err
	}
	if err := v.checkIssuer(root); err != nil {
		return nil, err
	}
	// It might have been sent to somebody else who trusts this IdP.
	if destination, _ := root.Attribute("Destination"); destination != want.SLOURL {
		return nil, destinationRefusal(destination, want.SLOURL)
	}
	if request.IssueInstant, err = v.issueInstant(root); err != nil {
		return nil, err
	}
	request.NotOnOrAfter = request.IssueInstant.Add(MaxAge)
	end, err := timeAttribute(root, "NotOnOrAfter")
	switch {
	case err != nil:
		return nil, err
	case v.past(end):
		return nil, refuse(CodeExpired, "the LogoutRequest was valid until %s, now it is %s", stamp(end), stamp(want.Now))
	case !end.IsZero() && end.Before(request.NotOnOrAfter):
		request.NotOnOrAfter = end
	}
	request.NotOnOrAfter = request.NotOnOrAfter.Add(want.ClockSkew)

	if request.NameID, err = nameID(root); err != nil {
		return nil, err
	}
	if request.NameID.Value == "" {
		return nil, refuse(CodeNameIDMissing, "LogoutRequest without NameID")
	}
	for e := range root.Named(nsProtocol, "SessionIndex") {
		index, ok := e.Text()
		if !ok {
			return nil, refuse(CodeStructureInvalid, "SessionIndex with inner elements")
		}
		if index != "" {
			request.SessionIndexes = append(request.SessionIndexes, index)
		}
	}
	return request, nil
}

// VerifyLogoutResponse checks that m answers the request of that ID, and that
// the IdP has ended all sessions. It may be unsigned, so it must decide about
// nothing. The error is an *Error.
func VerifyLogoutResponse(m *LogoutMessage, requestID string, want LogoutExpectations) (response *LogoutResponse, err error) {
	defer func() {
		if recover() != nil {
			response, err = nil, refuse(CodeInternal, "panic while verifying")
		}
	}()
	v, err := want.verifier()
	if err != nil {
		return nil, err
	}
	if requestID == "" {
		return nil, refuse(CodeUnsolicited, "the browser has no outstanding LogoutRequest")
	}
	root, signed, err := v.logoutMessage(m, "LogoutResponse", logoutResponseShape)
	if err != nil {
		return nil, err
	}
	response = &LogoutResponse{InResponseTo: requestID, Status: StatusSuccess, Signed: signed}
	if response.ID, err = identity(root); err != nil {
		return nil, err
	}
	if response.Issuer, err = v.logoutIssuer(root); err != nil {
		return nil, err
	}
	// Entra ID may leave it out. InResponseTo says as well that it is for us.
	if destination, ok := root.Attribute("Destination"); ok && destination != want.SLOURL {
		return nil, destinationRefusal(destination, want.SLOURL)
	} else if ok {
		response.Destination = destination
	}
	if response.IssueInstant, err = v.issueInstant(root); err != nil {
		return nil, err
	}
	if answered, _ := root.Attribute("InResponseTo"); answered != requestID {
		return nil, refuse(CodeInResponseToMismatch, "InResponseTo is %s, which this browser did not request", quote(answered))
	}
	if err := checkStatus(root); err != nil {
		return nil, err
	}
	// Success may come with a second code: PartialLogout [SAMLCore 3.7.3.2].
	status := only(root, nsProtocol, "Status")
	if code := only(status, nsProtocol, "StatusCode"); only(code, nsProtocol, "StatusCode") != nil {
		return nil, statusRefusal(status, code)
	}
	return response, nil
}

func (want LogoutExpectations) verifier() (verifier, error) {
	if want.SLOURL == "" || want.IDPEntityID == "" {
		return verifier{}, refuse(CodeInternal, "incomplete expectations")
	}
	if len(want.SigningCertificates) == 0 {
		return verifier{}, refuse(CodeNoTrustedCertificate, "the IdP has no usable signing certificate")
	}
	return verifier{Expectations{
		IDPEntityID: want.IDPEntityID, SigningCertificates: want.SigningCertificates, Now: want.Now, ClockSkew: want.ClockSkew,
	}}, nil
}

var (
	logoutRequestShape = shape{
		{nsAssertion, "Issuer", true},
		{xmldsig.Namespace, "Signature", true},
		{nsProtocol, "Extensions", true},
		{nsAssertion, "NameID", true},
		{nsProtocol, "SessionIndex", false},
	}
	logoutResponseShape = shape{
		{nsAssertion, "Issuer", true},
		{xmldsig.Namespace, "Signature", true},
		{nsProtocol, "Extensions", true},
		{nsProtocol, "Status", true},
	}
)

// logoutMessage reads the message, and says whether a trusted key has signed
// it. A signature that does not hold is an error, never none. That of a query
// is checked before anything is inflated.
func (v verifier) logoutMessage(m *LogoutMessage, name string, allowed shape) (root *xmltree.Element, signed bool, err error) {
	if m.Response != (name == "LogoutResponse") {
		return nil, false, refuse(CodeStructureInvalid, "a %s in the other parameter", name)
	}
	document := m.encoded
	if m.query != nil {
		if signed, err = v.querySigned(m.query); err != nil {
			return nil, false, err
		}
		if document, err = inflate(m.encoded); err != nil {
			return nil, false, err
		}
	}
	if root, err = xmltree.Parse(document, messageLimits); err != nil {
		return nil, false, parseRefusal(err)
	}
	if !root.Is(nsProtocol, name) {
		return nil, false, refuse(CodeStructureInvalid, "root element is %s, not a SAML 2.0 %s", quote(root.Local), name)
	}
	if err := checkShape(root, allowed); err != nil {
		return nil, false, err
	}
	for e := range root.All() {
		// A query has no place for it [SAMLBindings 3.4.4.1].
		if e.Is(xmldsig.Namespace, "Signature") && (e.Parent != root || m.query != nil) {
			return nil, false, refuse(CodeSignatureStructure, "Signature at an unexpected place")
		}
	}
	if m.query == nil {
		signer, err := v.signer(root)
		if err != nil {
			return nil, false, err
		}
		signed = signer != nil
	}
	return root, signed, nil
}

func (v verifier) querySigned(q *query) (bool, error) {
	if !q.signed {
		return false, nil
	}
	value, err := xmldsig.NewValue(q.algorithm, []byte(q.octets), q.value)
	if err != nil {
		return false, signatureRefusal(err)
	}
	if _, err := trustedBy(value, nil, v.want.SigningCertificates, v.want.Now); err != nil {
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

// logoutIssuer returns the issuer of a LogoutResponse, which at Entra ID may
// be another than that of assertions.
func (v verifier) logoutIssuer(root *xmltree.Element) (string, error) {
	refusal := v.checkIssuer(root)
	if refusal == nil {
		return v.want.IDPEntityID, nil
	}
	directory, entra := strings.CutPrefix(v.want.IDPEntityID, entraIssuer)
	if !entra {
		return "", refusal
	}
	v.want.IDPEntityID = entraLogoutIssuer + directory
	if v.checkIssuer(root) != nil {
		return "", refusal
	}
	return v.want.IDPEntityID, nil
}

func destinationRefusal(got, want string) error {
	if got == "" {
		return refuse(CodeDestinationMissing, "logout message without Destination")
	}
	return refuse(CodeDestinationMismatch, "Destination is %s, expected %s", quote(got), quote(want))
}

// RedirectURL is as that of an AuthnRequest.
func (r LogoutRequest) RedirectURL(relayState string, signer crypto.Signer) (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	return r.message().redirectURL(relayState, signer)
}

// PostForm is as that of an AuthnRequest.
func (r LogoutRequest) PostForm(relayState string, signer crypto.Signer) (PostForm, error) {
	if err := r.check(); err != nil {
		return PostForm{}, err
	}
	return r.message().postForm(relayState, signer)
}

func (r LogoutRequest) check() error {
	if r.ID == "" || r.Issuer == "" || r.NameID.Value == "" || r.IssueInstant.IsZero() {
		return errors.New("incomplete LogoutRequest")
	}
	return nil
}

func (r LogoutRequest) message() message {
	return message{parameter: parameterRequest, id: r.ID, destination: r.Destination, document: r.document}
}

func (r LogoutRequest) document(signature string) []byte {
	var b bytes.Buffer
	attribute := openMessage(&b, "LogoutRequest", r.ID, r.IssueInstant, r.Destination)
	if !r.NotOnOrAfter.IsZero() {
		attribute("NotOnOrAfter", stamp(r.NotOnOrAfter))
	}
	b.WriteString("><saml:Issuer>")
	escape(&b, r.Issuer)
	b.WriteString("</saml:Issuer>" + signature + "<saml:NameID")
	for _, a := range []struct{ name, value string }{
		{"NameQualifier", r.NameID.NameQualifier},
		{"SPNameQualifier", r.NameID.SPNameQualifier},
		{"Format", r.NameID.Format},
		{"SPProvidedID", r.NameID.SPProvidedID},
	} {
		if a.value != "" {
			attribute(a.name, a.value)
		}
	}
	b.WriteString(">")
	escape(&b, r.NameID.Value)
	b.WriteString("</saml:NameID>")
	for _, index := range r.SessionIndexes {
		b.WriteString("<samlp:SessionIndex>")
		escape(&b, index)
		b.WriteString("</samlp:SessionIndex>")
	}
	b.WriteString("</samlp:LogoutRequest>")
	return b.Bytes()
}

// RedirectURL is as that of an AuthnRequest.
func (r LogoutResponse) RedirectURL(relayState string, signer crypto.Signer) (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	return r.message().redirectURL(relayState, signer)
}

// PostForm is as that of an AuthnRequest.
func (r LogoutResponse) PostForm(relayState string, signer crypto.Signer) (PostForm, error) {
	if err := r.check(); err != nil {
		return PostForm{}, err
	}
	return r.message().postForm(relayState, signer)
}

func (r LogoutResponse) check() error {
	if r.ID == "" || r.Issuer == "" || r.InResponseTo == "" || r.Status == "" || r.IssueInstant.IsZero() {
		return errors.New("incomplete LogoutResponse")
	}
	return nil
}

func (r LogoutResponse) message() message {
	return message{parameter: parameterResponse, id: r.ID, destination: r.Destination, document: r.document}
}

func (r LogoutResponse) document(signature string) []byte {
	var b bytes.Buffer
	attribute := openMessage(&b, "LogoutResponse", r.ID, r.IssueInstant, r.Destination)
	attribute("InResponseTo", r.InResponseTo)
	b.WriteString("><saml:Issuer>")
	escape(&b, r.Issuer)
	b.WriteString("</saml:Issuer>" + signature + "<samlp:Status><samlp:StatusCode")
	attribute("Value", r.Status)
	b.WriteString("/></samlp:Status></samlp:LogoutResponse>")
	return b.Bytes()
}
