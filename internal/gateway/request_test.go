package gateway_test

import (
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/crewjam/saml"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testbrowser"
	"cequence.cloud/saml-operator/internal/testidp"
)

const (
	acPassword = "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"
	acMFA      = "https://refeds.org/profile/mfa"
)

func asking(comparison string, classes ...string) func(*tenantconfig.Config) {
	return func(c *tenantconfig.Config) {
		c.ServiceProvider.RequestedAuthnContext = &tenantconfig.RequestedAuthnContext{ClassRefs: classes, Comparison: comparison}
	}
}

func forceAuthn(c *tenantconfig.Config) { c.ServiceProvider.ForceAuthn = true }

// What the tenant and the link ask for, the IdP reads; nothing else.
func TestRequestsSayWhatIsAskedFor(t *testing.T) {
	type wishes struct {
		force, passive bool
		comparison     string
		classes        []string
		hint           []string
	}
	for _, test := range []struct {
		name   string
		tenant func(*tenantconfig.Config)
		query  string
		want   wishes
	}{
		{name: "nothing"},
		{name: "the tenant forces", tenant: forceAuthn, want: wishes{force: true}},
		{name: "a link cannot take that back", tenant: forceAuthn, query: "forceAuthn=false", want: wishes{force: true}},
		{name: "the link forces", query: "forceAuthn=true", want: wishes{force: true}},
		{name: "the link as Shibboleth has it", query: "isPassive=1&forceAuthn=1", want: wishes{force: true, passive: true}},
		{name: "no wishes", query: "isPassive=no&forceAuthn=&request="},
		{name: "classes", tenant: asking("exact", acMFA, acPassword), want: wishes{comparison: "exact", classes: []string{acMFA, acPassword}}},
		{name: "a comparison", tenant: asking("minimum", acPassword), want: wishes{comparison: "minimum", classes: []string{acPassword}}},
		{name: "a hint", query: "login_hint=ada%2Bx%40acme.example", want: wishes{hint: []string{"ada+x@acme.example"}}},
		{name: "a hint of another script", query: "login_hint=J%C3%B6rg", want: wishes{hint: []string{"Jörg"}}},
		{name: "a hint that would be more", query: "login_hint=a%26SAMLRequest%3Dx%23", want: wishes{hint: []string{"a&SAMLRequest=x#"}}},
		{name: "a hint with a line break", query: "login_hint=a%0d%0ab"},
		{name: "a hint that cannot be seen", query: "login_hint=a%E2%80%AEb"},
		{name: "a hint that is no text", query: "login_hint=%ff"},
		{name: "a hint too long", query: "login_hint=" + strings.Repeat("a", 321)},
	} {
		t.Run(test.name, func(t *testing.T) {
			change := test.tenant
			if change == nil {
				change = func(*tenantconfig.Config) {}
			}
			w := newWorld(t, configured(change))
			target, err := w.person().get(site(acme) + "/saml/login?" + test.query).Location()
			if err != nil {
				t.Fatal(err)
			}
			r := readRequest(t, target)
			got := wishes{r.ForceAuthn, r.IsPassive, r.Context.Comparison, r.Context.ClassRefs, target.Query()["login_hint"]}
			if !reflect.DeepEqual(got, test.want) || len(target.Query()["SAMLRequest"]) != 1 {
				t.Errorf("the IdP reads %+v, want %+v: %s", got, test.want, target)
			}
		})
	}
}

// answered posts an answer to a login with that query, and returns what came of
// it.
func (p *person) answered(query string, alter func(*testidp.ResponseOptions)) (status int, code string) {
	p.t.Helper()
	target, err := p.get(site(acme) + "/saml/login?" + query).Location()
	if err != nil {
		p.t.Fatal(err)
	}
	a := p.post(acme, p.issue(acme, acme, readRequest(p.t, target).ID, alter), "")
	return a.StatusCode, p.log.lastCode(p.t)
}

func authenticated(age time.Duration, class string) func(*testidp.ResponseOptions) {
	return func(o *testidp.ResponseOptions) {
		o.AlterAssertion = func(a *saml.Assertion) {
			a.AuthnStatements[0].AuthnInstant = a.AuthnStatements[0].AuthnInstant.Add(-age)
			a.AuthnStatements[0].AuthnContext.AuthnContextClassRef.Value = class
		}
	}
}

// What was asked for is held to: whoever has an unsigned request may take the
// wish out of it on its way, and an IdP may not know it.
func TestAnswersHaveToBeWhatWasAskedFor(t *testing.T) {
	const skew = 180 * time.Second
	fresh, old := authenticated(skew, acPassword), authenticated(skew+time.Second, acPassword)
	mfa := authenticated(0, acMFA)
	for _, test := range []struct {
		name   string
		tenant func(*tenantconfig.Config)
		query  string
		alter  func(*testidp.ResponseOptions)
		code   string
	}{
		{"an old authentication", nil, "", old, ""},
		{"the tenant wants a new one", forceAuthn, "", old, "authentication_too_old"},
		{"and gets it", forceAuthn, "", fresh, ""},
		{"the link wants a new one", nil, "forceAuthn=true", old, "authentication_too_old"},
		{"and gets it as well", nil, "forceAuthn=true", fresh, ""},
		{"one of the classes", asking("exact", acMFA, acPassword), "", mfa, ""},
		{"another class", asking("exact", acMFA), "", fresh, "authn_context_mismatch"},
		{"another class that the IdP finds as good", asking("minimum", acPassword), "", mfa, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			change := test.tenant
			if change == nil {
				change = func(*tenantconfig.Config) {}
			}
			w := newWorld(t, configured(change))
			status, code := w.person().answered(test.query, test.alter)
			want := http.StatusForbidden
			if test.code == "" {
				want = http.StatusSeeOther
			}
			if status != want || code != test.code {
				t.Errorf("status %d, code %q, want %d and %q: %s", status, code, want, test.code, w.log.last())
			}
		})
	}
}

func TestPlainAssertionWhereEncryptionIsWanted(t *testing.T) {
	key, certificate := newKeyPair(t)
	w := newWorld(t, configured(func(c *tenantconfig.Config) { c.ServiceProvider.WantAssertionsEncrypted = true }), func(w *world, _ *gateway.Options) {
		w.writeFile(acme, tenantconfig.FileKey, key)
		w.writeFile(acme, tenantconfig.FileCertificate, certificate)
	})
	p := w.person()
	for _, signing := range []testidp.Signing{testidp.SignAssertion, testidp.SignResponse, testidp.SignBoth} {
		if status, code := p.answered("", func(o *testidp.ResponseOptions) { o.Signing = signing }); status != http.StatusForbidden || code != "assertion_not_encrypted" {
			t.Errorf("plain, signed as %d: status %d, code %q", signing, status, code)
		}
	}
	p.signIn(acme, func(o *testidp.ResponseOptions) { o.EncryptionCertificate = parseCertificate(t, certificate) })
}

// A silent sign-in that needs the user's help ends at a page that offers one.
func TestPassiveSignIn(t *testing.T) {
	w := newWorld(t)
	b, _ := w.browser()
	page, err := b.Open(t.Context(), site(acme)+"/saml/login?isPassive=true&return_to=/reports")
	if err != nil {
		t.Fatal(err)
	}
	body := string(page.Body)
	if page.Status != http.StatusForbidden || !strings.Contains(body, "Please sign in") || !strings.Contains(body, `href="/saml/login"`) {
		t.Errorf("status %d: %s", page.Status, body)
	}
	if !strings.Contains(w.log.last(), "AADSTS50058") || w.log.lastCode(t) != "status_not_success" {
		t.Errorf("the log does not say why: %s", w.log.last())
	}
}

// Entra ID fills its form with the hint, whatever the binding.
func TestLoginHintReachesTheIDP(t *testing.T) {
	for _, binding := range []string{tenantconfig.BindingRedirect, tenantconfig.BindingPOST} {
		w := newWorld(t, configured(func(c *tenantconfig.Config) { c.IdentityProvider.SSO[0].Binding = binding }))
		b, _ := w.browser()
		page, err := b.Open(t.Context(), site(acme)+"/saml/login?login_hint=alice%40acme.example")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page.Body), `value="alice@acme.example"`) {
			t.Errorf("%s: the form is empty: %s", binding, page.Body)
		}
	}
}

// A13: the page that posts a request runs its own script alone, and works
// without any.
func TestPageOfThePostBinding(t *testing.T) {
	const location = `https://idp-acme.s.localhost/sso?a="><script>alert(1)</script>&b=c`
	w := newWorld(t, configured(func(c *tenantconfig.Config) {
		c.IdentityProvider.SSO[0] = tenantconfig.Endpoint{Binding: tenantconfig.BindingPOST, Location: location}
	}))
	p := w.person()
	a := p.get(site(acme) + "/saml/login")
	policy := a.Header.Get("Content-Security-Policy")
	nonce := regexp.MustCompile(`script-src 'nonce-([A-Z2-7]{26})'`).FindStringSubmatch(policy)
	if a.StatusCode != http.StatusOK || nonce == nil {
		t.Fatalf("status %d, policy %q", a.StatusCode, policy)
	}
	for _, directive := range []string{"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action https:"} {
		if !strings.Contains(policy, directive) {
			t.Errorf("policy %q lacks %s", policy, directive)
		}
	}
	if scripts := strings.Count(a.body, "<script"); scripts != 1 || !strings.Contains(a.body, `<script nonce="`+nonce[1]+`">document.forms[0].submit();</script>`) {
		t.Errorf("%d scripts: %s", scripts, a.body)
	}
	if regexp.MustCompile(`(?i)\son[a-z]+\s*=|javascript:`).MatchString(a.body) || !strings.Contains(a.body, `<button type="submit">`) {
		t.Errorf("handlers, or no button: %s", a.body)
	}
	if a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", a.Header.Get("Cache-Control"))
	}
	if again := p.get(site(acme) + "/saml/login"); strings.Contains(again.body, nonce[1]) {
		t.Error("the nonce is not new")
	}
}

// The answer is a POST from another site, minutes later, perhaps to a gateway
// that was rolled meanwhile.
func TestPendingRequestSurvives(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	begun := p.get(site(acme) + "/saml/login?" + url.Values{"return_to": {"/first?a=b&c=%2F#d"}}.Encode())
	cookies := begun.Cookies()
	if len(cookies) != 1 {
		t.Fatalf("cookies %v", cookies)
	}
	if c := cookies[0]; !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteNoneMode ||
		c.Path != "/" || c.Domain != "" || c.MaxAge != 15*60 {
		t.Errorf("the cookie is %s", c)
	}
	target, err := begun.Location()
	if err != nil {
		t.Fatal(err)
	}
	first := readRequest(t, target).ID
	w.clock.advance(5 * time.Minute)
	second, _ := p.login(acme, "/second")
	w.restart()
	w.clock.advance(10*time.Minute - time.Second)
	for _, tab := range []struct{ requestID, want string }{{second, "/second"}, {first, "/first?a=b&c=%2F#d"}} {
		r := p.postRequest(acme, w.issue(acme, acme, tab.requestID), "")
		for i := 0; i < len(fromTheIDP); i += 2 {
			r.Header.Set(fromTheIDP[i], fromTheIDP[i+1])
		}
		if a := p.do(r); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != tab.want {
			t.Errorf("%s: status %d, location %q, log %s", tab.want, a.StatusCode, a.Header.Get("Location"), w.log.last())
		}
	}
}

// By a browser that withholds cookies from other sites as browsers do, with the
// gateway rolled while the user looks for a password.
func TestSignInWithABrowserWhileTheGatewayIsRolled(t *testing.T) {
	w := newWorld(t)
	b, dial := w.browser()
	if _, err := b.Open(t.Context(), site(acme)+"/reports?a=b"); err != nil {
		t.Fatal(err)
	}
	b.CloseIdleConnections()
	w.restart()
	for name := range dial {
		dial[name] = w.server.Listener.Addr().String()
	}
	page, err := b.FillAndSubmit(t.Context(), map[string]string{"username": alice, "password": password})
	if err != nil {
		t.Fatal(err)
	}
	if e := decodeEcho(t, string(page.Body)); e.URI != "/reports?a=b" {
		t.Errorf("the application got %s", e.URI)
	}
}

// browser is one that follows redirects and forms as browsers do, and the
// addresses of the hosts that it knows.
func (w *world) browser() (*testbrowser.Browser, map[string]string) {
	w.t.Helper()
	address := w.server.Listener.Addr().String()
	dial := map[string]string{host(acme): address, "idp-" + host(acme): address}
	b := testbrowser.New(testbrowser.Options{RootCAs: w.roots, Dial: dial})
	w.t.Cleanup(b.CloseIdleConnections)
	return b, dial
}
