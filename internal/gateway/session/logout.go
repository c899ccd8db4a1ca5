package session

import (
	"net/http"
	"time"
)

// logoutCookie is one for the whole browser: whoever signs out twice waits for
// the last answer only.
const logoutCookie = "__Host-saml-logout"

// Logout is the request for logout that this browser was sent to the IdP with.
type Logout struct {
	RequestID string    `json:"i"`
	IssuedAt  time.Time `json:"a"`
}

// BeginLogout returns the cookie of a pending logout.
func (c *Codec) BeginLogout(to Binding, l Logout) (*http.Cookie, error) {
	value, err := c.seal(purposeLogout, to, l)
	if err != nil {
		return nil, err
	}
	return requestCookie(logoutCookie, value, int(RequestLifetime/time.Second)), nil
}

// Logout returns the pending logout, or the zero one if there is none.
func (c *Codec) Logout(from Binding, r *http.Request, now time.Time) Logout {
	var l Logout
	cookies := r.CookiesNamed(logoutCookie)
	if len(cookies) != 1 || c.open(purposeLogout, from, cookies[0].Value, &l) != nil ||
		!now.Before(l.IssuedAt.Add(RequestLifetime)) {
		return Logout{}
	}
	return l
}

// EndLogout returns the cookie that deletes a pending logout.
func EndLogout() *http.Cookie { return requestCookie(logoutCookie, "", -1) }
