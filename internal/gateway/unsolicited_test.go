package gateway_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/crewjam/saml"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

// configured changes acme's configuration before the gateway starts.
func configured(change func(*tenantconfig.Config)) func(*world, *gateway.Options) {
	return func(w *world, _ *gateway.Options) {
		c := w.config(acme)
		change(&c)
		w.write(c)
	}
}

func idpInitiated(mode tenantconfig.IDPInitiated) func(*world, *gateway.Options) {
	return configured(func(c *tenantconfig.Config) { c.ServiceProvider.IDPInitiated = mode })
}

// postUnsolicited delivers to acme what nobody asked for.
func (p *person) postUnsolicited(response []byte, relayState string, header ...string) answer {
	p.t.Helper()
	r := p.postRequest(acme, response, relayState)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return p.do(r)
}

var fromTheIDP = []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}

func TestB8_UnsolicitedIsRefusedUnlessTheTenantAllowsIt(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	for _, pending := range []bool{false, true} {
		if pending {
			p.login(acme, "/")
		}
		a := p.post(acme, w.issue(acme, acme, ""), "/reports")
		if a.StatusCode != http.StatusForbidden || w.log.lastCode(t) != "unsolicited_response" {
			t.Errorf("with a pending request: %t: status %d, log %s", pending, a.StatusCode, w.log.last())
		}
		if !strings.Contains(a.body, `href="/saml/login"`) {
			t.Errorf("the page does not lead to a sign-in: %s", a.body)
		}
		if _, in := p.whoami(acme); in {
			t.Error("signed in")
		}
	}
}

func TestB8_UnsolicitedIsAcceptedOnce(t *testing.T) {
	w := newWorld(t, idpInitiated(tenantconfig.IDPInitiatedAccept))
	response := w.issue(acme, acme, "")
	p, thief := w.person(), w.person()
	a := p.postUnsolicited(response, "/reports?a=b", fromTheIDP...)
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/reports?a=b" {
		t.Fatalf("status %d, location %q, log %s", a.StatusCode, a.Header.Get("Location"), w.log.last())
	}
	if who, in := p.whoami(acme); !in || who.User.Email != "alice@acme.example" {
		t.Errorf("signed in: %t, as %+v", in, who)
	}
	// Another assertion answers no request either, and is no replay of this one.
	if a := w.person().postUnsolicited(w.issue(acme, acme, ""), ""); a.StatusCode != http.StatusSeeOther {
		t.Errorf("another one: status %d, log %s", a.StatusCode, w.log.last())
	}
	for range 2 {
		if a := thief.postUnsolicited(response, ""); a.StatusCode != http.StatusForbidden || w.log.lastCode(t) != "assertion_replayed" {
			t.Errorf("a replay: status %d, log %s", a.StatusCode, w.log.last())
		}
		w.restart()
	}
	w.clock.advance(10 * time.Minute)
	if a := thief.postUnsolicited(response, ""); a.StatusCode != http.StatusForbidden || w.log.lastCode(t) != "issue_instant_invalid" {
		t.Errorf("a late replay: status %d, log %s", a.StatusCode, w.log.last())
	}
	if _, in := thief.whoami(acme); in {
		t.Error("a replay signed in")
	}
}

// Where responses to no request are used, those to a request are still for the
// browser that made it.
func TestB8_AnswersOfOthersAreNotUnsolicited(t *testing.T) {
	for _, mode := range []tenantconfig.IDPInitiated{tenantconfig.IDPInitiatedAccept, tenantconfig.IDPInitiatedRestart} {
		w := newWorld(t, idpInitiated(mode))
		p, victim := w.person(), w.person()
		requestID, _ := p.login(acme, "/")
		responses := map[string][]byte{
			"an answer to another browser": w.issue(acme, acme, requestID),
			"without InResponseTo in the envelope": w.issue(acme, acme, requestID, func(o *testidp.ResponseOptions) {
				o.AlterResponse = func(r *saml.Response) { r.InResponseTo = "" }
			}),
			"of another IdP":     w.issue(globex, acme, ""),
			"for another tenant": w.issue(acme, globex, ""),
			"signed by nobody":   w.issue(acme, acme, "", func(o *testidp.ResponseOptions) { o.Signing = testidp.SignNothing }),
			"no SAML":            []byte("<html/>"),
			"about a refused login": w.issue(acme, acme, "", func(o *testidp.ResponseOptions) {
				o.Status = &saml.Status{StatusCode: saml.StatusCode{Value: saml.StatusResponder}}
			}),
		}
		for _, pending := range []bool{false, true} {
			if pending {
				victim.login(acme, "/")
			}
			for name, response := range responses {
				a := victim.postUnsolicited(response, "")
				if _, in := victim.whoami(acme); in || a.StatusCode != http.StatusForbidden {
					t.Errorf("%s, %s: status %d, signed in %t", mode, name, a.StatusCode, in)
				}
			}
		}
		// The honest answer is not used up.
		if a := p.post(acme, responses["an answer to another browser"], ""); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/" {
			t.Errorf("%s, the honest answer: status %d, log %s", mode, a.StatusCode, w.log.last())
		}
	}
}

// Row T7: of what the IdP asks for, only this host is followed.
func TestT7_RelayStateOfUnsolicitedResponses(t *testing.T) {
	for _, mode := range []tenantconfig.IDPInitiated{tenantconfig.IDPInitiatedAccept, tenantconfig.IDPInitiatedRestart} {
		w := newWorld(t, idpInitiated(mode))
		for relayState, want := range map[string]string{
			"":                                         "/",
			"/reports?a=%2Fb":                          "/reports?a=%2Fb",
			site(acme):                                 "/",
			site(acme) + "/reports#a":                  "/reports#a",
			site(acme) + "//evil.example/":             "/",
			site(acme) + "@evil.example/":              "/",
			site(acme) + ".evil.example/":              "/",
			site(acme) + ":8443/":                      "/",
			site(acme) + `/\evil.example`:              "/",
			site(acme) + site(acme) + "/reports":       "/",
			site(acme) + "/saml/logout":                "/",
			site(globex) + "/reports":                  "/",
			"http://" + host(acme) + "/":               "/",
			"https://evil.example/phish":               "/",
			"//evil.example/":                          "/",
			"javascript:alert(1)":                      "/",
			"/saml/login?return_to=/a":                 "/",
			"/\r\nSet-Cookie: a=b":                     "/",
			"0f3c1a7e-opaque-state-of-some-product-01": "/",
		} {
			p := w.person()
			a := p.postUnsolicited(w.issue(acme, acme, ""), relayState)
			if mode == tenantconfig.IDPInitiatedRestart {
				_, requestID := p.resumed(a)
				a = p.post(acme, w.issue(acme, acme, requestID), "")
			}
			if got := a.Header.Get("Location"); a.StatusCode != http.StatusSeeOther || got != want {
				t.Errorf("%s: RelayState %q led to %q, want %q (status %d)", mode, relayState, got, want, a.StatusCode)
			}
		}
	}
}

// resumed follows the restart of a sign-in to the IdP's address, and returns it
// and the request's ID.
func (p *person) resumed(a answer) (*url.URL, string) {
	p.t.Helper()
	location := a.Header.Get("Location")
	if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(location, "/saml/login?request=") {
		p.t.Fatalf("not restarted: status %d, location %q, log %s", a.StatusCode, location, p.log.last())
	}
	a = p.get(site(acme)+location, fromTheIDP...)
	target, err := a.Location()
	if err != nil || a.StatusCode != http.StatusFound {
		p.t.Fatalf("the request is not sent: status %d, log %s", a.StatusCode, p.log.last())
	}
	return target, readRequest(p.t, target).ID
}

func TestB8_UnsolicitedRestartsTheSignIn(t *testing.T) {
	w := newWorld(t, idpInitiated(tenantconfig.IDPInitiatedRestart))
	p := w.person()
	response := w.issue(acme, acme, "")
	target, requestID := p.resumed(p.postUnsolicited(response, "/reports", fromTheIDP...))
	if !strings.HasPrefix(target.String(), w.idps[acme].SSOURL()) {
		t.Errorf("the request went to %s", target)
	}
	if _, in := p.whoami(acme); in || strings.Contains(w.log.all(), `"outcome":"success"`) {
		t.Error("the response was used")
	}
	// Loaded anew, the page sends the same request.
	if _, again := p.resumed(answer{Response: &http.Response{StatusCode: http.StatusSeeOther, Header: http.Header{
		"Location": {"/saml/login?request=" + target.Query().Get("RelayState")},
	}}}); again != requestID {
		t.Error("loading the page again made another request")
	}
	a := p.post(acme, w.issue(acme, acme, requestID), target.Query().Get("RelayState"))
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/reports" {
		t.Errorf("status %d, location %q, log %s", a.StatusCode, a.Header.Get("Location"), w.log.last())
	}
	if n := len(p.cookies(acme)); n != 1 {
		t.Errorf("%d cookies are left, want the session's alone", n)
	}
	// Somebody who is signed in begins anew all the same: another user may have
	// signed in at the IdP.
	p.resumed(p.postUnsolicited(response, "/", fromTheIDP...))
}

// Whatever an IdP makes of our request, the browser does not go round.
func TestB8_ARestartDoesNotLoop(t *testing.T) {
	w := newWorld(t, idpInitiated(tenantconfig.IDPInitiatedRestart))
	p := w.person()
	p.resumed(p.postUnsolicited(w.issue(acme, acme, ""), ""))
	if a := p.postUnsolicited(w.issue(acme, acme, ""), ""); a.StatusCode != http.StatusForbidden || w.log.lastCode(t) != "restart_unanswered" {
		t.Errorf("an IdP that answers no request: status %d, log %s", a.StatusCode, w.log.last())
	}
	w.clock.advance(time.Minute)
	p.resumed(p.postUnsolicited(w.issue(acme, acme, ""), ""))

	// A sign-in that the user began here and left is no reason to refuse.
	other := w.person()
	other.login(acme, "/")
	other.resumed(other.postUnsolicited(w.issue(acme, acme, ""), ""))

	// Nothing is sent for a browser that keeps no cookie, and its answer would
	// not begin anything.
	forgetful := w.person()
	location := forgetful.postUnsolicited(w.issue(acme, acme, ""), "").Header.Get("Location")
	if a := w.person().get(site(acme) + location); a.StatusCode != http.StatusForbidden || w.log.lastCode(t) != "request_missing" {
		t.Errorf("without the cookie: status %d, log %s", a.StatusCode, w.log.last())
	}
	_, requestID := forgetful.resumed(answer{Response: &http.Response{StatusCode: http.StatusSeeOther, Header: http.Header{"Location": {location}}}})
	if a := w.person().post(acme, w.issue(acme, acme, requestID), ""); a.StatusCode != http.StatusForbidden {
		t.Errorf("an answer that nobody waits for: status %d, location %q", a.StatusCode, a.Header.Get("Location"))
	}
	// Only a restarted request is sent by its name.
	_, handle := other.login(acme, "/")
	if a := other.get(site(acme) + "/saml/login?request=" + url.QueryEscape(handle)); a.StatusCode != http.StatusForbidden {
		t.Errorf("a request of another kind is sent again: status %d", a.StatusCode)
	}
	// Somebody who is signed in goes on.
	signedIn := w.person()
	signedIn.signIn(acme)
	if a := signedIn.get(site(acme) + location); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/" {
		t.Errorf("signed in: status %d, location %q", a.StatusCode, a.Header.Get("Location"))
	}
}

// The attacker's response in the victim's browser makes the victim sign in as
// herself, or does nothing.
func TestT6_RestartIsNoLoginCSRF(t *testing.T) {
	w := newWorld(t, idpInitiated(tenantconfig.IDPInitiatedRestart))
	w.idps[acme].SetUser(testidp.User{Name: "mallory", Password: password, NameID: "mallory@acme.example"})
	attackers := w.issue(acme, acme, "", func(o *testidp.ResponseOptions) { o.UserName = "mallory" })
	victim := w.person()
	_, requestID := victim.resumed(victim.postUnsolicited(attackers, "/transfer", fromTheIDP...))
	victim.post(acme, w.issue(acme, acme, requestID), "")
	if who, in := victim.whoami(acme); !in || who.User.ID != "alice@acme.example" {
		t.Errorf("signed in %t as %q", in, who.User.ID)
	}
}

// Frames and scripts of other sites cannot bring responses that nobody asked
// for, so neither sign anybody in nor make a browser forget its own requests.
func TestT6_UnsolicitedResponsesNeedAPageOfTheirOwn(t *testing.T) {
	for _, mode := range []tenantconfig.IDPInitiated{tenantconfig.IDPInitiatedAccept, tenantconfig.IDPInitiatedRestart} {
		w := newWorld(t, idpInitiated(mode))
		p := w.person()
		for _, dest := range []string{"iframe", "object", "image"} {
			a := p.postUnsolicited(w.issue(acme, acme, ""), "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", dest)
			if a.StatusCode != http.StatusForbidden || w.log.lastCode(t) != "login_not_meant" || a.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s, %s: status %d, log %s", mode, dest, a.StatusCode, w.log.last())
			}
		}
	}
}

// Going back in the history works as elsewhere, and what is wrong with a
// response is told in the page that its user sees.
func TestOutdatedAnswersWhereUnsolicitedOnesAreTaken(t *testing.T) {
	w := newWorld(t, idpInitiated(tenantconfig.IDPInitiatedAccept))
	p := w.person()
	requestID, _ := p.login(acme, "/")
	response := w.issue(acme, acme, requestID)
	p.post(acme, response, "")
	for _, code := range []string{"unsolicited_response", "issue_instant_invalid"} {
		if a := p.post(acme, response, ""); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/" || w.log.lastCode(t) != code {
			t.Errorf("signed in: status %d, location %q, log %s", a.StatusCode, a.Header.Get("Location"), w.log.last())
		}
		if a := w.person().postUnsolicited(response, "", fromTheIDP...); a.Header.Get("Location") != "/saml/acs" || w.log.lastCode(t) != code {
			t.Errorf("not signed in: status %d, location %q, log %s", a.StatusCode, a.Header.Get("Location"), w.log.last())
		}
		w.clock.advance(10 * time.Minute)
	}
	unsigned := w.issue(acme, acme, "", func(o *testidp.ResponseOptions) { o.Signing = testidp.SignNothing })
	a := w.person().postUnsolicited(unsigned, "", fromTheIDP...)
	_, supportID, _ := strings.Cut(a.body, "Support ID: <code>")
	supportID, _, _ = strings.Cut(supportID, "<")
	if a.StatusCode != http.StatusForbidden || supportID == "" || !strings.Contains(w.log.last(), supportID) || w.log.lastCode(t) != "signature_missing" {
		t.Errorf("status %d, support ID %q, log %s", a.StatusCode, supportID, w.log.last())
	}
}

func TestUnsolicitedResponsesOfADisabledTenantAreRefused(t *testing.T) {
	w := newWorld(t, configured(func(c *tenantconfig.Config) {
		c.ServiceProvider.IDPInitiated, c.Disabled = tenantconfig.IDPInitiatedAccept, true
	}))
	if a := w.person().postUnsolicited(w.issue(acme, acme, ""), ""); a.StatusCode != http.StatusForbidden || w.log.lastCode(t) != "tenant_disabled" {
		t.Errorf("status %d, log %s", a.StatusCode, w.log.last())
	}
}
