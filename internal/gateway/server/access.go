package server

import (
	"net/http"
	"net/url"

	"cequence.cloud/saml-operator/internal/gateway/audit"
	"cequence.cloud/saml-operator/internal/gateway/pathrules"
	"cequence.cloud/saml-operator/internal/gateway/paths"
	"cequence.cloud/saml-operator/internal/gateway/session"
)

// required returns what the request has to bring. Its error says that the path
// could be read in several ways, so that no rule is safe to apply.
func (x *exchange) required() (pathrules.Requirement, error) {
	if x.Paths == nil && x.tenant.Paths == nil {
		return pathrules.Requirement{}, nil
	}
	escaped := x.r.URL.RawPath // as it was written, if that makes a difference
	if escaped == "" {
		escaped = x.r.URL.EscapedPath()
	}
	form, err := paths.Normalize(escaped)
	if err != nil {
		return pathrules.Requirement{}, err
	}
	return pathrules.Combine(x.Paths.Of(form), x.tenant.Paths.Of(form)), nil
}

// fresh says whether the user was authenticated as lately as is required.
func (x *exchange) fresh(s session.Session, required pathrules.Requirement) bool {
	return required.FreshSignIn == 0 || x.Now().Sub(s.AuthenticatedAt) <= required.FreshSignIn
}

// lackRole answers somebody whom the rules for the path keep out. The IdP would
// bring the same person again, unless it is told to ask.
func (x *exchange) lackRole(s session.Session) {
	x.forbid(problem{
		status: http.StatusForbidden, code: "role_missing", link: x.loginURL(true),
		attributes: []any{"user", s.UserID},
		audit:      &audit.Entry{Event: audit.EventAccess, Tenant: x.tenant.Name(), User: s.UserID},
	})
}

// forbid is fail with a page for people alone.
func (x *exchange) forbid(p problem) {
	if isNavigation(x.r) {
		x.fail(p)
		return
	}
	x.logProblem(x.r, p, "", "tenant", x.tenant.Name())
	secure(x.w.Header())
	writeJSON(x.w, p.status, map[string]string{"error": p.code})
}

// wanted is a sign-in that a request lacks.
type wanted struct {
	// err is what programs are told.
	err string
	// forceAuthn: the IdP has to ask for credentials.
	forceAuthn bool
}

var (
	signIn      = wanted{err: "sign_in_required"}
	freshSignIn = wanted{err: "fresh_sign_in_required", forceAuthn: true}
)

// challenge answers a request that lacks a sign-in: a person is sent there, a
// program is told so.
func (x *exchange) challenge(w wanted) {
	if !isNavigation(x.r) {
		x.unauthorized(w)
		return
	}
	secure(x.w.Header())
	x.w.Header().Set("Location", x.loginURL(w.forceAuthn))
	x.w.WriteHeader(http.StatusFound)
}

// loginURL is where to sign in and come back from.
func (x *exchange) loginURL(forceAuthn bool) string {
	query := url.Values{"return_to": {x.r.URL.RequestURI()}}
	if forceAuthn {
		query.Set("forceAuthn", "true")
	}
	login := url.URL{Path: "/saml/login", RawQuery: query.Encode()}
	if x.absolute {
		login.Scheme, login.Host = "https", x.host()
	}
	return login.String()
}

// unauthorized tells a program where people sign in.
func (x *exchange) unauthorized(w wanted) {
	secure(x.w.Header())
	x.w.Header().Set("WWW-Authenticate", `SAML realm="`+x.tenant.Config.Host+`"`)
	login := "/saml/login"
	if w.forceAuthn {
		login += "?forceAuthn=true"
	}
	writeJSON(x.w, http.StatusUnauthorized, map[string]string{"error": w.err, "login": login})
}
