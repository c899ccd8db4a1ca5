package server

import (
	"context"
	"crypto"
	"errors"
	"net/http"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/audit"
	"cequence.cloud/saml-operator/internal/gateway/pages"
	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/store"
)

// singleLogout says whether the IdP can be asked to end its session. Requests
// for that have to be signed [SAMLProf 4.4.4.1].
func (x *exchange) singleLogout() bool {
	config := x.tenant.Config
	return config.ServiceProvider.SLOURL != "" && len(config.IdentityProvider.SLO) > 0 && x.tenant.Key != nil
}

// logoutAtIDP sends the browser, whose session s has ended here, to the IdP to
// end the session there. [SAMLProf 4.4.3.1]
func (x *exchange) logoutAtIDP(s session.Session) {
	if !x.singleLogout() {
		x.signedOut(true)
		return
	}
	known, err := x.Store.GetSession(x.r.Context(), x.tenant.Name(), s.ID)
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		// What matters is done.
		x.Log.Error("no logout at the identity provider", "tenant", x.tenant.Name(), "error", err.Error())
		fallthrough
	case err != nil, known.NameID.Value == "":
		x.signedOut(true)
		return
	}
	now := x.Now()
	endpoint := x.tenant.Config.IdentityProvider.SLO[0] // best first
	request := sp.LogoutRequest{
		ID: sp.NewRequestID(), IssueInstant: now, NotOnOrAfter: now.Add(sp.MaxAge),
		Issuer: x.tenant.Config.ServiceProvider.EntityID, Destination: endpoint.Location,
		NameID: sp.NameID(known.NameID),
	}
	if known.SessionIndex != "" {
		request.SessionIndexes = []string{known.SessionIndex}
	}
	pending, err := x.Codec.BeginLogout(x.binding, session.Logout{RequestID: request.ID, IssuedAt: now})
	if err != nil {
		x.internal(err)
		return
	}
	x.send(request, endpoint.Binding, "", x.logoutSigner(), "signing_out", session.Clear(), pending)
}

// slo takes the IdP's logout messages [SAMLProf 4.4]. A browser that comes
// without one is told whether it is signed in.
func (x *exchange) slo() {
	var message *sp.LogoutMessage
	var err error
	switch {
	case x.tenant.Config.ServiceProvider.SLOURL == "":
		x.notFound()
		return
	case x.r.Method == http.MethodGet && x.r.URL.RawQuery == "":
		if s, signedIn := x.valid(); signedIn {
			x.askToSignOut(s)
			return
		}
		x.signedOut(false)
		return
	case x.r.Method == http.MethodGet:
		message, err = sp.LogoutFromQuery(x.r.URL.RawQuery)
	default:
		if status, code, err := x.form(); code != "" {
			x.refuseLogout(status, code, err)
			return
		}
		if sp.HasMessage(x.r.URL.RawQuery) {
			x.refuseLogout(http.StatusBadRequest, string(sp.CodeParametersInvalid), errors.New("a form, and a message in the query"))
			return
		}
		message, err = sp.LogoutFromForm(x.r.PostForm)
	}
	switch {
	case err != nil:
		x.refuseLogout(http.StatusBadRequest, string(sp.CodeOf(err)), err)
	case message.Response:
		x.logoutAnswered(message)
	default:
		x.logoutRequested(message)
	}
}

// logoutRequested ends the sessions that the IdP wants to end, whichever
// browser brings the request, and answers it. Who cannot prove to be the IdP
// gets no answer. [SAMLProf 4.4.3.4, 4.4.4.2]
func (x *exchange) logoutRequested(message *sp.LogoutMessage) {
	now := x.Now()
	request, err := sp.VerifyLogoutRequest(message, x.logoutExpectations(now))
	if err != nil {
		x.refuseLogout(http.StatusForbidden, string(sp.CodeOf(err)), err)
		return
	}
	ended, err := x.Store.RecordLogout(x.r.Context(), store.Logout{
		Tenant: x.tenant.Name(), IDPEntityID: request.Issuer,
		RequestID: request.ID, RequestIssued: request.IssueInstant, RequestExpires: request.NotOnOrAfter,
		NameID: store.NameID(request.NameID), SessionIndexes: request.SessionIndexes,
	})
	var cookies []*http.Cookie
	status := sp.StatusSuccess
	switch {
	case errors.Is(err, store.ErrReplayed):
		status = sp.StatusRequester
		x.logProblem(x.r, x.logoutProblem(http.StatusForbidden, "logout_replayed", err), "")
	case errors.Is(err, context.Canceled) && x.r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // nobody is listening
	case err != nil:
		status = sp.StatusResponder
		x.logProblem(x.r, x.logoutProblem(http.StatusServiceUnavailable, "store_unavailable", err), "")
	default:
		x.Revocations.Add(ended, now)
		if s, err := x.Codec.Open(x.binding, x.r); err == nil && !ended[s.ID].IsZero() {
			cookies = append(cookies, session.Clear())
		}
		x.Log.Info("sign-out", "event", "sign-out", "tenant", x.tenant.Name(), "outcome", "success", "by", "identity provider",
			"requestID", bounded(request.ID), "sessions", len(ended), "address", x.r.RemoteAddr)
		x.Audit.Record(audit.Entry{Event: audit.EventSignOut, Outcome: audit.OutcomeSuccess, Tenant: x.tenant.Name(), Actor: "identity provider",
			RequestID: bounded(request.ID), Address: x.r.RemoteAddr, Sessions: len(ended)})
	}
	x.answerLogout(request.ID, status, message.RelayState, cookies)
}

func (x *exchange) answerLogout(requestID, status, relayState string, cookies []*http.Cookie) {
	config := x.tenant.Config
	if len(config.IdentityProvider.SLO) == 0 {
		x.setCookies(cookies...)
		x.signedOut(false)
		return
	}
	if len(relayState) > sp.MaxRelayStateBytes {
		relayState = ""
	}
	endpoint := config.IdentityProvider.SLO[0] // best first
	x.send(sp.LogoutResponse{
		ID: sp.NewRequestID(), IssueInstant: x.Now(), Issuer: config.ServiceProvider.EntityID,
		Destination: endpoint.ForResponses(), InResponseTo: requestID, Status: status,
	}, endpoint.Binding, relayState, x.logoutSigner(), "signing_out", cookies...)
}

// logoutAnswered is the end of a logout that began here. The session is over
// since then: all that depends on the answer is what the page says.
func (x *exchange) logoutAnswered(message *sp.LogoutMessage) {
	now := x.Now()
	pending := x.Codec.Logout(x.binding, x.r, now)
	response, err := sp.VerifyLogoutResponse(message, pending.RequestID, x.logoutExpectations(now))
	if pending.RequestID != "" {
		x.setCookies(session.EndLogout())
	}
	_, signedIn := x.valid() // meanwhile, in another tab
	switch {
	case err != nil:
		x.logProblem(x.r, x.logoutProblem(http.StatusForbidden, string(sp.CodeOf(err)), err), "")
	default:
		x.Log.Info("signed out at the identity provider", "event", "sign-out", "tenant", x.tenant.Name(),
			"outcome", "success", "requestID", pending.RequestID, "signed", response.Signed, "address", x.r.RemoteAddr)
	}
	if err != nil || !response.Signed || signedIn {
		// Browsers withhold the session's cookie from another site's POST, but
		// not from the GET that follows it: see again.
		x.w.Header().Set("Location", "/saml/slo")
		x.w.WriteHeader(http.StatusSeeOther)
		return
	}
	x.page(pages.Page{Status: http.StatusOK, Text: "signed_out_everywhere", Link: "/"})
}

func (x *exchange) logoutExpectations(now time.Time) sp.LogoutExpectations {
	return sp.LogoutExpectations{
		SLOURL:              x.tenant.Config.ServiceProvider.SLOURL,
		IDPEntityID:         x.tenant.Config.IdentityProvider.EntityID,
		SigningCertificates: x.tenant.SigningCertificates,
		AcceptExpired:       x.tenant.Config.IdentityProvider.AcceptsExpired(now),
		Now:                 now,
		ClockSkew:           x.ClockSkew,
		DecryptionKeys:      x.tenant.DecryptionKeys,
	}
}

// logoutSigner is nil if the tenant has no key; whether the requests for
// sign-ins are signed says nothing about logout.
func (x *exchange) logoutSigner() crypto.Signer {
	if x.tenant.Key == nil {
		return nil
	}
	return x.tenant.Key
}

func (x *exchange) refuseLogout(status int, code string, cause error) {
	x.tell(x.logoutProblem(status, code, cause))
}

func (x *exchange) logoutProblem(status int, code string, cause error) problem {
	p := problem{
		status: status, code: code, text: "sign_out_failed", link: "/saml/logout",
		attributes: []any{"event", "sign-out", "tenant", x.tenant.Name(), "outcome", "refused"},
		audit:      &audit.Entry{Event: audit.EventSignOut, Tenant: x.tenant.Name()},
	}
	if cause != nil {
		p.cause = cause
	}
	if refusal, ok := errors.AsType[*sp.Error](cause); ok && len(refusal.StatusCodes) > 0 {
		p.attributes = append(p.attributes, "samlStatus", refusal.StatusCodes, "samlStatusMessage", refusal.StatusMessage)
	}
	return p
}
