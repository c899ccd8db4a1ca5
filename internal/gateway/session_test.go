package gateway_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crewjam/saml"

	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/testidp"
)

// Row T5.
func TestSessionCookie(t *testing.T) {
	w := newWorld(t)
	a := w.person().signIn(acme)
	for _, cookie := range a.Cookies() {
		if cookie.Name != session.CookieName {
			continue
		}
		if !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" {
			t.Errorf("cookie is %s", cookie)
		}
		if again := w.person().signIn(acme); again.Header.Get("Set-Cookie") == a.Header.Get("Set-Cookie") {
			t.Error("two sign-ins, one cookie")
		}
		return
	}
	t.Errorf("no session cookie in %v", a.Header)
}

func TestSessionCookieOfAnotherTenantIsWorthless(t *testing.T) {
	w := newWorld(t)
	p, thief := w.person(), w.person()
	p.signIn(acme)
	p.give(acme, thief, globex)
	if _, in := thief.whoami(globex); in {
		t.Error("acme's cookie counts at globex")
	}
	p.give(acme, thief, acme)
	if _, in := thief.whoami(acme); !in {
		t.Error("a copy of the cookie does not count at acme: the test proves nothing")
	}
}

func TestSessionEndsWhenTheTenantTrustsAnotherIDP(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	c := w.config(acme)
	c.IdentityProvider.EntityID = "https://sts.windows.net/other/"
	w.write(c)
	w.eventually("the session is over", func() bool { _, in := p.whoami(acme); return !in })
}

func TestTwoSessionCookiesAreNone(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	value := p.cookies(acme)[0].String()
	for _, test := range []struct {
		cookies string
		want    int
	}{
		{value, http.StatusOK},
		{value + "; " + session.CookieName + "=tossed", http.StatusUnauthorized},
		{session.CookieName + "=tossed; " + value, http.StatusUnauthorized},
		{value[:len(value)-1], http.StatusUnauthorized},
		{session.CookieName + "=", http.StatusUnauthorized},
	} {
		r := p.request(http.MethodGet, site(acme)+"/saml/session", nil)
		r.Header.Set("Cookie", test.cookies)
		other := w.person()
		if a := other.do(r); a.StatusCode != test.want {
			t.Errorf("%d bytes of cookies: status %d, want %d", len(test.cookies), a.StatusCode, test.want)
		}
	}
}

func TestLogoutEndsCopiedCookies(t *testing.T) {
	w := newWorld(t)
	p, thief, bystander := w.person(), w.person(), w.person()
	p.signIn(acme)
	bystander.signIn(acme)
	p.give(acme, thief, acme)

	if a := p.do(p.request(http.MethodPost, site(acme)+"/saml/logout", nil)); a.StatusCode != http.StatusOK || len(p.cookies(acme)) != 0 {
		t.Errorf("logout: status %d, cookies %v", a.StatusCode, p.cookies(acme))
	}
	check := func(when string) {
		t.Helper()
		if _, in := thief.whoami(acme); in {
			t.Errorf("the copy is alive %s", when)
		}
		if _, in := bystander.whoami(acme); !in {
			t.Errorf("another session of the user is dead %s", when)
		}
	}
	check("after logout")
	w.restart()
	check("after a restart")
}

func TestLogoutOnlyWhenMeant(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	logout := func(method string, header ...string) {
		t.Helper()
		r := p.request(method, site(acme)+"/saml/logout", nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		if a := p.do(r); a.StatusCode != http.StatusOK {
			t.Errorf("status %d", a.StatusCode)
		}
	}
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"},
		{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"},
		{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"},
		{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"},
		{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Purpose", "prefetch"},
		{},
	} {
		logout(http.MethodGet, header...)
	}
	logout(http.MethodPost, "Sec-Fetch-Site", "cross-site")
	logout(http.MethodPost, "Sec-Fetch-Site", "same-site")
	logout(http.MethodPost, "Origin", site(globex))
	if _, in := p.whoami(acme); !in {
		t.Fatal("another site signed the user out")
	}
	// A request without the cookie, as browsers send it for another site, must
	// not delete the cookie.
	r := p.request(http.MethodPost, site(acme)+"/saml/logout", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if a := w.person().do(r); a.Header.Get("Set-Cookie") != "" {
		t.Errorf("another site deletes the cookie: %s", a.Header.Get("Set-Cookie"))
	}
	logout(http.MethodGet, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
	if _, in := p.whoami(acme); in {
		t.Error("following the application's own link did not sign out")
	}
}

func TestSessionLifetime(t *testing.T) {
	w := newWorld(t)
	p := w.person()

	p.signIn(acme)
	w.clock.advance(time.Hour)
	if _, in := p.whoami(acme); in {
		t.Error("the session survived its idle timeout")
	}

	p.signIn(acme)
	renewals := 0
	for range 16 { // in use for eight hours, one minute less
		w.clock.advance(30*time.Minute - 4*time.Second)
		a := p.get(site(acme) + "/")
		if a.StatusCode != http.StatusOK {
			t.Fatalf("status %d at %s", a.StatusCode, w.clock.Now())
		}
		if strings.Contains(strings.Join(a.Header.Values("Set-Cookie"), "\n"), session.CookieName) {
			renewals++
			if got := a.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("a response with a session cookie may be cached: %q", got)
			}
		}
	}
	if renewals != 16 {
		t.Errorf("%d renewals in 16 half hours", renewals)
	}
	if a := p.get(site(acme) + "/"); strings.Contains(strings.Join(a.Header.Values("Set-Cookie"), "\n"), session.CookieName) {
		t.Error("the cookie is written at each request")
	}
	w.clock.advance(2 * time.Minute)
	if _, in := p.whoami(acme); in {
		t.Error("the session survived its longest duration")
	}
}

func TestSessionNotOnOrAfterOfTheIDPWins(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	end := w.clock.Now().Add(20 * time.Minute)
	p.signIn(acme, func(o *testidp.ResponseOptions) {
		o.AlterAssertion = func(a *saml.Assertion) { a.AuthnStatements[0].SessionNotOnOrAfter = &end }
	})
	end = end.Add(sp.DefaultClockSkew)
	if who, _ := p.whoami(acme); !who.ExpiresAt.Equal(end) {
		t.Errorf("expires at %v, want %v", who.ExpiresAt, end)
	}
	w.clock.advance(end.Sub(w.clock.Now()))
	if _, in := p.whoami(acme); in {
		t.Error("the session outlives the IdP's")
	}
}

// A sign-in that succeeds into a session that is over would send the browser
// round and round.
func TestSessionEndsAtTheIDPBeforeItBegins(t *testing.T) {
	for _, test := range []struct {
		ago  time.Duration
		code string
	}{
		{time.Second, ""},
		{sp.DefaultClockSkew - time.Second, ""},
		{sp.DefaultClockSkew, "idp_session_expired"},
		{time.Hour, "idp_session_expired"},
	} {
		w := newWorld(t)
		p := w.person()
		end := w.clock.Now().Add(-test.ago)
		requestID, relayState := p.login(acme, "/")
		a := p.post(acme, w.issue(acme, acme, requestID, func(o *testidp.ResponseOptions) {
			o.AlterAssertion = func(a *saml.Assertion) { a.AuthnStatements[0].SessionNotOnOrAfter = &end }
		}), relayState)
		_, in := p.whoami(acme)
		if refused := test.code != ""; in == refused || (a.StatusCode == http.StatusForbidden) != refused || refused && w.log.lastCode(t) != test.code {
			t.Errorf("%s ago: status %d, signed in %v, log %s", test.ago, a.StatusCode, in, w.log.last())
		}
	}
}

func TestStricterPolicyAppliesToRunningSessions(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	w.clock.advance(10 * time.Minute)
	c := w.config(acme)
	c.Session.MaxDuration = 300
	w.write(c)
	w.eventually("the session is over", func() bool { _, in := p.whoami(acme); return !in })
}

func TestRestartKeepsSessionsAndPendingRequests(t *testing.T) {
	w := newWorld(t)
	p, late := w.person(), w.person()
	p.signIn(acme)
	requestID, relayState := late.login(acme, "/late")
	w.restart()
	if _, in := p.whoami(acme); !in {
		t.Error("the session did not survive")
	}
	if a := late.post(acme, w.issue(acme, acme, requestID), relayState); a.Header.Get("Location") != "/late" {
		t.Errorf("the pending request did not survive: status %d", a.StatusCode)
	}
	info, err := os.Stat(filepath.Join(w.data, "cookie.key"))
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != 32 {
		t.Errorf("cookie.key: %v, %v", info, err)
	}
}

func TestWithoutASession(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	for _, test := range []struct {
		name, method string
		header       []string
		redirect     bool
	}{
		{"a browser", http.MethodGet, []string{"Accept", "text/html,*/*;q=0.8", "Sec-Fetch-Mode", "navigate"}, true},
		{"an old browser", http.MethodGet, []string{"Accept", "Text/HTML"}, true},
		{"HEAD", http.MethodHead, []string{"Accept", "text/html"}, true},
		{"fetch", http.MethodGet, []string{"Accept", "text/html", "Sec-Fetch-Mode", "cors"}, false},
		{"curl", http.MethodGet, []string{"Accept", "*/*"}, false},
		{"nothing said", http.MethodGet, nil, false},
		{"a form", http.MethodPost, []string{"Accept", "text/html"}, false},
		{"OPTIONS", http.MethodOptions, []string{"Accept", "text/html"}, false},
	} {
		r := p.request(test.method, site(acme)+"/a%20b/c?d=e&f=%26", nil)
		for i := 0; i < len(test.header); i += 2 {
			r.Header.Set(test.header[i], test.header[i+1])
		}
		a := p.do(r)
		location, _ := a.Location()
		switch {
		case a.Header.Get("Set-Cookie") != "" || a.Header.Get("Cache-Control") != "no-store":
			t.Errorf("%s: headers %v", test.name, a.Header)
		case test.redirect:
			if want := (url.Values{"return_to": {"/a%20b/c?d=e&f=%26"}}).Encode(); a.StatusCode != http.StatusFound || location.Path != "/saml/login" || location.RawQuery != want {
				t.Errorf("%s: status %d, location %v, want ?%s", test.name, a.StatusCode, location, want)
			}
		case a.StatusCode != http.StatusUnauthorized || location != nil || a.Header.Get("WWW-Authenticate") == "":
			t.Errorf("%s: status %d, location %v", test.name, a.StatusCode, location)
		}
	}
}

// A tenant's access is disabled while users are signed in, and enabled again:
// nobody gets in meanwhile, and no session of before comes back.
func TestT11_DisabledAccessEndsSessionsForGood(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	if _, ok := p.whoami(acme); !ok {
		t.Fatal("not signed in")
	}
	requestID, relayState := p.login(acme, "/")
	c := w.config(acme)
	c.Disabled = true
	c.Session.NotBefore = w.clock.Now().Unix() + 1
	w.write(c)
	w.eventually("access is disabled", func() bool {
		return p.get(site(acme)+"/").StatusCode == http.StatusForbidden
	})
	for _, path := range []string{"/", "/deep/link?x=1", "/saml/login"} {
		if got := p.get(site(acme) + path); got.StatusCode != http.StatusForbidden {
			t.Errorf("%s: status %d, want 403", path, got.StatusCode)
		}
	}
	if _, ok := p.whoami(acme); ok {
		t.Error("the session goes on")
	}
	if got := p.post(acme, w.issue(acme, acme, requestID), relayState); got.StatusCode != http.StatusForbidden {
		t.Errorf("a good response: status %d, want 403", got.StatusCode)
	}
	if got := p.get(site(acme) + "/saml/metadata"); got.StatusCode != http.StatusOK {
		t.Errorf("SP metadata: status %d, want 200", got.StatusCode)
	}

	c.Disabled = false
	w.write(c)
	w.eventually("access is enabled", func() bool {
		return strings.HasPrefix(p.get(site(acme)+"/").Header.Get("Location"), "/saml/login")
	})
	if _, ok := p.whoami(acme); ok {
		t.Error("the session of before is back")
	}
	w.clock.advance(2 * time.Second)
	p.signIn(acme)
	if _, ok := p.whoami(acme); !ok {
		t.Error("a new sign-in does not count")
	}
}
