package server

import (
	"net/http"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/audit"
	"cequence.cloud/saml-operator/internal/gateway/pages"
	"cequence.cloud/saml-operator/internal/gateway/session"
)

// whoami tells the application's scripts who is signed in.
func (x *exchange) whoami() {
	s, err := x.current()
	switch {
	case err != nil:
		x.storeFailed("read session", err)
		return
	case s == nil:
		x.unauthorized(signIn)
		return
	}
	type user struct {
		ID          string   `json:"id"`
		Email       string   `json:"email"`
		DisplayName string   `json:"displayName"`
		GivenName   string   `json:"givenName"`
		Surname     string   `json:"surname"`
		Groups      []string `json:"groups"`
		// GroupsIncomplete: there are more, which the IdP has withheld.
		GroupsIncomplete bool     `json:"groupsIncomplete,omitempty"`
		Roles            []string `json:"roles"`
	}
	writeJSON(x.w, http.StatusOK, struct {
		Tenant        string    `json:"tenant"`
		User          user      `json:"user"`
		SignedInAt    time.Time `json:"signedInAt"`
		ExpiresAt     time.Time `json:"expiresAt"`
		IdleExpiresAt time.Time `json:"idleExpiresAt"`
	}{
		Tenant: x.tenant.Name(),
		User: user{ID: s.StableID, Email: s.Email, DisplayName: s.DisplayName,
			GivenName: s.GivenName, Surname: s.Surname, Groups: append([]string{}, s.Groups...), GroupsIncomplete: s.GroupsIncomplete,
			Roles: append([]string{}, x.roles(*s)...)},
		SignedInAt: s.CreatedAt.UTC(), ExpiresAt: s.ExpiresAt.UTC(), IdleExpiresAt: x.policy().Deadline(*s).UTC(),
	})
}

// logout ends the session here, and then has the IdP end its own. A request
// that another site may have caused only gets a form that asks.
func (x *exchange) logout() {
	s, err := x.Codec.Open(x.binding, x.r)
	meant := x.meant()
	switch {
	case err != nil:
		// Browsers withhold the cookie from other sites' requests, so only one
		// that was meant may delete it.
		x.signedOut(meant)
		return
	case !meant:
		x.askToSignOut(s)
		return
	}
	// In memory first: whatever the store does, the session is over now.
	x.Revocations.Add(map[string]time.Time{s.ID: s.ExpiresAt}, x.Now())
	if err := x.Store.RevokeSession(x.r.Context(), s.ID, s.ExpiresAt); err != nil {
		// The cookie stays, so that trying again can make it last.
		x.storeFailed("revoke session", err)
		return
	}
	x.Log.Info("sign-out", "event", "sign-out", "tenant", x.tenant.Name(), "outcome", "success", "user", s.UserID, "address", x.r.RemoteAddr)
	x.Audit.Record(audit.Entry{Event: audit.EventSignOut, Outcome: audit.OutcomeSuccess, Tenant: x.tenant.Name(), User: s.UserID, Address: x.r.RemoteAddr, Sessions: 1})
	x.logoutAtIDP(s)
}

func (x *exchange) askToSignOut(s session.Session) {
	x.page(pages.Page{Status: http.StatusOK, Text: "sign_out", Who: s.Label(),
		// Browsers apply the page's policy to the redirect to the IdP as well.
		Form: &pages.Form{Action: "/saml/logout", Elsewhere: x.singleLogout()}})
}

// meant says whether the user asked to sign out, rather than another site: by
// a form of our own origin, or by following a link of it or typing the address
// in a browser that tells. [Fetch Metadata 2.1 to 2.4]
func (x *exchange) meant() bool {
	if x.r.Method == http.MethodPost {
		return x.crossOrigin.Check(x.r) == nil
	}
	h := x.r.Header
	if isPrefetch(h) {
		return false
	}
	site := h.Get("Sec-Fetch-Site")
	return (site == "same-origin" || site == "none") &&
		h.Get("Sec-Fetch-Mode") == "navigate" && h.Get("Sec-Fetch-Dest") == "document"
}

func (x *exchange) signedOut(forget bool) {
	if forget {
		http.SetCookie(x.w, session.Clear())
	}
	x.page(pages.Page{Status: http.StatusOK, Text: "signed_out", Link: "/"})
}
