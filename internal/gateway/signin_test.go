package gateway_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"

	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

func TestSignInWithABrowser(t *testing.T) {
	for _, binding := range []string{tenantconfig.BindingRedirect, tenantconfig.BindingPOST} {
		t.Run(binding[strings.LastIndex(binding, ":")+1:], func(t *testing.T) {
			w := newWorld(t)
			c := w.config(acme)
			c.IdentityProvider.SSO[0].Binding = binding
			w.write(c)
			w.eventually("the new binding is served", func() bool {
				return (w.person().get(site(acme)+"/saml/login").StatusCode == http.StatusFound) == (binding == tenantconfig.BindingRedirect)
			})

			browser, _ := w.browser()
			page, err := browser.SignIn(t.Context(), site(acme)+"/reports/2026?view=a%2Fb&x=1", alice, password)
			if err != nil {
				t.Fatalf("SignIn: %v\nsteps: %v\nlog: %s", err, browser.Steps(), w.log.last())
			}
			e := decodeEcho(t, string(page.Body))
			if e.URI != "/reports/2026?view=a%2Fb&x=1" || e.Host != host(acme) {
				t.Errorf("the application got %s at %s", e.URI, e.Host)
			}
			for name, want := range map[string]string{
				"X-Auth-Request-User":   "alice@acme.example",
				"X-Auth-Request-Email":  "alice@acme.example",
				"X-Auth-Request-Groups": "staff,a%2Cb%25",
				"X-Auth-Request-Tenant": "acme",
				"X-Forwarded-Proto":     "https",
				"X-Forwarded-Host":      host(acme),
			} {
				if got := e.Header.Values(name); !slices.Equal(got, []string{want}) {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestSignInCreatesThenUpdatesTheUser(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	if log := w.log.last(); !strings.Contains(log, `"created":true`) {
		t.Errorf("first sign-in: %s", log)
	}
	first, ok := p.whoami(acme)
	if !ok || first.Tenant != acme || first.User.Email != "alice@acme.example" || first.User.DisplayName != "Alice Adams" ||
		first.User.GivenName != "Alice" || first.User.Surname != "Adams" || !slices.Equal(first.User.Groups, []string{"staff", "a,b%"}) {
		t.Errorf("who am I: %+v, %v", first, ok)
	}
	if want := w.clock.Now().Add(8 * time.Hour); !first.ExpiresAt.Equal(want) {
		t.Errorf("expires at %v, want %v", first.ExpiresAt, want)
	}
	w.idps[acme].SetUser(testidp.User{Name: alice, Password: password, NameID: "alice@acme.example", Email: "new@acme.example"})
	p.signIn(acme)
	if log := w.log.last(); !strings.Contains(log, `"created":false`) {
		t.Errorf("second sign-in: %s", log)
	}
	if second, _ := p.whoami(acme); second.User.Email != "new@acme.example" || second.User.ID != first.User.ID || len(second.User.Groups) != 0 {
		t.Errorf("who am I after the update: %+v", second)
	}
}

// Somebody who can choose an attribute, and has the IdP send a transient NameID,
// is not the user whose NameID is what the attribute says: neither here nor for
// the application. (T1)
func TestT1_UsersOfTwoSourcesAreTwo(t *testing.T) {
	w := newWorld(t, configured(func(c *tenantconfig.Config) { c.AttributeMapping.UserIDWithoutNameID = []string{"uid"} }))
	p, mallory := w.person(), w.person()
	p.signIn(acme)
	mallory.signIn(acme, func(o *testidp.ResponseOptions) {
		o.NameIDFormat = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
		replace("uid", "alice@acme.example")(o)
	})
	if log := w.log.last(); !strings.Contains(log, `"created":true`) || !strings.Contains(log, `"userIDSource":"uid"`) {
		t.Errorf("the second is the first: %s", log)
	}
	for who, want := range map[*person]string{p: "alice@acme.example", mallory: "{uid}alice@acme.example"} {
		if got := decodeEcho(t, who.get(site(acme)+"/").body).Header.Values("X-Auth-Request-User"); !slices.Equal(got, []string{want}) {
			t.Errorf("the application got %q, want %q", got, want)
		}
		if session, _ := who.whoami(acme); session.User.ID != want {
			t.Errorf("the session is %q's, want %q", session.User.ID, want)
		}
	}
	p.signIn(acme)
	if log := w.log.last(); !strings.Contains(log, `"created":false`) {
		t.Errorf("the first is another by now: %s", log)
	}
}

func TestLogHasEvidenceAndNoSecrets(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	requestID, relayState := p.login(acme, "/")
	response := w.issue(acme, acme, requestID)
	p.post(acme, response, relayState)
	if log := w.log.last(); !strings.Contains(log, `"requestID":"`+requestID+`"`) || !strings.Contains(log, `"assertionID":"`) || !strings.Contains(log, `"tenant":"acme"`) {
		t.Errorf("the log lacks evidence: %s", log)
	}
	p.post(acme, response, relayState)
	log := w.log.all()
	secrets := []string{"alice@acme.example", "Alice", base64.StdEncoding.EncodeToString(response)[:200]}
	for _, cookie := range p.cookies(acme) {
		secrets = append(secrets, cookie.Value)
	}
	for _, secret := range secrets {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// Rows T1 and T2: the host alone decides whom to trust.
func TestT1_OnlyATenantsOwnIDPSignsIn(t *testing.T) {
	w := newWorld(t)
	for _, idp := range []string{acme, globex} {
		for _, tenant := range []string{acme, globex} {
			for _, madeFor := range []string{acme, globex} {
				p := w.person()
				requestID, relayState := p.login(tenant, "/")
				a := p.post(tenant, w.issue(idp, madeFor, requestID), relayState)
				_, in := p.whoami(tenant)
				want := idp == tenant && madeFor == tenant
				if in != want || (a.StatusCode == http.StatusSeeOther) != want {
					t.Errorf("IdP of %s, response for %s, posted to %s: status %d, signed in %v", idp, madeFor, tenant, a.StatusCode, in)
				}
			}
		}
	}
}

func TestT2_ResponseOfATenantWithTheSameIDPIsRefused(t *testing.T) {
	w := newWorld(t)
	c := w.config(globex)
	c.IdentityProvider = w.config(acme).IdentityProvider
	w.write(c)
	w.eventually("globex has acme's IdP", func() bool {
		location := w.person().get(site(globex) + "/saml/login").Header.Get("Location")
		return strings.HasPrefix(location, w.idps[acme].SSOURL())
	})
	p := w.person()
	requestID, relayState := p.login(globex, "/")
	if a := p.post(globex, w.issue(acme, acme, requestID), relayState); a.StatusCode != http.StatusForbidden {
		t.Errorf("status %d, log %s", a.StatusCode, w.log.last())
	}
	if a := p.post(globex, w.issue(acme, globex, requestID), relayState); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the right response: status %d, log %s", a.StatusCode, w.log.last())
	}
}

// Entra ID goes on signing with an expired certificate (E9). A tenant may accept
// that for a while, and the gateway itself ends it.
func TestE9_ExpiredCertificateIsAcceptedUntilATime(t *testing.T) {
	w := newWorld(t)
	key, err := testidp.NewKey(testidp.KeyOptions{NotBefore: w.clock.Now().AddDate(-3, 0, 0), NotAfter: w.clock.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.idps[acme].ActivateKey(w.idps[acme].AddExistingKey(key)); err != nil {
		t.Fatal(err)
	}
	attempt := func() int {
		p := w.person()
		requestID, relayState := p.login(acme, "/")
		return p.post(acme, w.issue(acme, acme, requestID), relayState).StatusCode
	}
	c := w.config(acme)
	w.write(c)
	w.eventually("the expired certificate is refused", func() bool {
		return attempt() == http.StatusForbidden && strings.Contains(w.log.last(), `"code":"certificate_expired"`)
	})
	c.IdentityProvider.AcceptExpiredUntil = w.clock.Now().Add(24 * time.Hour).Unix()
	w.write(c)
	w.eventually("the expired certificate is accepted", func() bool { return attempt() == http.StatusSeeOther })
	if log := w.log.all(); !strings.Contains(log, "the identity provider signs with an expired certificate") {
		t.Error("the log does not tell of the expired certificate")
	}
	w.clock.advance(24 * time.Hour)
	if status := attempt(); status != http.StatusForbidden || !strings.Contains(w.log.last(), `"code":"certificate_expired"`) {
		t.Errorf("after the grace: status %d, log %s", status, w.log.last())
	}
}

// A user of too many groups for Entra ID comes in where the tenant tolerates
// that, and everybody is told. (E20)
func TestE20_ToleratedOverageIsVisible(t *testing.T) {
	const header = "X-Auth-Request-Groups-Incomplete"
	w := newWorld(t)
	w.idps[acme].SetUser(testidp.User{Name: alice, Password: password, NameID: "alice@acme.example", Groups: manyGroups(testidp.GroupLimit + 1)})
	attempt := func(p *person) int {
		requestID, relayState := p.login(acme, "/")
		return p.post(acme, w.issue(acme, acme, requestID), relayState).StatusCode
	}
	if status := attempt(w.person()); status != http.StatusForbidden || w.log.lastCode(t) != "group_overage" {
		t.Errorf("without a word of the tenant: status %d, log %s", status, w.log.last())
	}
	c := w.config(acme)
	c.AttributeMapping.TolerateGroupOverage = true
	w.write(c)
	p := w.person()
	w.eventually("the overage is tolerated", func() bool { return attempt(p) == http.StatusSeeOther })
	if who, in := p.whoami(acme); !in || !who.User.GroupsIncomplete || len(who.User.Groups) != 0 {
		t.Errorf("the session is %+v, %v", who, in)
	}
	if e := decodeEcho(t, p.get(site(acme)+"/").body); e.Header.Get(header) != "true" || e.Header.Values("X-Auth-Request-Groups") != nil {
		t.Errorf("the application got %v", e.Header)
	}
	if log := w.log.all(); !strings.Contains(log, `"msg":"the identity provider withheld groups, which the tenant tolerates","event":"sign-in","tenant":"acme"`) ||
		!strings.Contains(log, `"groupsIncomplete":true`) {
		t.Error("the log does not tell")
	}

	// Somebody whose groups are all there is told apart.
	w.idps[acme].SetUser(testidp.User{Name: alice, Password: password, NameID: "alice@acme.example", Groups: manyGroups(testidp.GroupLimit)})
	other := w.person()
	other.signIn(acme)
	if who, _ := other.whoami(acme); who.User.GroupsIncomplete || len(who.User.Groups) != testidp.GroupLimit {
		t.Errorf("with %d groups: %+v", testidp.GroupLimit, who)
	}
	r := other.request(http.MethodGet, site(acme)+"/", nil)
	r.Header.Set(header, "true")
	if e := decodeEcho(t, other.do(r).body); e.Header.Values(header) != nil {
		t.Errorf("the client's word reached the application: %v", e.Header)
	}

	// A tenant that changes its mind does so for sessions that go on, too.
	w.write(w.config(acme))
	w.eventually("the session has ended", func() bool { _, in := p.whoami(acme); return !in })
	if _, in := other.whoami(acme); !in {
		t.Error("a session with all its groups ended, too")
	}
}

// Row B4.
func TestReplayIsRefused(t *testing.T) {
	w := newWorld(t)
	p, thief := w.person(), w.person()
	requestID, relayState := p.login(acme, "/")
	p.give(acme, thief, acme) // even with the request's cookie
	response := w.issue(acme, acme, requestID)
	if a := p.post(acme, response, relayState); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("status %d, log %s", a.StatusCode, w.log.last())
	}
	refused := func(code string, response []byte) {
		t.Helper()
		a := thief.post(acme, response, relayState)
		if got := w.log.lastCode(t); a.StatusCode != http.StatusForbidden || got != code {
			t.Errorf("status %d, code %q, want 403 and %q", a.StatusCode, got, code)
		}
	}
	refused("assertion_replayed", response)
	refused("request_answered", w.issue(acme, acme, requestID))
	w.restart()
	refused("assertion_replayed", response)
	if _, in := thief.whoami(acme); in {
		t.Error("the replay signed in")
	}
}

// Going back in the history posts an answer again. Whoever is signed in goes
// on, but never by the answer.
func TestOutdatedAnswerOfSomebodySignedIn(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	requestID, relayState := p.login(acme, "/deep")
	pending := p.cookies(acme)
	response := w.issue(acme, acme, requestID)
	p.post(acme, response, relayState)
	before, _ := p.whoami(acme)
	bob := w.issue(acme, acme, requestID, func(o *testidp.ResponseOptions) {
		o.AlterAssertion = func(a *saml.Assertion) { a.Subject.NameID.Value = "bob@acme.example" }
	})
	w.clock.advance(time.Second)

	goesOn := func(what string, response []byte, code string) {
		t.Helper()
		a := p.post(acme, response, relayState)
		if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/" || a.Header.Get("Set-Cookie") != "" || w.log.lastCode(t) != code {
			t.Errorf("%s: status %d, headers %v, log %s", what, a.StatusCode, a.Header, w.log.last())
		}
		if after, _ := p.whoami(acme); after.User.ID != before.User.ID || !after.SignedInAt.Equal(before.SignedInAt) {
			t.Errorf("%s: the session is now %+v", what, after)
		}
	}
	goesOn("nothing pending", response, "unsolicited_response")
	goesOn("nothing pending, another user", bob, "unsolicited_response")
	p.client.Jar.SetCookies(&url.URL{Scheme: "https", Host: host(acme)}, pending)
	goesOn("replayed", response, "assertion_replayed")
	goesOn("answered before, another user", bob, "request_answered")

	w.clock.advance(time.Hour)
	if a := p.post(acme, response, relayState); a.StatusCode != http.StatusForbidden {
		t.Errorf("with a session that is over: status %d", a.StatusCode)
	}
}

// Browsers withhold the session's cookie from a POST of the IdP's page, but not
// from the GET to which it leads.
func TestOutdatedAnswerFromAnotherSite(t *testing.T) {
	w := newWorld(t)
	in, out := w.person(), w.person()
	in.signIn(acme)
	r := out.request(http.MethodPost, acsURL(acme), strings.NewReader(url.Values{"SAMLResponse": {"PHgvPg=="}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if a := out.do(r); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/saml/acs" || w.log.lastCode(t) != "unsolicited_response" {
		t.Fatalf("status %d, location %q, log %s", a.StatusCode, a.Header.Get("Location"), w.log.last())
	}
	if a := in.get(acsURL(acme), "Sec-Fetch-Site", "cross-site"); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/" {
		t.Errorf("signed in: status %d, location %q", a.StatusCode, a.Header.Get("Location"))
	}
	if a := out.get(acsURL(acme), "Sec-Fetch-Site", "cross-site"); a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "You could not be signed in") {
		t.Errorf("not signed in: status %d: %s", a.StatusCode, a.body)
	}
}

// Each login makes the browser forget the oldest of eight.
func TestAnotherSiteCannotCauseLogins(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	honest, relayState := p.login(acme, "/")
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"},
		{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"},
		{"Sec-Fetch-Mode", "no-cors"},
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"},
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "object"},
		{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Purpose", "prefetch;prerender"},
	} {
		for range 8 {
			w.clock.advance(time.Second)
			if a := p.get(site(acme)+"/saml/login", header...); a.StatusCode != http.StatusForbidden || a.Header.Get("Set-Cookie") != "" {
				t.Fatalf("%v: status %d, cookie %q", header, a.StatusCode, a.Header.Get("Set-Cookie"))
			}
		}
	}
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"},
		{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"},
		{"Accept", "*/*"},
	} {
		if a := p.get(site(acme)+"/saml/login", header...); a.StatusCode != http.StatusFound {
			t.Errorf("%v: status %d", header, a.StatusCode)
		}
	}
	if a := p.post(acme, w.issue(acme, acme, honest), relayState); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the honest request is lost: status %d, log %s", a.StatusCode, w.log.last())
	}
}

// Rows B3, B8 and T6.
func TestResponseInAnotherBrowserIsRefused(t *testing.T) {
	w := newWorld(t)
	p, victim := w.person(), w.person()
	requestID, relayState := p.login(acme, "/")
	response := w.issue(acme, acme, requestID)
	if a := victim.post(acme, response, relayState); a.StatusCode != http.StatusForbidden || w.log.lastCode(t) != "unsolicited_response" {
		t.Errorf("without a pending request: status %d, log %s", a.StatusCode, w.log.last())
	}
	victim.login(acme, "/")
	if a := victim.post(acme, response, relayState); a.StatusCode != http.StatusForbidden || w.log.lastCode(t) != "in_response_to_mismatch" {
		t.Errorf("with another pending request: status %d, log %s", a.StatusCode, w.log.last())
	}
	if a := victim.post(acme, w.issue(acme, acme, ""), relayState); a.StatusCode != http.StatusForbidden {
		t.Errorf("unsolicited: status %d", a.StatusCode)
	}
	if _, in := victim.whoami(acme); in {
		t.Error("the victim is signed in as somebody else")
	}
	p.login(globex, "/")
	p.give(acme, p, globex)
	if a := p.post(globex, w.issue(globex, globex, requestID), relayState); a.StatusCode != http.StatusForbidden {
		t.Errorf("a pending request of another tenant counts: status %d", a.StatusCode)
	}
}

func TestSeveralTabs(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	first, _ := p.login(acme, "/first")
	second, relayState := p.login(acme, "/second")
	// The first tab is answered last, with the RelayState of the second.
	for _, tab := range []struct{ requestID, want string }{{second, "/second"}, {first, "/first"}} {
		a := p.post(acme, w.issue(acme, acme, tab.requestID), relayState)
		if got := a.Header.Get("Location"); got != tab.want {
			t.Errorf("status %d, went to %q, want %q", a.StatusCode, got, tab.want)
		}
	}
	if n := len(p.cookies(acme)); n != 1 {
		t.Errorf("%d cookies are left, want the session's alone", n)
	}
}

func TestPendingRequestsAreBounded(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	oldest, relayState := p.login(acme, "/")
	var newest string
	for range 20 {
		w.clock.advance(time.Second)
		newest, _ = p.login(acme, "/"+strings.Repeat("x", 100))
	}
	size := 0
	for _, cookie := range p.cookies(acme) {
		size += len(cookie.Name) + len(cookie.Value)
	}
	if n := len(p.cookies(acme)); n != 8 || size > 6<<10 {
		t.Errorf("%d pending requests of %d bytes, want 8 of at most 6 kB", n, size)
	}
	if a := p.post(acme, w.issue(acme, acme, oldest), relayState); a.StatusCode != http.StatusForbidden {
		t.Errorf("the oldest request is still pending: status %d", a.StatusCode)
	}
	if a := p.post(acme, w.issue(acme, acme, newest), relayState); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the newest request: status %d", a.StatusCode)
	}
}

func TestUserMayTakeFifteenMinutes(t *testing.T) {
	w := newWorld(t)
	for _, tab := range []struct {
		after  time.Duration
		status int
	}{{15*time.Minute - time.Second, http.StatusSeeOther}, {15 * time.Minute, http.StatusForbidden}} {
		p := w.person()
		requestID, relayState := p.login(acme, "/")
		w.clock.advance(tab.after)
		if a := p.post(acme, w.issue(acme, acme, requestID), relayState); a.StatusCode != tab.status {
			t.Errorf("after %s: status %d, want %d", tab.after, a.StatusCode, tab.status)
		}
	}
}

// replace gives an assertion other values of one attribute.
func replace(name string, values ...string) func(*testidp.ResponseOptions) {
	return func(o *testidp.ResponseOptions) {
		o.AlterAssertion = func(a *saml.Assertion) {
			attribute := saml.Attribute{Name: name}
			for _, v := range values {
				attribute.Values = append(attribute.Values, saml.AttributeValue{Value: v})
			}
			statement := &a.AttributeStatements[0]
			statement.Attributes = slices.DeleteFunc(statement.Attributes, func(a saml.Attribute) bool {
				return a.Name == name || name == testidp.ClaimGroupsLink && a.Name == testidp.ClaimGroup
			})
			statement.Attributes = append(statement.Attributes, attribute)
		}
	}
}

func TestUselessEmailIsDropped(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme, replace(testidp.ClaimEmail, "a@acme.example\nX-Auth-Request-User: root"))
	if log := w.log.last(); !strings.Contains(log, `"dropped":["email"]`) || !strings.Contains(log, `"userIDSource":"NameID"`) {
		t.Errorf("the log does not tell: %s", log)
	}
	e := decodeEcho(t, p.get(site(acme)+"/").body)
	if e.Header.Get("X-Auth-Request-User") != "alice@acme.example" || e.Header.Values("X-Auth-Request-Email") != nil {
		t.Errorf("the application got %v", e.Header)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		name, code string
		alter      func(*testidp.ResponseOptions)
	}{
		{"group overage", "group_overage", replace(testidp.ClaimGroupsLink, "https://graph.windows.net/x")},
		{"too many groups", "groups_too_many", replace(testidp.ClaimGroup, manyGroups(1001)...)},
		{"a header in a group", "attribute_invalid", replace(testidp.ClaimGroup, "admins\nX-Auth-Request-User: root")},
		{"a transient NameID", "nameid_transient", func(o *testidp.ResponseOptions) {
			o.NameIDFormat = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
		}},
		{"no signature", "signature_missing", func(o *testidp.ResponseOptions) { o.Signing = testidp.SignNothing }},
		{"an altered value", "signature_invalid", func(o *testidp.ResponseOptions) {
			o.AlterSigned = func(response *etree.Element) {
				response.FindElement(".//NameID").SetText("root@acme.example")
			}
		}},
		{"the IdP says no", "status_not_success", func(o *testidp.ResponseOptions) {
			o.Status = &saml.Status{StatusCode: saml.StatusCode{Value: saml.StatusResponder},
				StatusMessage: &saml.StatusMessage{Value: "AADSTS50105: <script>not assigned</script>"}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := w.person()
			requestID, relayState := p.login(acme, "/")
			a := p.post(acme, w.issue(acme, acme, requestID, test.alter), relayState)
			if got := w.log.lastCode(t); a.StatusCode != http.StatusForbidden || got != test.code {
				t.Errorf("status %d, code %q, want 403 and %q", a.StatusCode, got, test.code)
			}
			// The administrator reads what to do.
			var line struct{ Error, Tenant string }
			if err := json.Unmarshal([]byte(w.log.last()), &line); err != nil {
				t.Fatal(err)
			}
			if detail, ok := strings.CutPrefix(line.Error, test.code+": "); !ok || detail == "" || line.Tenant != acme {
				t.Errorf("the log lacks the detail: %s", w.log.last())
			} else if strings.Contains(a.body, detail) {
				t.Errorf("the page has the detail: %s", a.body)
			}
			if strings.Contains(a.body, test.code) || strings.Contains(a.body, "AADSTS") {
				t.Errorf("the page tells too much: %s", a.body)
			}
			_, afterID, found := strings.Cut(a.body, "Support ID: <code>")
			supportID, _, _ := strings.Cut(afterID, "<")
			if !found || !strings.Contains(w.log.last(), supportID) {
				t.Errorf("the page's support ID %q is not in the log", supportID)
			}
			if _, in := p.whoami(acme); in {
				t.Error("signed in")
			}
		})
	}
	if log := w.log.all(); !strings.Contains(log, "AADSTS50105") {
		t.Error("the IdP's own words are not in the log")
	}
}

func TestBadForms(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	requestID, _ := p.login(acme, "/")
	good := base64.StdEncoding.EncodeToString(w.issue(acme, acme, requestID))
	form := func(values url.Values) string { return values.Encode() }
	for _, test := range []struct {
		name, contentType, body string
		status                  int
	}{
		{"not a form", "text/plain", form(url.Values{"SAMLResponse": {good}}), http.StatusUnsupportedMediaType},
		{"multipart", "multipart/form-data; boundary=x", "", http.StatusUnsupportedMediaType},
		{"two responses", "application/x-www-form-urlencoded", form(url.Values{"SAMLResponse": {good, good}}), http.StatusBadRequest},
		{"none", "application/x-www-form-urlencoded", "RelayState=x", http.StatusBadRequest},
		{"not base64", "application/x-www-form-urlencoded", "SAMLResponse=%3Csaml%3E", http.StatusBadRequest},
		{"too large", "application/x-www-form-urlencoded", "SAMLResponse=" + strings.Repeat("A", 512<<10), http.StatusRequestEntityTooLarge},
	} {
		r := p.request(http.MethodPost, acsURL(acme), strings.NewReader(test.body))
		r.Header.Set("Content-Type", test.contentType)
		if a := p.do(r); a.StatusCode != test.status {
			t.Errorf("%s: status %d, want %d", test.name, a.StatusCode, test.status)
		}
	}
	// None of it used up the request.
	if a := p.post(acme, w.issue(acme, acme, requestID), ""); a.StatusCode != http.StatusSeeOther {
		t.Errorf("afterwards: status %d", a.StatusCode)
	}
}

// Row T7.
func TestReturnTo(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	for _, test := range []struct{ returnTo, want string }{
		{"/a/b?c=d&e=%2Ff#g", "/a/b?c=d&e=%2Ff#g"},
		{"//evil.example/", "/"},
		{"https://evil.example/", "/"},
		{"/saml/logout", "/"},
		{"/?" + strings.Repeat("&", 2040), "/?" + strings.Repeat("&", 2040)},
	} {
		requestID, relayState := p.login(acme, test.returnTo)
		a := p.post(acme, w.issue(acme, acme, requestID), relayState)
		if got := a.Header.Get("Location"); got != test.want {
			t.Errorf("return_to %q led to %q, want %q", test.returnTo, got, test.want)
		}
	}
	// A RelayState that is a URL changes nothing.
	requestID, _ := p.login(acme, "/here")
	if a := p.post(acme, w.issue(acme, acme, requestID), "https://evil.example/"); a.Header.Get("Location") != "/here" {
		t.Errorf("RelayState led to %q", a.Header.Get("Location"))
	}
	// Neither does the path of the first request.
	a := p.client
	a.Jar = w.person().client.Jar
	if got := p.get(site(acme) + "//evil.example/path").Header.Get("Location"); !strings.HasPrefix(got, "/saml/login?") {
		t.Errorf("//evil.example/path led to %q", got)
	}
}

func TestSignedRequestAndEncryptedAssertion(t *testing.T) {
	w := newWorld(t)
	key, certificate := newKeyPair(t)
	w.writeFile(acme, tenantconfig.FileKey, key)
	w.writeFile(acme, tenantconfig.FileCertificate, certificate)
	c := w.config(acme)
	c.ServiceProvider.SignAuthnRequests = true
	w.write(c)
	p := w.person()
	w.eventually("requests are signed", func() bool {
		return strings.Contains(p.get(site(acme)+"/saml/login").Header.Get("Location"), "&Signature=")
	})
	p.signIn(acme, func(o *testidp.ResponseOptions) { o.EncryptionCertificate = parseCertificate(t, certificate) })
	if _, in := p.whoami(acme); !in {
		t.Error("not signed in")
	}
}

// While the SP key is being replaced an IdP may encrypt for either; afterwards
// only for the next one.
func TestEncryptedAssertionsWhileTheKeyIsReplaced(t *testing.T) {
	w := newWorld(t)
	key, certificate := newKeyPair(t)
	nextKey, nextCertificate := newKeyPair(t)
	attempt := func(certificate []byte) int {
		p := w.person()
		requestID, relayState := p.login(acme, "/")
		return p.post(acme, w.issue(acme, acme, requestID, func(o *testidp.ResponseOptions) {
			o.EncryptionCertificate = parseCertificate(t, certificate)
		}), relayState).StatusCode
	}
	// publish writes files and, last, other metadata, by which it is seen.
	publish := func(metadata string, files map[string][]byte) {
		for name, content := range files {
			w.writeFile(acme, name, content)
		}
		w.writeFile(acme, tenantconfig.FileSPMetadata, []byte(metadata))
		w.eventually(metadata+" is served", func() bool { return w.person().get(site(acme)+"/saml/metadata").body == metadata })
	}
	check := func(metadata string, old, next int) {
		t.Helper()
		if got := attempt(certificate); got != old {
			t.Errorf("%s: for the old key: status %d, want %d", metadata, got, old)
		}
		if got := attempt(nextCertificate); got != next {
			t.Errorf("%s: for the next key: status %d, want %d", metadata, got, next)
		}
	}

	publish("<one/>", map[string][]byte{tenantconfig.FileKey: key, tenantconfig.FileCertificate: certificate})
	check("one", http.StatusSeeOther, http.StatusForbidden)
	publish("<both/>", map[string][]byte{tenantconfig.FileNextKey: nextKey, tenantconfig.FileNextCertificate: nextCertificate})
	check("both", http.StatusSeeOther, http.StatusSeeOther)
	publish("<next/>", map[string][]byte{
		tenantconfig.FileKey: nextKey, tenantconfig.FileCertificate: nextCertificate,
		tenantconfig.FileNextKey: nil, tenantconfig.FileNextCertificate: nil,
	})
	check("next", http.StatusForbidden, http.StatusSeeOther)
}

// What a browser makes of the largest Response that is taken, and of a larger
// one.
func TestLargestResponse(t *testing.T) {
	w := newWorld(t)
	for size, code := range map[int]string{sp.MaxResponseBytes: "", sp.MaxResponseBytes + 1: "too_large"} {
		p := w.person()
		requestID, relayState := p.login(acme, "/")
		response := w.issue(acme, acme, requestID)
		response = append(response, bytes.Repeat([]byte("\n"), size-len(response))...)
		a := p.post(acme, response, relayState)
		if (a.StatusCode == http.StatusSeeOther) != (code == "") || code != "" && w.log.lastCode(t) != code {
			t.Errorf("%d bytes: status %d, log %s", size, a.StatusCode, w.log.last())
		}
	}
}

func TestManyGroups(t *testing.T) {
	w := newWorld(t)
	for _, n := range []int{20, 150, 1000} {
		groups := manyGroups(n)
		p := w.person()
		p.signIn(acme, func(o *testidp.ResponseOptions) {
			o.AlterAssertion = func(a *saml.Assertion) {
				attribute := saml.Attribute{Name: testidp.ClaimGroup}
				for _, group := range groups {
					attribute.Values = append(attribute.Values, saml.AttributeValue{Value: group})
				}
				a.AttributeStatements[0].Attributes = append(slices.DeleteFunc(a.AttributeStatements[0].Attributes,
					func(a saml.Attribute) bool { return a.Name == testidp.ClaimGroup }), attribute)
			}
		})
		if got, want := w.storedGroups(), n > 100; (got > 0) != want || got > n {
			t.Errorf("%d groups: %d are kept with the session", n, got)
		}
		for _, cookie := range p.cookies(acme) {
			if size := len(cookie.String()); cookie.Name == session.CookieName && size > 4000 {
				t.Errorf("%d groups: the cookie has %d bytes", n, size)
			}
		}
		for range 2 {
			if who, _ := p.whoami(acme); !slices.Equal(who.User.Groups, groups) {
				t.Errorf("%d groups: got %d", n, len(who.User.Groups))
			}
			e := decodeEcho(t, p.get(site(acme)+"/").body)
			if got := e.Header.Get("X-Auth-Request-Groups"); got != strings.Join(groups, ",") {
				t.Errorf("%d groups: the application got %d bytes", n, len(got))
			}
			w.clock.advance(30 * time.Minute) // the cookie is renewed
			w.restart()                       // and the cache is lost
		}
	}
}
