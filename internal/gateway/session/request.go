package session

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	requestCookiePrefix = "__Host-saml-request-"
	// RequestLifetime is how long a user may take at the IdP: MFA enrolment
	// included.
	RequestLifetime = 15 * time.Minute
	// maxPending and maxPendingBytes bound what one browser has to carry.
	maxPending      = 8
	maxPendingBytes = 6 << 10
	// maxPendingCookieBytes is below the 4096 bytes of name and value that
	// browsers grant one cookie.
	maxPendingCookieBytes = 4000
	handleBytes           = 16
)

// Pending is a request to the IdP that this browser was sent away with.
type Pending struct {
	RequestID string    `json:"i"`
	ReturnTo  string    `json:"t"`
	IssuedAt  time.Time `json:"a"`
	// ForceAuthn: the user has to be authenticated after IssuedAt.
	ForceAuthn bool `json:"f,omitempty"`
	// Restarted: the sign-in began at the IdP.
	Restarted bool `json:"r,omitempty"`

	// TestUntil, unless zero, makes it a test of the connection, which ends in no
	// session; until then another may be begun. Its cookie is sealed for a purpose
	// of its own, so that a gateway of an earlier release does not take it for a
	// sign-in.
	TestUntil time.Time `json:"u,omitzero"`

	// Handle names the cookie and is the RelayState: opaque to everybody.
	Handle string `json:"-"`
	size   int
}

// NewHandle returns a fresh handle.
func NewHandle() string {
	b := make([]byte, handleBytes)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// ExpiresAt is when an answer comes too late.
func (p Pending) ExpiresAt() time.Time { return p.IssuedAt.Add(RequestLifetime) }

// IsTest says whether p is a test of the connection.
func (p Pending) IsTest() bool { return !p.TestUntil.IsZero() }

func (p Pending) purpose() string {
	if p.IsTest() {
		return purposeTest
	}
	return purposeRequest
}

// openPending opens the cookie of a request, or of a test.
func (c *Codec) openPending(from Binding, value string) (Pending, error) {
	for _, purpose := range []string{purposeRequest, purposeTest} {
		p := Pending{}
		if c.open(purpose, from, value, &p) == nil && p.purpose() == purpose {
			return p, nil
		}
	}
	return Pending{}, errUnsealed
}

// Pending returns the requests that are pending in the browser, newest first,
// and the names of cookies that are of no use any more: expired, damaged, or
// there twice.
func (c *Codec) Pending(from Binding, r *http.Request, now time.Time) (pending []Pending, useless []string) {
	values := map[string][]string{}
	for _, cookie := range r.Cookies() {
		if strings.HasPrefix(cookie.Name, requestCookiePrefix) {
			values[cookie.Name] = append(values[cookie.Name], cookie.Value)
		}
	}
	for name, same := range values {
		p, err := c.openPending(from, same[0])
		if len(same) != 1 || err != nil || !now.Before(p.ExpiresAt()) {
			useless = append(useless, name)
			continue
		}
		p.Handle = strings.TrimPrefix(name, requestCookiePrefix)
		p.size = len(name) + len(same[0])
		pending = append(pending, p)
	}
	slices.SortFunc(pending, func(a, b Pending) int {
		return cmp.Or(b.IssuedAt.Compare(a.IssuedAt), cmp.Compare(a.Handle, b.Handle))
	})
	slices.Sort(useless)
	return pending, useless
}

// Begin returns the cookies to set for a new pending request: its own, and
// deletions of what is useless or too much, the oldest first. A ReturnTo that
// does not fit is given up for "/": browsers would drop the cookie, and the
// sign-in with it.
func (c *Codec) Begin(to Binding, r *http.Request, p Pending, now time.Time) ([]*http.Cookie, error) {
	value, err := c.seal(p.purpose(), to, p)
	if err != nil {
		return nil, err
	}
	name := requestCookiePrefix + p.Handle
	if len(name)+len(value) > maxPendingCookieBytes {
		p.ReturnTo = "/"
		if value, err = c.seal(p.purpose(), to, p); err != nil {
			return nil, err
		}
	}
	cookies := []*http.Cookie{requestCookie(name, value, int(RequestLifetime/time.Second))}

	others, useless := c.Pending(to, r, now)
	size := len(name) + len(value)
	for i, other := range others {
		if size += other.size; i+1 >= maxPending || size > maxPendingBytes {
			useless = append(useless, requestCookiePrefix+other.Handle)
		}
	}
	for _, name := range useless {
		cookies = append(cookies, requestCookie(name, "", -1))
	}
	return cookies, nil
}

// End returns the cookie that deletes a pending request.
func End(p Pending) *http.Cookie { return requestCookie(requestCookiePrefix+p.Handle, "", -1) }

// requestCookie is SameSite=None: the IdP's answer is a POST from another site.
func requestCookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // SameSite=None is the point
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode,
	}
}
