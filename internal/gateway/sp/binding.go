package sp

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"cequence.cloud/saml-operator/internal/xmldsig"
	"cequence.cloud/saml-operator/internal/xmltree"
)

// MaxRelayStateBytes is how long a RelayState may be [SAMLBindings 3.4.3].
const MaxRelayStateBytes = 80

// The parameters that the bindings have for a message.
const (
	parameterRequest    = "SAMLRequest"
	parameterResponse   = "SAMLResponse"
	parameterRelayState = "RelayState"
	parameterSigAlg     = "SigAlg"
	parameterSignature  = "Signature"
)

// message is a request or a response on its way to the IdP. The browser takes
// it there.
type message struct {
	parameter   string
	destination string
	// document writes the message with that signature, empty for none, where
	// the schema wants it.
	document func(signature string) []byte
}

// PostForm is the form of the HTTP-POST binding [SAMLBindings 3.5.4], to be
// sent by the browser: the caller writes the page and escapes the values.
type PostForm struct {
	Action string
	// Parameter is SAMLRequest or SAMLResponse, and Message its value.
	Parameter, Message string
	// RelayState is left out of the form when empty.
	RelayState string
}

func (m message) redirectURL(relayState string, signer crypto.Signer) (string, error) {
	if err := m.check(relayState); err != nil {
		return "", err
	}
	var deflated bytes.Buffer
	w, err := flate.NewWriter(&deflated, flate.DefaultCompression)
	if err != nil {
		return "", fmt.Errorf("deflate the message: %w", err)
	}
	_, err = w.Write(m.document(""))
	if err := errors.Join(err, w.Close()); err != nil {
		return "", fmt.Errorf("deflate the message: %w", err)
	}

	// The signature is over these very octets, in this order
	// [SAMLBindings 3.4.4.1].
	query := m.parameter + "=" + url.QueryEscape(base64.StdEncoding.EncodeToString(deflated.Bytes()))
	if relayState != "" {
		query += "&RelayState=" + url.QueryEscape(relayState)
	}
	if signer != nil {
		query += "&SigAlg=" + url.QueryEscape(xmldsig.RSASHA256)
		signature, err := signRSASHA256(signer, []byte(query))
		if err != nil {
			return "", err
		}
		query += "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(signature))
	}
	return withQuery(m.destination, query), nil
}

func withQuery(location, query string) string {
	if strings.Contains(location, "?") {
		return location + "&" + query
	}
	return location + "?" + query
}

func (m message) postForm(relayState string, signer crypto.Signer) (PostForm, error) {
	if err := m.check(relayState); err != nil {
		return PostForm{}, err
	}
	document := m.document("")
	if signer != nil {
		signature, err := envelopedSignature(document, signer)
		if err != nil {
			return PostForm{}, err
		}
		document = m.document(signature)
	}
	return PostForm{
		Action:     m.destination,
		Parameter:  m.parameter,
		Message:    base64.StdEncoding.EncodeToString(document),
		RelayState: relayState,
	}, nil
}

func (m message) check(relayState string) error {
	if len(relayState) > MaxRelayStateBytes {
		return fmt.Errorf("relay state of %d bytes, more than the %d that SAML allows", len(relayState), MaxRelayStateBytes)
	}
	destination, err := url.Parse(m.destination)
	if err != nil {
		return fmt.Errorf("parse the IdP's URL: %w", err)
	}
	if destination.Scheme != "https" && destination.Scheme != "http" || destination.Host == "" || destination.Fragment != "" {
		return fmt.Errorf("the IdP's URL %q is not an absolute http or https URL without fragment", m.destination)
	}
	return nil
}

// openMessage writes the beginning of a message's start tag, and returns what
// writes further attributes.
func openMessage(b *bytes.Buffer, name, id string, issued time.Time, destination string) (attribute func(name, value string)) {
	b.WriteString("<samlp:" + name + ` xmlns:samlp="` + nsProtocol + `" xmlns:saml="` + nsAssertion + `" Version="2.0"`)
	attribute = attributeWriter(b)
	attribute("ID", id)
	attribute("IssueInstant", stamp(issued))
	attribute("Destination", destination)
	return attribute
}

func attributeWriter(b *bytes.Buffer) func(name, value string) {
	return func(name, value string) {
		b.WriteString(" " + name + `="`)
		escape(b, value)
		b.WriteString(`"`)
	}
}

func escape(b *bytes.Buffer, s string) {
	_ = xml.EscapeText(b, []byte(s)) // a bytes.Buffer returns no error
}

// envelopedSignature signs the document by its root's ID.
func envelopedSignature(document []byte, signer crypto.Signer) (string, error) {
	root, err := xmltree.Parse(document, messageLimits)
	if err != nil {
		return "", fmt.Errorf("parse the message to be signed: %w", err)
	}
	return xmldsig.Enveloped(root, signer, nil)
}

func signRSASHA256(signer crypto.Signer, message []byte) ([]byte, error) {
	if _, ok := signer.Public().(*rsa.PublicKey); !ok {
		return nil, fmt.Errorf("messages are signed by RSA keys only, not by %T", signer.Public())
	}
	hash := sha256.Sum256(message)
	signature, err := signer.Sign(rand.Reader, hash[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign the message: %w", err)
	}
	return signature, nil
}
