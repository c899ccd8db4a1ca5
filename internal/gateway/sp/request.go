package sp

import (
	"crypto"
	"time"
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
	ForceAuthn  bool
	// NameIDFormat, when not empty, is asked for by a NameIDPolicy.
	NameIDFormat string
	// RequestedAuthnContext are class references, asked for with
	// Comparison="exact".
	RequestedAuthnContext []string
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
func NewRequestID() string { return "" }

// RedirectURL returns the URL that carries r to Destination by the
// HTTP-Redirect binding [SAMLBindings 3.4.4]. A query that Destination already
// has is kept. With a signer, which must hold an RSA key, the query is signed
// by RSA-SHA256. The relayState must be of 80 bytes at most.
func (r AuthnRequest) RedirectURL(relayState string, signer crypto.Signer) (string, error) {
	return "", nil
}

// PostForm returns the form that carries r to Destination by the HTTP-POST
// binding [SAMLBindings 3.5.4]. With a signer, which must hold an RSA key, the
// request carries an enveloped RSA-SHA256 signature. The relayState must be of
// 80 bytes at most.
func (r AuthnRequest) PostForm(relayState string, signer crypto.Signer) (PostForm, error) {
	return PostForm{}, nil
}
