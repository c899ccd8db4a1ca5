// Package idpmetadata fetches, reads and judges the SAML metadata of identity
// providers (IdPs). Everything it reads comes from outside and is bounded in
// size, depth, number and time; what it hands on is a [Descriptor] that holds
// only what a service provider uses.
package idpmetadata

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Reason says in one word why metadata could not be fetched or was not
// accepted. It is used as the reason of a status condition.
type Reason string

// Reasons why a fetch failed.
const (
	DNSFailed          Reason = "DNSFailed"
	ConnectFailed      Reason = "ConnectFailed"
	TLSFailed          Reason = "TLSFailed"
	Timeout            Reason = "Timeout"
	HTTPStatus         Reason = "HTTPStatus"
	TooLarge           Reason = "TooLarge"
	RedirectNotAllowed Reason = "RedirectNotAllowed"
	URLNotAllowed      Reason = "URLNotAllowed"
)

// Reasons why metadata is not accepted.
const (
	ParseFailed          Reason = "ParseFailed"
	NoIDPRole            Reason = "NoIDPRole"
	AmbiguousEntity      Reason = "AmbiguousEntity"
	EntityIDMismatch     Reason = "EntityIDMismatch"
	NoSigningCertificate Reason = "NoSigningCertificate"
	InsecureEndpoint     Reason = "InsecureEndpoint"
	Expired              Reason = "Expired"
	SignatureInvalid     Reason = "SignatureInvalid"
)

// Error is a failure that a tenant's administrator can act on.
type Error struct {
	Reason Reason
	// Message is one sentence with the cause and the next step. It is the
	// same at each attempt while the cause is the same, has at most 500
	// characters, and holds no response bodies and no addresses, so it may be
	// shown to anybody who can see the tenant.
	Message string
	// Digest is that of the refused document's one IdP, as [Accept] would
	// return it; empty when the document could not be read so far. It vouches
	// for nothing: see [Requirements].AcceptDigest.
	Digest string
	// Err is the underlying error, for the operator's own logs. It may be nil
	// and may name addresses.
	Err error
}

// Error returns Message, without the text of the underlying error.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the underlying error.
func (e *Error) Unwrap() error { return e.Err }

// ReasonOf returns the reason of the first [Error] in err's tree, or "" if
// there is none.
func ReasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

const (
	maxMessage = 500
	maxQuoted  = 120
)

// fail makes an Error whose message is cut to maxMessage characters.
func fail(reason Reason, cause error, format string, args ...any) *Error {
	return &Error{Reason: reason, Message: cut(fmt.Sprintf(format, args...), maxMessage), Err: cause}
}

// quote makes a value from outside fit for a message: bounded, and with
// control characters escaped.
func quote(s string) string { return fmt.Sprintf("%q", cut(s, maxQuoted)) }

func quoteAll(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(v)
	}
	return strings.Join(quoted, ", ")
}

// cut shortens s to at most limit characters, marking the cut.
func cut(s string, limit int) string {
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit-1]) + "…"
}
