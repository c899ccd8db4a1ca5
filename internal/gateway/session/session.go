// Package session keeps who is signed in, and which requests to the IdP are
// pending, in sealed cookies of the browser, so that checking one needs no
// I/O. Ended sessions are remembered in Revocations.
package session

import (
	"cmp"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"time"
)

// CookieName is the session cookie's. The prefix makes browsers refuse it from
// sibling hosts and over plain HTTP.
const CookieName = "__Host-saml-session"

// ownCookies is what all our cookies' names begin with.
const ownCookies = "__host-saml-"

// IsOwnCookie says whether a cookie is ours and none of the application's
// business. Browsers treat the prefix without regard to case.
func IsOwnCookie(name string) bool {
	return len(name) >= len(ownCookies) && strings.EqualFold(name[:len(ownCookies)], ownCookies)
}

// maxSealedBytes keeps name, value and attributes of the cookie below the 4 kB
// that browsers grant.
const maxSealedBytes = 3500

// renewFraction: the cookie is written again once this part of the idle
// timeout has passed since it was, and not at each request.
const renewFraction = 10

var (
	// ErrNone says that the browser has no session cookie, or two of them, in
	// which case neither can be trusted.
	ErrNone = errors.New("no session")
	// ErrExpired says that the session is over by its age or idleness.
	ErrExpired = errors.New("session has expired")
	// ErrRevoked says that the session was ended.
	ErrRevoked = errors.New("session was ended")
	// ErrTooLarge says that a session does not fit into a cookie.
	ErrTooLarge = errors.New("session is too large for a cookie")
)

// Session is a signed-in user at one tenant, as the cookie carries it.
type Session struct {
	// ID is random and new at each sign-in.
	ID string `json:"s"`
	// UserID is the store's user; StableID is what the application calls the
	// user by: what the IdP does, made unique within the tenant.
	UserID      string `json:"u"`
	StableID    string `json:"n"`
	Email       string `json:"e,omitempty"`
	GivenName   string `json:"g,omitempty"`
	Surname     string `json:"f,omitempty"`
	DisplayName string `json:"d,omitempty"`
	// Groups are in the cookie while they fit. Otherwise GroupsInStore is set,
	// and they are in the store's session of this ID.
	Groups        []string `json:"r,omitempty"`
	GroupsInStore bool     `json:"o,omitempty"`
	// GroupsIncomplete: the IdP has withheld groups because they are too many.
	GroupsIncomplete bool `json:"i,omitempty"`

	// AuthenticatedAt is when the IdP knew the user by credentials, as far as is
	// known; zero, in sessions of earlier releases, is never.
	AuthenticatedAt time.Time `json:"t,omitzero"`
	CreatedAt       time.Time `json:"c"`
	// ExpiresAt was fixed at the sign-in: no later setting prolongs it.
	ExpiresAt time.Time `json:"x"`
	// SeenAt is when the cookie was written last.
	SeenAt time.Time `json:"l"`
}

// Label is how people know the user.
func (s Session) Label() string { return cmp.Or(s.DisplayName, s.Email, s.StableID) }

// Policy bounds a session's life.
type Policy struct {
	MaxDuration, IdleTimeout time.Duration
	// NotBefore ends the sessions that began before it; the zero time ends none.
	NotBefore time.Time
}

// NewID returns a session ID of at least 128 random bits.
func NewID() string { return rand.Text() }

// ExpiresAt returns the end of a session that begins now: the policy's, or the
// IdP's SessionNotOnOrAfter, skew added, when that is not zero and earlier.
// [SAMLCore 2.7.2] Without the skew, an assertion that is accepted could begin
// a session that is over, and send the user to the IdP for ever.
func (p Policy) ExpiresAt(now, sessionNotOnOrAfter time.Time, skew time.Duration) time.Time {
	end := now.Add(p.MaxDuration)
	if idp := sessionNotOnOrAfter.Add(skew); !sessionNotOnOrAfter.IsZero() && idp.Before(end) {
		return idp
	}
	return end
}

// Deadline returns when s ends unless it is used before. A policy that became
// stricter since the sign-in applies at once.
func (p Policy) Deadline(s Session) time.Time {
	end := s.ExpiresAt
	for _, other := range []time.Time{s.CreatedAt.Add(p.MaxDuration), s.SeenAt.Add(p.IdleTimeout)} {
		if other.Before(end) {
			end = other
		}
	}
	return end
}

// NeedsRenewal says whether the cookie should be written again, with SeenAt
// now, to keep the idle timeout from ending a session in use.
func (p Policy) NeedsRenewal(s Session, now time.Time) bool {
	return now.Sub(s.SeenAt) >= p.IdleTimeout/renewFraction
}

// Seal returns the session cookie of s, or ErrTooLarge.
func (c *Codec) Seal(to Binding, s Session) (*http.Cookie, error) {
	value, err := c.seal(purposeSession, to, s)
	if err != nil {
		return nil, err
	}
	if len(value) > maxSealedBytes {
		return nil, ErrTooLarge
	}
	return sessionCookie(value, 0), nil
}

// Open returns the session in the request's cookie, valid or not: ErrNone is
// its only error. Check decides whether it counts.
func (c *Codec) Open(from Binding, r *http.Request) (Session, error) {
	cookies := r.CookiesNamed(CookieName)
	if len(cookies) != 1 {
		return Session{}, ErrNone
	}
	var s Session
	if err := c.open(purposeSession, from, cookies[0].Value, &s); err != nil {
		return Session{}, ErrNone
	}
	return s, nil
}

// Check says why s does not count at the time now, with ErrExpired or
// ErrRevoked.
func Check(s Session, p Policy, revoked *Revocations, now time.Time) error {
	if !now.Before(p.Deadline(s)) {
		return ErrExpired
	}
	if s.CreatedAt.Before(p.NotBefore) || revoked.Contains(s.ID) {
		return ErrRevoked
	}
	return nil
}

// Clear returns the cookie that deletes the session cookie.
func Clear() *http.Cookie { return sessionCookie("", -1) }

// sessionCookie with a maxAge of zero has no Max-Age: closing the browser may
// end it, and what it contains ends it in any case.
func sessionCookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: CookieName, Value: value, Path: "/", MaxAge: maxAge,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}
