package server

import (
	"net/http"
	"net/url"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/audit"
	"cequence.cloud/saml-operator/internal/gateway/paths"
	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

const (
	// handleParameter names the pending request that /saml/login is to send.
	handleParameter = "request"
	// restartPause is how long a restarted sign-in is not restarted again: an IdP
	// that answers our request by what is no answer would go on for ever.
	restartPause = time.Minute
)

func (x *exchange) allowsUnsolicited() bool {
	return x.tenant.Config.ServiceProvider.IDPInitiated != tenantconfig.IDPInitiatedRefuse
}

// unsolicited does with a verified response to no request what the tenant
// wants. Nothing in it says that this browser's user wanted to sign in: another
// user may have got it, and put it into a page that posts it.
func (x *exchange) unsolicited(assertion *sp.Assertion, pending []session.Pending, now time.Time) {
	switch {
	case !loginMeant(x.r.Header):
		x.refuse(assertion, http.StatusForbidden, "login_not_meant", nil)
	case x.tenant.Config.ServiceProvider.IDPInitiated == tenantconfig.IDPInitiatedAccept:
		x.admit(assertion, nil, x.relayTarget(), now)
	default:
		x.restart(assertion, pending, now)
	}
}

// restart begins a sign-in by a request of our own. Who signs in by it is up to
// the user's own IdP, so the response has done no more than a link to us would
// have. It is not used up. The request is sent only when the browser has come
// back with its cookie, since without that any answer would be unsolicited.
func (x *exchange) restart(assertion *sp.Assertion, pending []session.Pending, now time.Time) {
	for _, p := range pending {
		if p.Restarted && now.Before(p.IssuedAt.Add(restartPause)) {
			x.refuse(assertion, http.StatusForbidden, "restart_unanswered", nil)
			return
		}
	}
	p := x.newPending(x.relayTarget(), now)
	p.Restarted = true
	cookies, err := x.Codec.Begin(x.binding, x.r, p, now)
	if err != nil {
		x.internal(err)
		return
	}
	x.Log.Info("sign-in", append(x.evidence(assertion), "outcome", "restarted", "restartedAs", p.RequestID)...)
	entry := x.auditEntry(assertion)
	entry.Outcome, entry.RequestID = audit.OutcomeRestarted, p.RequestID
	x.Audit.Record(*entry)
	x.setCookies(cookies...)
	x.seeOther("/saml/login?" + url.Values{handleParameter: {p.Handle}}.Encode())
}

// resume sends the request of a sign-in that was restarted.
func (x *exchange) resume(handle string) {
	pending, _ := x.Codec.Pending(x.binding, x.r, x.Now())
	for _, p := range pending {
		if p.Handle == handle && p.Restarted {
			x.ask(x.request(p), p.Handle)
			return
		}
	}
	x.goOn("request_missing")
}

// relayTarget is where an IdP wants a user to go whom nobody here has sent
// away: a path, or a URL of this very site.
func (x *exchange) relayTarget() string {
	states := x.r.PostForm["RelayState"]
	if len(states) != 1 {
		return paths.Home
	}
	return paths.OnSite(x.tenant.Config.ServiceProvider.SignOnURL, states[0])
}
