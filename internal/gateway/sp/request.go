package sp

import (
	"bytes"
	"cmp"
	"compress/flate"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"cequence.cloud/saml-operator/internal/xmldsig"
	"cequence.cloud/saml-operator/internal/xmltree"
)

const (
	postBinding        = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
	maxRelayStateBytes = 80
)

// AuthnRequest asks the IdP to authenticate the user [SAMLCore 3.4.1]. It says
// no more than set here: no Subject, no NameIDPolicy and no
// RequestedAuthnContext unless asked for, since Entra ID refuses or
// misunderstands them.
type AuthnRequest struct {
	// ID is from NewRequestID.
	ID           string
	IssueInstant time.Time
	// Issuer is our entity ID.
	Issuer string
	ACSURL string
	// Destination is the IdP's SSO URL.
	Destination string
	// LoginHint, when not empty, tells the IdP whom to expect, in the parameter
	// login_hint of the query: Entra ID and Okta read it, others ignore it. What
	// SAML has for it, a Subject, is an error for Entra ID.
	LoginHint  string
	ForceAuthn bool
	// IsPassive forbids the IdP to ask the user anything: it answers at once,
	// with the status NoPassive when it would have had to.
	IsPassive bool
	// NameIDFormat, when not empty, is asked for by a NameIDPolicy.
	NameIDFormat string
	// RequestedAuthnContext are class references, asked for with
	// AuthnContextComparison, which is "exact" when empty.
	RequestedAuthnContext  []string
	AuthnContextComparison string
}

// PostForm is the form of the HTTP-POST binding [SAMLBindings 3.5.4], to be
// sent by the browser: the caller writes the page and escapes the values.
type PostForm struct {
	Action      string
	SAMLRequest string
	// RelayState is left out of the form when empty.
	RelayState string
}

// NewRequestID returns a fresh request ID: "id-" and 160 random bits in hex.
// It does not start with a digit, which XML forbids and Entra ID refuses.
func NewRequestID() string {
	var id [20]byte
	_, _ = rand.Read(id[:]) // never fails, by its contract
	return "id-" + hex.EncodeToString(id[:])
}

// RedirectURL returns the URL that carries r to Destination by the
// HTTP-Redirect binding [SAMLBindings 3.4.4]. A query that Destination already
// has is kept. With a signer (nil for none), which must hold an RSA key, the
// query is signed by RSA-SHA256. The relayState must be of 80 bytes at most.
func (r AuthnRequest) RedirectURL(relayState string, signer crypto.Signer) (string, error) {
	if err := r.check(relayState); err != nil {
		return "", err
	}
	var deflated bytes.Buffer
	w, err := flate.NewWriter(&deflated, flate.DefaultCompression)
	if err != nil {
		return "", fmt.Errorf("deflate the request: %w", err)
	}
	_, err = w.Write(r.document(""))
	if err := errors.Join(err, w.Close()); err != nil {
		return "", fmt.Errorf("deflate the request: %w", err)
	}

	// The signature is over these very octets, in this order
	// [SAMLBindings 3.4.4.1].
	query := "SAMLRequest=" + url.QueryEscape(base64.StdEncoding.EncodeToString(deflated.Bytes()))
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
	return r.hinted(withQuery(r.Destination, query)), nil
}

// hinted is a location with the LoginHint, behind all else in its query.
func (r AuthnRequest) hinted(location string) string {
	if r.LoginHint == "" {
		return location
	}
	return withQuery(location, "login_hint="+url.QueryEscape(r.LoginHint))
}

func withQuery(location, query string) string {
	if strings.Contains(location, "?") {
		return location + "&" + query
	}
	return location + "?" + query
}

// PostForm returns the form that carries r to Destination by the HTTP-POST
// binding [SAMLBindings 3.5.4]. With a signer (nil for none), which must hold
// an RSA key, the request carries an enveloped RSA-SHA256 signature. The
// relayState must be of 80 bytes at most.
func (r AuthnRequest) PostForm(relayState string, signer crypto.Signer) (PostForm, error) {
	if err := r.check(relayState); err != nil {
		return PostForm{}, err
	}
	document := r.document("")
	if signer != nil {
		signature, err := envelopedSignature(document, r.ID, signer)
		if err != nil {
			return PostForm{}, err
		}
		document = r.document(signature)
	}
	return PostForm{
		Action:      r.hinted(r.Destination),
		SAMLRequest: base64.StdEncoding.EncodeToString(document),
		RelayState:  relayState,
	}, nil
}

func (r AuthnRequest) check(relayState string) error {
	switch {
	case r.ID == "" || r.Issuer == "" || r.ACSURL == "" || r.IssueInstant.IsZero():
		return errors.New("incomplete authentication request")
	case len(relayState) > maxRelayStateBytes:
		return fmt.Errorf("relay state of %d bytes, more than the %d that SAML allows", len(relayState), maxRelayStateBytes)
	}
	destination, err := url.Parse(r.Destination)
	if err != nil {
		return fmt.Errorf("parse the SSO URL: %w", err)
	}
	if destination.Scheme != "https" && destination.Scheme != "http" || destination.Host == "" || destination.Fragment != "" {
		return fmt.Errorf("SSO URL %q is not an absolute http or https URL without fragment", r.Destination)
	}
	return nil
}

// document writes the request, with signature, if any, where the schema wants
// it.
func (r AuthnRequest) document(signature string) []byte {
	var b bytes.Buffer
	b.WriteString(`<samlp:AuthnRequest xmlns:samlp="` + nsProtocol + `" xmlns:saml="` + nsAssertion + `" Version="2.0"`)
	attribute := func(name, value string) {
		b.WriteString(" " + name + `="`)
		escape(&b, value)
		b.WriteString(`"`)
	}
	attribute("ID", r.ID)
	attribute("IssueInstant", stamp(r.IssueInstant))
	attribute("Destination", r.Destination)
	attribute("AssertionConsumerServiceURL", r.ACSURL)
	attribute("ProtocolBinding", postBinding)
	if r.ForceAuthn {
		attribute("ForceAuthn", "true")
	}
	if r.IsPassive {
		attribute("IsPassive", "true")
	}
	b.WriteString("><saml:Issuer>")
	escape(&b, r.Issuer)
	b.WriteString("</saml:Issuer>" + signature)
	if r.NameIDFormat != "" {
		b.WriteString("<samlp:NameIDPolicy")
		attribute("Format", r.NameIDFormat)
		attribute("AllowCreate", "true")
		b.WriteString("/>")
	}
	if len(r.RequestedAuthnContext) > 0 {
		b.WriteString("<samlp:RequestedAuthnContext")
		attribute("Comparison", cmp.Or(r.AuthnContextComparison, "exact"))
		b.WriteString(">")
		for _, class := range r.RequestedAuthnContext {
			b.WriteString("<saml:AuthnContextClassRef>")
			escape(&b, class)
			b.WriteString("</saml:AuthnContextClassRef>")
		}
		b.WriteString("</samlp:RequestedAuthnContext>")
	}
	b.WriteString("</samlp:AuthnRequest>")
	return b.Bytes()
}

func escape(b *bytes.Buffer, s string) {
	_ = xml.EscapeText(b, []byte(s)) // a bytes.Buffer returns no error
}

// envelopedSignature signs the document, whose root has that ID.
func envelopedSignature(document []byte, id string, signer crypto.Signer) (string, error) {
	root, err := xmltree.Parse(document, messageLimits)
	if err != nil {
		return "", fmt.Errorf("parse the request to be signed: %w", err)
	}
	digest := sha256.Sum256(root.Canonicalize(nil, nil, nil))

	var reference bytes.Buffer
	escape(&reference, "#"+id)
	signedInfo := `<ds:SignedInfo xmlns:ds="` + xmldsig.Namespace + `">` +
		`<ds:CanonicalizationMethod Algorithm="` + xmldsig.ExclusiveC14N + `"/>` +
		`<ds:SignatureMethod Algorithm="` + xmldsig.RSASHA256 + `"/>` +
		`<ds:Reference URI="` + reference.String() + `"><ds:Transforms>` +
		`<ds:Transform Algorithm="` + xmldsig.EnvelopedSignature + `"/>` +
		`<ds:Transform Algorithm="` + xmldsig.ExclusiveC14N + `"/></ds:Transforms>` +
		`<ds:DigestMethod Algorithm="` + xmldsig.DigestSHA256 + `"/>` +
		`<ds:DigestValue>` + base64.StdEncoding.EncodeToString(digest[:]) + `</ds:DigestValue>` +
		`</ds:Reference></ds:SignedInfo>`
	if root, err = xmltree.Parse([]byte(signedInfo), messageLimits); err != nil {
		return "", fmt.Errorf("parse SignedInfo: %w", err)
	}
	value, err := signRSASHA256(signer, root.Canonicalize(nil, nil, nil))
	if err != nil {
		return "", err
	}
	return `<ds:Signature xmlns:ds="` + xmldsig.Namespace + `">` + signedInfo +
		`<ds:SignatureValue>` + base64.StdEncoding.EncodeToString(value) + `</ds:SignatureValue></ds:Signature>`, nil
}

func signRSASHA256(signer crypto.Signer, message []byte) ([]byte, error) {
	if _, ok := signer.Public().(*rsa.PublicKey); !ok {
		return nil, fmt.Errorf("requests are signed by RSA keys only, not by %T", signer.Public())
	}
	hash := sha256.Sum256(message)
	signature, err := signer.Sign(rand.Reader, hash[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign the request: %w", err)
	}
	return signature, nil
}
