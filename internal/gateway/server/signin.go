package server

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"cequence.cloud/saml-operator/internal/gateway/audit"
	"cequence.cloud/saml-operator/internal/gateway/authorization"
	"cequence.cloud/saml-operator/internal/gateway/identity"
	"cequence.cloud/saml-operator/internal/gateway/pages"
	"cequence.cloud/saml-operator/internal/gateway/paths"
	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/store"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// maxFormBytes bounds the body that is read of the POST binding. It leaves room
// for base64 and percent-encoding, and for the RelayState.
const maxFormBytes = 2 * sp.MaxResponseBytes

// login sends the browser to the IdP. [SAMLProf 4.1.3]
func (x *exchange) login() {
	if !loginMeant(x.r.Header) {
		x.fail(problem{status: http.StatusForbidden, code: "login_not_meant", link: "/"})
		return
	}
	query := x.r.URL.Query()
	if handle := query.Get(handleParameter); handle != "" {
		x.resume(handle)
		return
	}
	now := x.Now()
	pending := x.newPending(query.Get("return_to"), now)
	pending.ForceAuthn = pending.ForceAuthn || isTrue(query.Get("forceAuthn"))
	cookies, err := x.Codec.Begin(x.binding, x.r, pending, now)
	if err != nil {
		x.internal(err)
		return
	}
	request := x.request(pending)
	request.IsPassive = isTrue(query.Get("isPassive"))
	request.LoginHint = loginHint(query.Get("login_hint"))
	x.ask(request, pending.Handle, cookies...)
}

// newPending returns a request that is about to be sent.
func (x *exchange) newPending(returnTo string, now time.Time) session.Pending {
	return session.Pending{
		RequestID:  sp.NewRequestID(),
		ReturnTo:   paths.ReturnTo(returnTo),
		IssuedAt:   now,
		ForceAuthn: x.tenant.Config.ServiceProvider.ForceAuthn,
		Handle:     session.NewHandle(),
	}
}

// request returns what p looks like to the IdP.
func (x *exchange) request(p session.Pending) sp.AuthnRequest {
	config := x.tenant.Config
	request := sp.AuthnRequest{
		ID:           p.RequestID,
		IssueInstant: p.IssuedAt,
		Issuer:       config.ServiceProvider.EntityID,
		ACSURL:       config.ServiceProvider.ACSURL,
		Destination:  config.IdentityProvider.SSO[0].Location, // Validate: at least one, best first
		ForceAuthn:   p.ForceAuthn,
		NameIDFormat: config.ServiceProvider.NameIDFormat,
	}
	if wish := config.ServiceProvider.RequestedAuthnContext; wish != nil {
		request.RequestedAuthnContext, request.AuthnContextComparison = wish.ClassRefs, wish.Comparison
	}
	return request
}

// isTrue reads a wish as the links to other service providers have it.
func isTrue(s string) bool { return s == "true" || s == "1" }

// loginHint returns the user name that a link hints at, or nothing if it is
// none.
func loginHint(s string) string {
	const limit = 320 // of an e-mail address [RFC 3696 3, erratum 1003]
	unprintable := func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }
	if len(s) > limit || strings.ContainsFunc(s, unprintable) {
		return ""
	}
	return s
}

// loginMeant says whether somebody may be about to sign in. Each login leaves
// a cookie and makes the browser forget the oldest, so another site's images
// and frames must not cause any. Browsers that tell nothing are believed.
// [Fetch Metadata 2.1 to 2.3]
func loginMeant(h http.Header) bool {
	if mode := h.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" || isPrefetch(h) {
		return false
	}
	dest := h.Get("Sec-Fetch-Dest")
	return dest == "" || dest == "document" || h.Get("Sec-Fetch-Site") != "cross-site"
}

// isPrefetch says whether the browser only guesses what the user will want.
func isPrefetch(h http.Header) bool {
	return strings.Contains(h.Get("Sec-Purpose"), "prefetch")
}

// ask has the browser take a request to the IdP.
func (x *exchange) ask(request sp.AuthnRequest, relayState string, cookies ...*http.Cookie) {
	x.send(request, x.tenant.Config.IdentityProvider.SSO[0].Binding, relayState, x.signer(), "signing_in", cookies...)
}

// outgoing is a message that the browser takes to the IdP.
type outgoing interface {
	RedirectURL(relayState string, signer crypto.Signer) (string, error)
	PostForm(relayState string, signer crypto.Signer) (sp.PostForm, error)
}

// send has the browser take a message to the IdP by that binding. The text is
// of the page that the POST binding needs.
func (x *exchange) send(message outgoing, binding, relayState string, signer crypto.Signer, text string, cookies ...*http.Cookie) {
	if binding == tenantconfig.BindingPOST {
		form, err := message.PostForm(relayState, signer)
		if err != nil {
			x.internal(err)
			return
		}
		fields := []pages.Field{{Name: form.Parameter, Value: form.Message}}
		if form.RelayState != "" {
			fields = append(fields, pages.Field{Name: "RelayState", Value: form.RelayState})
		}
		x.setCookies(cookies...)
		x.page(pages.Page{Status: http.StatusOK, Text: text,
			Form: &pages.Form{Action: form.Action, Submit: true, Elsewhere: true, Fields: fields}})
		return
	}
	target, err := message.RedirectURL(relayState, signer)
	if err != nil {
		x.internal(err)
		return
	}
	status := http.StatusFound
	if x.r.Method == http.MethodPost {
		status = http.StatusSeeOther
	}
	x.setCookies(cookies...)
	x.w.Header().Set("Location", target)
	x.w.WriteHeader(status)
}

// acs consumes the IdP's answer. [SAMLProf 4.1.4] The RelayState counts for
// nothing: the signed InResponseTo says which of this browser's requests is
// answered, and so where the user wanted to go.
func (x *exchange) acs() {
	if status, code, err := x.form(); code != "" {
		x.refuse(nil, status, code, err)
		return
	}
	now := x.Now()
	pending, _ := x.Codec.Pending(x.binding, x.r, now)
	pending, test := split(pending, x.r.PostForm)
	if test != nil {
		x.concludeTest(*test, now)
		return
	}
	responses := x.r.PostForm["SAMLResponse"]
	if len(responses) != 1 {
		x.refuse(nil, http.StatusBadRequest, "form_invalid", errors.New("not exactly one SAMLResponse"))
		return
	}
	if len(pending) == 0 && !x.allowsUnsolicited() {
		// Nothing is verified for a browser that did not begin here.
		x.outdated(nil, string(sp.CodeUnsolicited), errors.New("the browser has no pending request"))
		return
	}
	response, err := sp.DecodeResponse(responses[0])
	if err != nil {
		x.refuse(nil, http.StatusBadRequest, string(sp.CodeOf(err)), err)
		return
	}
	assertion, err := x.verify(response, pending, now)
	switch {
	case len(pending) == 0 && late(err):
		x.outdated(nil, string(sp.CodeOf(err)), err)
		return
	case err != nil:
		x.refuse(nil, http.StatusForbidden, string(sp.CodeOf(err)), err)
		return
	case assertion.InResponseTo == "":
		x.unsolicited(assertion, pending, now)
		return
	}
	answered, ok := find(pending, assertion.InResponseTo)
	switch {
	case !ok:
		x.refuse(assertion, http.StatusForbidden, string(sp.CodeInResponseToMismatch), nil)
	case answered.ForceAuthn && x.stale(assertion, answered):
		x.refuse(assertion, http.StatusForbidden, "authentication_too_old",
			fmt.Errorf("the user was authenticated at %s, before the request that asked for it", assertion.AuthnInstant.Format(time.RFC3339)))
	default:
		x.admit(assertion, &answered, answered.ReturnTo, now)
	}
}

// stale says whether the user was authenticated before a request asked for it.
func (x *exchange) stale(assertion *sp.Assertion, answered session.Pending) bool {
	return assertion.AuthnInstant.Before(answered.IssuedAt.Truncate(time.Second).Add(-x.ClockSkew))
}

// beat is what the time of an answer is a multiple of where it could tell what
// an encrypted assertion holds. Verifying takes less [XMLEnc 6.1].
const beat = 200 * time.Millisecond

// late says whether an answer was refused as one is that comes once more.
func late(err error) bool {
	return slices.Contains([]sp.Code{sp.CodeUnsolicited, sp.CodeIssueInstantInvalid}, sp.CodeOf(err))
}

// admit signs the user in by an assertion that was verified, and answers that
// request, nil if there was none.
func (x *exchange) admit(assertion *sp.Assertion, answered *session.Pending, returnTo string, now time.Time) {
	who, err := identity.FromAssertion(assertion, x.tenant.Config.AttributeMapping)
	if err != nil {
		p := x.refusal(assertion, http.StatusForbidden, identityCode(err), err)
		p.text = "user_incomplete"
		x.tell(p)
		return
	}
	err = x.tenant.Authorization.Admit(authorization.Subject{Email: who.Email, Groups: who.Groups, GroupsIncomplete: who.GroupsIncomplete})
	if refusal, ok := errors.AsType[*authorization.Error](err); ok {
		x.deny(assertion, string(refusal.Code), refusal)
		return
	}
	x.begin(assertion, answered, returnTo, who, now)
}

// form reads the form of the POST binding, or says why not.
func (x *exchange) form() (status int, code string, err error) {
	if mediaType, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type")); err != nil || mediaType != "application/x-www-form-urlencoded" {
		return http.StatusUnsupportedMediaType, "form_expected", nil
	}
	x.r.Body = http.MaxBytesReader(x.w, x.r.Body, maxFormBytes)
	if err := x.r.ParseForm(); err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return http.StatusRequestEntityTooLarge, string(sp.CodeTooLarge), err
		}
		return http.StatusBadRequest, "form_invalid", err
	}
	return 0, "", nil
}

// verify verifies a response and, if only a key that is not known stands in the
// way, once more by the keys that the IdP publishes now. Nothing is used up
// before it has succeeded.
func (x *exchange) verify(response []byte, pending []session.Pending, now time.Time) (*sp.Assertion, error) {
	return x.verifyBy(sp.Verify, response, pending, now)
}

func (x *exchange) verifyBy(verify func([]byte, sp.Expectations) (*sp.Assertion, error), response []byte, pending []session.Pending, now time.Time) (_ *sp.Assertion, err error) {
	start := time.Now()
	assertion, err := verify(response, x.expectations(pending, now))
	if !renewable(err) {
		return assertion, err
	}
	defer func() {
		if err != nil {
			pause(x.r.Context(), beat-time.Since(start)%beat)
		}
	}()
	newer := x.rollovers.newer(x.r.Context(), x.tenant)
	if newer == nil || newer.Config.Disabled || bindingOf(newer) != x.binding {
		return nil, err
	}
	x.tenant = newer
	if assertion, err = verify(response, x.expectations(pending, now)); err == nil {
		x.Log.Info("the identity provider signs with a new key", x.evidence(assertion)...)
	}
	return assertion, err
}

// pause waits, or until nobody is listening any more.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func renewable(err error) bool {
	refusal, ok := errors.AsType[*sp.Error](err)
	return ok && refusal.Renewable
}

// begin makes the sign-in count and the session start.
func (x *exchange) begin(assertion *sp.Assertion, answered *session.Pending, returnTo string, who identity.Identity, now time.Time) {
	s := session.Session{
		ID: session.NewID(), StableID: who.Name(x.tenant.Config.AttributeMapping),
		Email: who.Email, GivenName: who.GivenName, Surname: who.Surname, DisplayName: who.DisplayName,
		Groups: who.Groups, GroupsIncomplete: who.GroupsIncomplete,
		AuthenticatedAt: authenticatedAt(assertion, answered, now), CreatedAt: now, SeenAt: now,
		ExpiresAt: x.policy().ExpiresAt(now, assertion.SessionNotOnOrAfter, x.ClockSkew),
	}
	in := x.signIn(assertion, answered)
	in.Profile, in.SessionID, in.SessionExpires = profile(who), s.ID, s.ExpiresAt
	// Whether the groups fit does not depend on which user it is.
	s.UserID = in.NewUserID
	if _, err := x.Codec.Seal(x.binding, s); errors.Is(err, session.ErrTooLarge) {
		in.SessionGroups = s.Groups
		s.Groups, s.GroupsInStore = nil, true
	}
	result, err := x.Store.RecordSignIn(x.r.Context(), in)
	switch {
	case errors.Is(err, store.ErrReplayed):
		x.outdated(assertion, "assertion_replayed", err)
		return
	case errors.Is(err, store.ErrRequestAnswered):
		x.outdated(assertion, "request_answered", err)
		return
	case errors.Is(err, store.ErrAssertionExpired):
		x.refuse(assertion, http.StatusForbidden, string(sp.CodeExpired), err)
		return
	case errors.Is(err, store.ErrLoggedOut):
		x.refuse(assertion, http.StatusForbidden, "logged_out", err)
		return
	case errors.Is(err, store.ErrUserDisabled):
		x.deny(assertion, "user_disabled", errors.New("an administrator has disabled this user: "+
			"enable the user by kubectl saml enable-user if that is over"))
		return
	case errors.Is(err, store.ErrUserInactive):
		x.deny(assertion, "user_inactive", errors.New("the customer's directory has this user as inactive: "+
			"its administrator can assign the user to the application again"))
		return
	case errors.Is(err, store.ErrUserUnknown):
		x.deny(assertion, "user_unknown", errors.New("provisioning.mode is Existing, and this user has not been created: "+
			"create the user, or let sign-ins do so by the mode JustInTime"))
		return
	case errors.Is(err, store.ErrTooManyUsers):
		x.deny(assertion, "user_limit_reached", fmt.Errorf("the tenant has the %d users that it may have, and this one is not among them: "+
			"raise provisioning.maxUsers if they are people, or ask why the identity provider sends so many", in.Provisioning.MaxUsers))
		return
	case err != nil:
		x.storeFailed("record sign-in", err)
		return
	}
	if end := assertion.SigningCertificate.NotAfter; now.After(end) {
		x.Log.Warn("the identity provider signs with an expired certificate, which the tenant accepts for a while",
			append(x.evidence(assertion), "code", string(sp.CodeCertificateExpired), "expiredAt", end,
				"acceptedUntil", time.Unix(x.tenant.Config.IdentityProvider.AcceptExpiredUntil, 0).UTC())...)
	}
	if who.GroupsIncomplete {
		x.Log.Warn("the identity provider withheld groups, which the tenant tolerates",
			append(x.evidence(assertion), "code", string(identity.CodeGroupOverage), "user", result.User.ID)...)
	}
	s.UserID = result.User.ID
	cookie, err := x.Codec.Seal(x.binding, s)
	if err != nil {
		x.internal(err)
		return
	}
	x.Log.Info("sign-in", append(x.evidence(assertion), "outcome", "success",
		"user", result.User.ID, "userIDSource", who.UserIDSource, "created", result.Created,
		"groups", len(who.Groups), "groupsIncomplete", who.GroupsIncomplete, "dropped", who.Dropped)...)
	entry := x.auditEntry(assertion)
	entry.Outcome, entry.User = audit.OutcomeSuccess, result.User.ID
	x.Audit.Record(*entry)
	if result.Created {
		entry.Event, entry.Action = audit.EventProvisioning, "user_created"
		x.Audit.Record(*entry)
	}
	x.setCookies(cookie)
	if answered != nil {
		x.setCookies(session.End(*answered))
	}
	x.seeOther(returnTo)
}

// authenticatedAt is when the IdP has authenticated the user, by our clock if the
// request asked for it: then it was not before the request. [SAMLCore 2.7.2]
func authenticatedAt(assertion *sp.Assertion, answered *session.Pending, now time.Time) time.Time {
	at := assertion.AuthnInstant
	if answered != nil && answered.ForceAuthn && answered.IssuedAt.After(at) {
		at = answered.IssuedAt
	}
	if at.After(now) {
		return now
	}
	return at
}

// signIn is what the store is told of an assertion, but for user and session.
func (x *exchange) signIn(assertion *sp.Assertion, answered *session.Pending) store.SignIn {
	in := store.SignIn{
		Tenant: x.tenant.Name(), IDPEntityID: assertion.Issuer,
		AssertionID: assertion.ID, AssertionIssued: assertion.IssueInstant, AssertionExpires: assertion.NotOnOrAfter,
		NewUserID: store.NewUserID(), Provisioning: provisioning(x.tenant.Config.Provisioning),
		NameID: store.NameID(assertion.NameID), SessionIndex: assertion.SessionIndex,
	}
	if answered != nil {
		in.RequestID, in.RequestExpires = answered.RequestID, answered.ExpiresAt()
	}
	return in
}

func profile(who identity.Identity) store.Profile {
	return store.Profile{StableID: who.UserID, UserIDSource: who.UserIDSource,
		Email: who.Email, GivenName: who.GivenName, Surname: who.Surname, DisplayName: who.DisplayName, Groups: who.Groups}
}

func provisioning(config tenantconfig.Provisioning) store.Provisioning {
	keeps := func(attribute string) bool { return slices.Contains(config.KeepAttributes, attribute) }
	return store.Provisioning{
		ExistingOnly: config.Mode == tenantconfig.ProvisioningExisting, MaxUsers: config.Limit(),
		KeepEmail: keeps(tenantconfig.KeepEmail), KeepGivenName: keeps(tenantconfig.KeepGivenName),
		KeepSurname: keeps(tenantconfig.KeepSurname), KeepDisplayName: keeps(tenantconfig.KeepDisplayName),
	}
}

// expectations come from the tenant's configuration and from this browser's
// cookies, never from the request's host or the message.
func (x *exchange) expectations(pending []session.Pending, now time.Time) sp.Expectations {
	config := x.tenant.Config
	want := sp.Expectations{
		EntityID:            config.ServiceProvider.EntityID,
		ACSURL:              config.ServiceProvider.ACSURL,
		IDPEntityID:         config.IdentityProvider.EntityID,
		SigningCertificates: x.tenant.SigningCertificates,
		AcceptExpired:       config.IdentityProvider.AcceptsExpired(now),
		AllowUnsolicited:    x.allowsUnsolicited(),
		WantEncrypted:       config.ServiceProvider.WantAssertionsEncrypted,
		Now:                 now,
		ClockSkew:           x.ClockSkew,
	}
	if wish := config.ServiceProvider.RequestedAuthnContext; wish != nil && wish.Comparison == tenantconfig.ComparisonExact {
		want.AuthnContextClassRefs = wish.ClassRefs
	}
	for _, p := range pending {
		want.RequestIDs = append(want.RequestIDs, p.RequestID)
	}
	want.DecryptionKeys = x.tenant.DecryptionKeys
	return want
}

func find(pending []session.Pending, requestID string) (session.Pending, bool) {
	for _, p := range pending {
		if p.RequestID == requestID {
			return p, true
		}
	}
	return session.Pending{}, false
}

// outdated refuses an answer that nobody waits for, or not any more. Going back
// in the history sends one: somebody who is signed in just goes on, by the
// session that is there.
func (x *exchange) outdated(assertion *sp.Assertion, code string, cause error) {
	p := x.refusal(assertion, http.StatusForbidden, code, cause)
	target := "/saml/acs"
	switch _, signedIn := x.valid(); {
	case signedIn:
		target = paths.Home
	case x.r.Header.Get("Sec-Fetch-Site") != "cross-site":
		x.tell(p)
		return
	}
	// Browsers withhold the session's cookie from another site's POST, but not
	// from the GET that follows it: see again.
	x.logProblem(x.r, p, "")
	x.seeOther(target)
}

// again is where a browser comes back to after an outdated answer.
func (x *exchange) again() { x.goOn("response_missing") }

// goOn lets somebody who is signed in go on, and tells others to sign in.
func (x *exchange) goOn(code string) {
	if _, signedIn := x.valid(); !signedIn {
		x.refuse(nil, http.StatusForbidden, code, nil)
		return
	}
	x.seeOther(paths.Home)
}

func (x *exchange) seeOther(target string) {
	x.w.Header().Set("Location", target)
	x.w.WriteHeader(http.StatusSeeOther)
}

// refuse answers a sign-in that failed. The assertion is nil unless it was
// verified.
func (x *exchange) refuse(assertion *sp.Assertion, status int, code string, cause error) {
	x.tell(x.refusal(assertion, status, code, cause))
}

// deny refuses somebody whom the IdP vouches for and the tenant's rules keep
// out. The IdP would bring the same person again, unless it is told to ask.
func (x *exchange) deny(assertion *sp.Assertion, code string, cause error) {
	p := x.refusal(assertion, http.StatusForbidden, code, cause)
	p.text, p.link = "no_access", "/saml/login?forceAuthn=true"
	x.tell(p)
}

func (x *exchange) refusal(assertion *sp.Assertion, status int, code string, cause error) problem {
	p := problem{
		status: status, code: code, text: signInText(code),
		link:       "/saml/login",
		attributes: append(x.evidence(assertion), "outcome", "refused"),
		audit:      x.auditEntry(assertion),
	}
	if cause != nil {
		p.cause = cause
	}
	if renewable(cause) {
		p.text = "sign_in_changing"
	}
	if refusal, ok := errors.AsType[*sp.Error](cause); ok && len(refusal.StatusCodes) > 0 {
		p.attributes = append(p.attributes, "samlStatus", refusal.StatusCodes, "samlStatusMessage", refusal.StatusMessage)
		p.text = statusText(refusal)
	}
	return p
}

// signInText names the text for a sign-in that was refused. What was found in
// the message makes no difference, since pages that differ would tell an
// attacker what an encrypted assertion holds [XMLEnc 6.1].
func signInText(code string) string {
	switch code {
	case "response_missing", "request_missing", "login_not_meant":
		return code
	}
	return "sign_in_failed"
}

// statusText names the text for an IdP that says no. Only whose turn it is
// follows from what the IdP says, which may not be signed: its words, and Entra
// ID's code in them, are for the log. [SAMLCore 3.2.2.2]
func statusText(refusal *sp.Error) string {
	has := func(code string) bool { return slices.Contains(refusal.StatusCodes, code) }
	entra, _, _ := strings.Cut(refusal.StatusMessage, ":")
	switch {
	case has(sp.StatusNoPassive):
		return "idp_passive"
	case entra == "AADSTS50105": // the user is not assigned to the application
		return "idp_not_assigned"
	case has(sp.StatusNoAuthnContext), entra == "AADSTS75011": // signed in by another method
		return "idp_method"
	}
	return "idp_refused"
}

// evidence identifies a sign-in in the log, without what the assertion says.
func (x *exchange) evidence(assertion *sp.Assertion) []any {
	attributes := []any{"event", "sign-in", "tenant", x.tenant.Name()}
	if assertion != nil {
		attributes = append(attributes, "assertionID", bounded(assertion.ID), "requestID", assertion.InResponseTo)
	}
	return attributes
}

// auditEntry is evidence for the audit log.
func (x *exchange) auditEntry(assertion *sp.Assertion) *audit.Entry {
	entry := &audit.Entry{Event: audit.EventSignIn, Tenant: x.tenant.Name(), Address: x.r.RemoteAddr}
	if assertion != nil {
		entry.AssertionID, entry.RequestID = bounded(assertion.ID), assertion.InResponseTo
	}
	return entry
}

func identityCode(err error) string {
	if refusal, ok := errors.AsType[*identity.Error](err); ok {
		return string(refusal.Code)
	}
	return string(sp.CodeInternal)
}

// signer is nil unless the tenant's requests are to be signed.
func (x *exchange) signer() crypto.Signer {
	if !x.tenant.Config.ServiceProvider.SignAuthnRequests {
		return nil
	}
	return x.tenant.Key // Load: not nil
}

func (x *exchange) internal(err error) {
	x.fail(problem{status: http.StatusInternalServerError, code: string(sp.CodeInternal), cause: err.Error()})
}

func (x *exchange) setCookies(cookies ...*http.Cookie) {
	for _, cookie := range cookies {
		http.SetCookie(x.w, cookie)
	}
}
