package sp

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/url"
	"time"
)

const postBinding = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"

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
	if err := r.check(); err != nil {
		return "", err
	}
	location, err := r.message().redirectURL(relayState, signer)
	if err != nil {
		return "", err
	}
	return r.hinted(location), nil
}

// PostForm returns the form that carries r to Destination by the HTTP-POST
// binding [SAMLBindings 3.5.4]. With a signer (nil for none), which must hold
// an RSA key, the request carries an enveloped RSA-SHA256 signature. The
// relayState must be of 80 bytes at most.
func (r AuthnRequest) PostForm(relayState string, signer crypto.Signer) (PostForm, error) {
	if err := r.check(); err != nil {
		return PostForm{}, err
	}
	form, err := r.message().postForm(relayState, signer)
	if err != nil {
		return PostForm{}, err
	}
	form.Action = r.hinted(form.Action)
	return form, nil
}

// hinted is a location with the LoginHint, behind all else in its query.
func (r AuthnRequest) hinted(location string) string {
	if r.LoginHint == "" {
		return location
	}
	return withQuery(location, "login_hint="+url.QueryEscape(r.LoginHint))
}

func (r AuthnRequest) check() error {
	if r.ID == "" || r.Issuer == "" || r.ACSURL == "" || r.IssueInstant.IsZero() {
		return errors.New("incomplete authentication request")
	}
	return nil
}

func (r AuthnRequest) message() message {
	return message{parameter: parameterRequest, destination: r.Destination, document: r.document}
}

// document writes the request, with signature, if any, where the schema wants
// it.
func (r AuthnRequest) document(signature string) []byte {
	var b bytes.Buffer
	attribute := openMessage(&b, "AuthnRequest", r.ID, r.IssueInstant, r.Destination)
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
