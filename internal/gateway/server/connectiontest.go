package server

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/audit"
	"cequence.cloud/saml-operator/internal/gateway/authorization"
	"cequence.cloud/saml-operator/internal/gateway/diagnosis"
	"cequence.cloud/saml-operator/internal/gateway/identity"
	"cequence.cloud/saml-operator/internal/gateway/pages"
	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/gateway/sp"
)

const (
	testPath = "/saml/test"
	// keyParameter has the key of a link to the test.
	keyParameter = "key"
)

// TestLink returns the address at which an administrator may test a tenant's
// connection, and until when, or false if no such tenant is served.
func (s *Server) TestLink(name string) (link string, expires time.Time, ok bool) {
	t := s.Tenants.ByName(name)
	if t == nil {
		return "", time.Time{}, false
	}
	expires = s.Now().Add(session.TestLinkLifetime).UTC().Truncate(time.Second)
	key, err := s.Codec.SealTestKey(bindingOf(t), expires)
	if err != nil {
		s.Log.Error("make link to the test", "tenant", name, "error", err.Error())
		return "", time.Time{}, false
	}
	return t.Config.ServiceProvider.SignOnURL + testPath + "?" + keyParameter + "=" + key, expires, true
}

// test shows what is entered where, and begins a test when asked to. It is
// there for whoever has a link, or the tenant's role for it.
func (x *exchange) test() {
	key := x.r.URL.Query().Get(keyParameter)
	if x.r.Method == http.MethodPost {
		if status, code, err := x.form(); code != "" {
			x.fail(problem{status: status, code: code, text: "test_not_allowed", cause: err})
			return
		}
		key = x.r.PostForm.Get(keyParameter)
	}
	until, ok := x.mayTest(key)
	switch {
	case !ok:
		x.fail(problem{status: http.StatusForbidden, code: "test_not_allowed"})
	case x.r.Method == http.MethodGet:
		x.page(pages.Page{Status: http.StatusOK, Text: "test", Form: testForm(key), Sections: diagnosis.Instructions(x.tenant)})
	case x.crossOrigin.Check(x.r) != nil:
		x.fail(problem{status: http.StatusForbidden, code: "test_not_allowed"})
	default:
		x.beginTest(until)
	}
}

// testForm begins a test. Browsers hold the redirect to the IdP to the page's
// policy as well.
func testForm(key string) *pages.Form {
	return &pages.Form{Action: testPath, Elsewhere: true, Fields: []pages.Field{{Name: keyParameter, Value: key}}}
}

// mayTest says whether the browser may test the connection, and until when:
// with the key of a link, or by a role.
func (x *exchange) mayTest(key string) (until time.Time, ok bool) {
	if until, ok := x.Codec.OpenTestKey(x.binding, key, x.Now()); ok {
		return until, true
	}
	role := x.tenant.Config.Authorization.TestRole
	if role == "" {
		return time.Time{}, false
	}
	s, err := x.current()
	if err != nil || s == nil || !slices.Contains(x.roles(*s), role) {
		return time.Time{}, false
	}
	return x.Now().Add(session.RequestLifetime), true
}

// beginTest sends a request that asks for a sign-in afresh.
func (x *exchange) beginTest(until time.Time) {
	now := x.Now()
	p := x.newPending("", now)
	p.ForceAuthn, p.TestUntil = true, until
	cookies, err := x.Codec.Begin(x.binding, x.r, p, now)
	if err != nil {
		x.internal(err)
		return
	}
	x.ask(x.request(p), p.Handle, cookies...)
}

// split takes the tests out of the pending requests: no sign-in answers one. It
// returns the test that the response at hand is for, nil if there is none. Which
// one that is says the RelayState, or the response itself where an IdP has lost
// that; neither is to be believed, but either names a test of this browser.
func split(pending []session.Pending, form url.Values) (signIns []session.Pending, test *session.Pending) {
	var tests []session.Pending
	for _, p := range pending {
		if p.IsTest() {
			tests = append(tests, p)
		} else {
			signIns = append(signIns, p)
		}
	}
	if len(tests) == 0 {
		return signIns, nil
	}
	named := func(p session.Pending) bool { return p.Handle == form.Get("RelayState") }
	if !slices.ContainsFunc(pending, named) {
		response, _ := sp.DecodeResponse(form.Get("SAMLResponse"))
		answered := sp.OutlineOf(response).InResponseTo
		named = func(p session.Pending) bool { return p.RequestID == answered }
	}
	if i := slices.IndexFunc(tests, named); i >= 0 {
		test = &tests[i]
	}
	return signIns, test
}

// concludeTest shows what has become of a test. Its request is over, whatever
// that is. Nobody is signed in.
func (x *exchange) concludeTest(p session.Pending, now time.Time) {
	x.setCookies(session.End(p))
	r := diagnosis.Result{Now: now, RequestID: p.RequestID}
	if err := x.judge(&r, p); err != nil {
		x.storeFailed("record test", err)
		return
	}
	r.Tenant = x.tenant
	page := pages.Page{Status: http.StatusOK, SupportID: pages.NewSupportID(), Lead: r.Lead(), Sections: r.Sections()}
	switch r.Outcome() {
	case diagnosis.Passed:
		page.Text = "test_passed"
	case diagnosis.KeptOut:
		page.Text = "test_kept_out"
	default:
		page.Text = "test_failed"
	}
	if r.Assertion != nil {
		page.Who = bounded(cmp.Or(r.Assertion.NameID.Value, "?"))
	}
	if key, err := x.Codec.SealTestKey(x.binding, p.TestUntil); err == nil {
		page.Form = testForm(key)
	}
	x.recordTest(r, page.SupportID)
	x.page(page)
}

// judge verifies the response to a test, uses it up, and finds out what would
// become of its user. Its error is the store's.
func (x *exchange) judge(r *diagnosis.Result, p session.Pending) error {
	refuse := func(code string, cause error) { r.Code, r.Cause = code, cause }
	responses := x.r.PostForm["SAMLResponse"]
	if len(responses) != 1 {
		refuse(diagnosis.CodeFormInvalid, errors.New("not exactly one SAMLResponse"))
		return nil
	}
	response, err := sp.DecodeResponse(responses[0])
	if err != nil {
		refuse(string(sp.CodeOf(err)), err)
		return nil
	}
	r.Outline = sp.OutlineOf(response)
	explain := func(response []byte, want sp.Expectations) (assertion *sp.Assertion, err error) {
		want.AllowUnsolicited = false
		assertion, r.Trace, err = sp.Explain(response, want)
		return assertion, err
	}
	assertion, err := x.verifyBy(explain, response, []session.Pending{p}, r.Now)
	if err != nil {
		refuse(string(sp.CodeOf(err)), err)
		return nil
	}
	r.Assertion, r.Stale = assertion, x.stale(assertion, p)
	in := x.signIn(assertion, &p)
	if who, err := identity.FromAssertion(assertion, x.tenant.Config.AttributeMapping); err != nil {
		refuse(identityCode(err), err)
	} else {
		r.Identity = &who
		in.Profile = profile(who)
		r.Admission = x.tenant.Authorization.Admit(authorization.Subject{Email: who.Email, Groups: who.Groups, GroupsIncomplete: who.GroupsIncomplete})
		if refusal, ok := errors.AsType[*authorization.Error](r.Admission); ok {
			refuse(string(refusal.Code), refusal)
		}
	}
	result, err := x.Store.RecordTest(x.r.Context(), in)
	if code := diagnosis.StoreCode(err); code != "" {
		refuse(code, err)
		return nil
	} else if err != nil {
		return err
	}
	r.UsedUp, r.Known, r.Provisioning = true, result.Known, result.Refusal
	switch {
	case r.Stale && x.tenant.Config.ServiceProvider.ForceAuthn:
		refuse(diagnosis.CodeAuthenticationTooOld, nil)
	case r.Code == "" && r.Provisioning != nil:
		refuse(diagnosis.StoreCode(r.Provisioning), r.Provisioning)
	}
	return nil
}

// recordTest keeps that a test took place, and how it ended: nothing of the user.
func (x *exchange) recordTest(r diagnosis.Result, supportID string) {
	entry := x.auditEntry(r.Assertion)
	entry.Event, entry.Outcome, entry.Code = audit.EventConnectionTest, audit.OutcomeSuccess, r.Code
	entry.RequestID, entry.SupportID = r.RequestID, supportID
	if r.Code != "" {
		entry.Outcome = audit.OutcomeRefused
	}
	x.Audit.Record(*entry)
	attributes := []any{"event", entry.Event, "tenant", x.tenant.Name(), "outcome", entry.Outcome, "code", r.Code,
		"supportID", supportID, "requestID", r.RequestID, "assertionID", entry.AssertionID, "address", x.r.RemoteAddr}
	if r.Cause != nil {
		attributes = append(attributes, "error", r.Cause.Error())
	}
	if refusal, ok := errors.AsType[*sp.Error](r.Cause); ok && len(refusal.StatusCodes) > 0 {
		attributes = append(attributes, "samlStatus", refusal.StatusCodes, "samlStatusMessage", refusal.StatusMessage)
	}
	x.Log.Info("connection test", attributes...)
}
