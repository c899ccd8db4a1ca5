// Package sp is the SAML service provider's core: it verifies Responses and
// writes AuthnRequests. It works on bytes and plain values, knows neither
// HTTP nor Kubernetes, does no I/O and keeps no state: replay protection and
// the pending requests belong to the caller.
package sp

import (
	"crypto/rsa"
	"crypto/x509"
	"time"
)

// MaxResponseBytes is the size of the largest Response taken, decoded.
const MaxResponseBytes = 256 << 10

// DefaultClockSkew is the skew that callers give to Expectations unless the
// tenant says otherwise.
const DefaultClockSkew = 180 * time.Second

// Expectations is what a Response has to fit. All of it comes from the
// tenant's configuration and from the browser's own pending requests, never
// from the message or from the HTTP request that carried it. It is only read,
// so one value may serve concurrent calls.
type Expectations struct {
	// EntityID is ours: an Audience must be equal to it, byte for byte.
	EntityID string
	// ACSURL must be equal to Recipient and Destination, byte for byte.
	ACSURL string
	// IDPEntityID must be equal to the Issuer, byte for byte.
	IDPEntityID string
	// SigningCertificates are the IdP's, parsed once by the caller. They are
	// pinned: no chain is built, but the validity period is enforced.
	SigningCertificates []*x509.Certificate
	// RequestIDs are the outstanding AuthnRequests of this browser with this
	// tenant. Without any, every Response is refused as unsolicited.
	RequestIDs []string
	// Now is the time at which the Response arrived.
	Now time.Time
	// ClockSkew is tolerated between the IdP's clock and ours, both ways.
	ClockSkew time.Duration
	// DecryptionKeys open encrypted assertions, newest first; none refuses
	// them all.
	DecryptionKeys []*rsa.PrivateKey
}

// Assertion is what a verified Response says. Every field but ResponseID was
// covered by the signature of SigningCertificate.
type Assertion struct {
	ID         string
	ResponseID string
	// InResponseTo is the one of Expectations.RequestIDs that was answered.
	InResponseTo string
	Issuer       string
	NameID       NameID

	IssueInstant time.Time
	// NotOnOrAfter is when Verify starts to refuse this assertion, skew
	// included: a replay store must remember ID until then.
	NotOnOrAfter time.Time

	SessionIndex string
	AuthnInstant time.Time
	// SessionNotOnOrAfter is the end of the session that the IdP asks for,
	// zero when it asks for none.
	SessionNotOnOrAfter  time.Time
	AuthnContextClassRef string

	// Attributes are in the order of the message; a name may occur twice.
	Attributes []Attribute

	// SigningCertificate is the one whose key verified the signature: the
	// assertion's own signature if it has one, else that of the Response.
	SigningCertificate *x509.Certificate
}

// NameID is the subject's identifier [SAMLCore 2.2.2]. Value is exactly as
// sent: not trimmed, not normalized, and never empty.
type NameID struct {
	Value           string
	Format          string
	NameQualifier   string
	SPNameQualifier string
	SPProvidedID    string
}

// Attribute is one attribute with all its values in order [SAMLCore 2.7.3.1].
type Attribute struct {
	Name         string
	NameFormat   string
	FriendlyName string
	Values       []string
}

// DecodeResponse decodes the form value SAMLResponse of the HTTP-POST binding
// [SAMLBindings 3.5.4]. Line breaks within the base64 text are tolerated. The
// error is an *Error.
func DecodeResponse(form string) ([]byte, error) {
	return nil, refuse(CodeInternal, "not there yet")
}

// Verify checks a Response (decoded XML) against want and returns what it
// says. The error is an *Error. It never panics, and its cost is bounded for
// any input.
func Verify(response []byte, want Expectations) (*Assertion, error) {
	return nil, refuse(CodeInternal, "not there yet")
}
