package gateway_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"encoding/xml"
	"html"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"

	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

func sloURL(tenant string) string { return site(tenant) + "/saml/slo" }

var spKey = sync.OnceValues(func() (*rsa.PrivateKey, *x509.Certificate) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "SP"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return key, certificate
})

// newLogoutWorld is a world with single logout, by that binding.
func newLogoutWorld(t *testing.T, binding string) *world {
	w := newWorld(t)
	key, certificate := spKey()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, tenant := range []string{acme, globex} {
		w.idps[tenant].SetServiceProvider(entityID(tenant), testidp.ServiceProvider{
			ACSURL: acsURL(tenant), LogoutURL: sloURL(tenant), VerificationCertificates: []*x509.Certificate{certificate},
		})
		w.writeFile(tenant, tenantconfig.FileKey, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		w.writeFile(tenant, tenantconfig.FileCertificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}))
		w.write(w.logoutConfig(tenant, binding))
	}
	w.eventually("single logout", func() bool {
		return w.person().get(sloURL(acme)).StatusCode == http.StatusOK && w.person().get(sloURL(globex)).StatusCode == http.StatusOK
	})
	return w
}

func (w *world) logoutConfig(tenant, binding string) tenantconfig.Config {
	c := w.config(tenant)
	c.ServiceProvider.SLOURL = sloURL(tenant)
	c.ServiceProvider.SignAuthnRequests = true
	c.IdentityProvider.SLO = []tenantconfig.Endpoint{{Binding: binding, Location: w.idps[tenant].SLOURL(), ResponseLocation: w.idps[tenant].SLOURL() + "?done"}}
	if binding == tenantconfig.BindingRedirect {
		c.IdentityProvider.SLO[0].ResponseLocation = ""
	}
	return c
}

// signInAs signs in and returns what the IdP calls the session.
func (p *person) signInAs(tenant string, nameID *saml.NameID) (sessionIndex string) {
	p.t.Helper()
	p.signIn(tenant, func(o *testidp.ResponseOptions) {
		o.AlterAssertion = func(a *saml.Assertion) {
			if nameID != nil {
				a.Subject.NameID = nameID
			}
			sessionIndex = a.AuthnStatements[0].SessionIndex
		}
	})
	return sessionIndex
}

// logoutURL makes a request of an IdP that is good for a tenant, unless it is
// altered.
func (w *world) logoutURL(idp, tenant string, o testidp.LogoutOptions) string {
	w.t.Helper()
	o.LogoutURL = sloURL(tenant)
	if o.NameID == "" {
		o.NameID = "alice@" + idp + ".example"
	}
	target, err := w.idps[idp].LogoutRequestURL(o)
	if err != nil {
		w.t.Fatal(err)
	}
	return target
}

func (p *person) signedIn(tenant string) bool {
	p.t.Helper()
	_, in := p.whoami(tenant)
	return in
}

func (p *person) postForm(target string, form url.Values) answer {
	p.t.Helper()
	r := p.request(http.MethodPost, target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return p.do(r)
}

// sentLogout is what the gateway sends to the IdP.
type sentLogout struct {
	XMLName      xml.Name
	ID           string `xml:",attr"`
	InResponseTo string `xml:",attr"`
	Destination  string `xml:",attr"`
	Issuer       string
	NameID       saml.NameID
	SessionIndex []string
	Status       struct {
		StatusCode struct {
			Value string `xml:",attr"`
		}
	}
}

// sent reads the message that the answer takes to the IdP, and has the IdP
// verify and take it.
func (p *person) sent(tenant, parameter string, a answer) (message sentLogout, relayState string, next answer) {
	p.t.Helper()
	target, err := a.Location()
	if err != nil {
		p.t.Fatalf("status %d, no redirect: %s log %s", a.StatusCode, a.body, p.log.last())
	}
	if got := target.Scheme + "://" + target.Host + target.Path; got != p.idps[tenant].SLOURL() {
		p.t.Fatalf("sent to %s", got)
	}
	document := inflate(p.t, target.Query().Get(parameter))
	if err := xml.Unmarshal(document, &message); err != nil {
		p.t.Fatal(err)
	}
	next = p.get(target.String())
	if next.StatusCode >= http.StatusBadRequest {
		p.t.Fatalf("the IdP refuses %s: %s", document, next.body)
	}
	return message, target.Query().Get("RelayState"), next
}

// Row E17: the answer is by Entra ID's other name.
func TestLogoutEndsTheSessionAtTheIDPToo(t *testing.T) {
	w := newLogoutWorld(t, tenantconfig.BindingRedirect)
	p, thief := w.person(), w.person()
	nameID := &saml.NameID{Value: "a&b", Format: "urn:x:format", NameQualifier: "urn:x:idp", SPNameQualifier: "urn:x:sp"}
	index := p.signInAs(acme, nameID)
	p.give(acme, thief, acme)

	a := p.postForm(site(acme)+"/saml/logout", nil)
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("logout: status %d, %v", a.StatusCode, a.Header)
	}
	if thief.signedIn(acme) {
		t.Error("the copy is alive before the IdP has answered")
	}
	message, relayState, answered := p.sent(acme, "SAMLRequest", a)
	if message.XMLName.Local != "LogoutRequest" || message.Issuer != entityID(acme) || message.Destination != w.idps[acme].SLOURL() || relayState != "" ||
		message.NameID != *nameID || len(message.SessionIndex) != 1 || message.SessionIndex[0] != index {
		t.Errorf("sent %+v, %q", message, relayState)
	}
	if got := w.idps[acme].Counts().LogoutRequests; got != 1 {
		t.Errorf("the IdP took %d requests", got)
	}
	done := p.get(answered.Header.Get("Location"))
	if done.StatusCode != http.StatusOK || !strings.Contains(done.body, "and at your organization") {
		t.Errorf("status %d: %s, log %s", done.StatusCode, done.body, w.log.last())
	}
	if left := p.cookies(acme); len(left) != 0 {
		t.Errorf("cookies are left: %v", left)
	}
	// Loading the page anew promises nothing.
	again := p.get(answered.Header.Get("Location"))
	if again.StatusCode != http.StatusSeeOther || again.Header.Get("Location") != "/saml/slo" {
		t.Errorf("the same answer again: status %d, %v", again.StatusCode, again.Header)
	}
	w.restart()
	if thief.signedIn(acme) {
		t.Error("the copy is alive after a restart")
	}
}

func TestLogoutByTheFormThatAsks(t *testing.T) {
	w := newLogoutWorld(t, tenantconfig.BindingRedirect)
	p := w.person()
	p.signIn(acme)
	a := p.get(site(acme)+"/saml/logout", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
	if !strings.Contains(a.body, "Sign out?") || !p.signedIn(acme) || w.idps[acme].Counts().LogoutRequests != 0 {
		t.Errorf("another site signs the user out: %s", a.body)
	}
	// The form leads to the IdP by a redirect, to which browsers apply it.
	if policy := a.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action https:") {
		t.Errorf("policy is %s", policy)
	}
}

func TestLogoutByPOST(t *testing.T) {
	w := newLogoutWorld(t, tenantconfig.BindingPOST)
	p := w.person()
	index := p.signInAs(acme, nil)
	a := p.postForm(site(acme)+"/saml/logout", nil)
	if a.StatusCode != http.StatusOK || !strings.Contains(a.body, `action="`+w.idps[acme].SLOURL()+`"`) || strings.Contains(a.body, "RelayState") || p.signedIn(acme) {
		t.Fatalf("status %d: %s", a.StatusCode, a.body)
	}
	var request sentLogout
	if err := xml.Unmarshal(formValue(t, a.body, "SAMLRequest"), &request); err != nil || request.SessionIndex[0] != index {
		t.Errorf("sent %+v, %v", request, err)
	}
	response, err := w.idps[acme].LogoutResponse(testidp.LogoutOptions{InResponseTo: request.ID})
	if err != nil {
		t.Fatal(err)
	}
	done := p.postForm(sloURL(acme), url.Values{"SAMLResponse": {base64.StdEncoding.EncodeToString(response)}})
	if done.StatusCode != http.StatusOK || !strings.Contains(done.body, "and at your organization") {
		t.Errorf("status %d: %s, log %s", done.StatusCode, done.body, w.log.last())
	}

	// And the other way round.
	p.signInAs(acme, nil)
	logout, err := w.idps[acme].LogoutRequest(testidp.LogoutOptions{LogoutURL: sloURL(acme), NameID: "alice@acme.example"})
	if err != nil {
		t.Fatal(err)
	}
	a = w.person().postForm(sloURL(acme), url.Values{"SAMLRequest": {base64.StdEncoding.EncodeToString(logout)}, "RelayState": {`"<x>`}})
	if a.StatusCode != http.StatusOK || p.signedIn(acme) {
		t.Fatalf("status %d: %s, log %s", a.StatusCode, a.body, w.log.last())
	}
	var answered sentLogout
	if err := xml.Unmarshal(formValue(t, a.body, "SAMLResponse"), &answered); err != nil || answered.Destination != w.idps[acme].SLOURL()+"?done" ||
		answered.Status.StatusCode.Value != saml.StatusSuccess || !strings.Contains(a.body, `value="&#34;&lt;x&gt;"`) {
		t.Errorf("answered %+v, %v: %s", answered, err, a.body)
	}
}

var hidden = regexp.MustCompile(`name="(SAML[A-Za-z]+)" value="([^"]*)"`)

func formValue(t *testing.T, page, name string) []byte {
	t.Helper()
	for _, match := range hidden.FindAllStringSubmatch(page, -1) {
		if match[1] == name {
			value, err := base64.StdEncoding.DecodeString(html.UnescapeString(match[2]))
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	t.Fatalf("no %s in %s", name, page)
	return nil
}

func TestLogoutOfTheIDPEndsTheSessionsThatItNames(t *testing.T) {
	w := newLogoutWorld(t, tenantconfig.BindingRedirect)
	first, second, copied, other, elsewhere := w.person(), w.person(), w.person(), w.person(), w.person()
	index := first.signInAs(acme, nil)
	second.signInAs(acme, nil)
	first.give(acme, copied, acme)
	other.signInAs(acme, &saml.NameID{Value: "bob@acme.example"})
	elsewhere.signInAs(globex, &saml.NameID{Value: "alice@acme.example"})
	check := func(when string, want map[*person]bool) {
		t.Helper()
		for p, in := range want {
			tenant := acme
			if p == elsewhere {
				tenant = globex
			}
			if p.signedIn(tenant) != in {
				t.Errorf("%s: signed in %t, want %t", when, !in, in)
			}
		}
	}

	// The browser that brings the request need not be anybody's.
	messenger := w.person()
	a := messenger.get(w.logoutURL(acme, acme, testidp.LogoutOptions{SessionIndexes: []string{index}, RelayState: "https://evil.example/?a&b"}))
	message, relayState, _ := messenger.sent(acme, "SAMLResponse", a)
	if message.XMLName.Local != "LogoutResponse" || message.Status.StatusCode.Value != saml.StatusSuccess || message.Issuer != entityID(acme) ||
		message.Destination != w.idps[acme].SLOURL() || relayState != "https://evil.example/?a&b" {
		t.Errorf("answered %+v, %q", message, relayState)
	}
	if got := w.idps[acme].Counts().LogoutResponses; got != 1 {
		t.Errorf("the IdP took %d responses", got)
	}
	check("after one session's logout", map[*person]bool{first: false, copied: false, second: true, other: true, elsewhere: true})
	w.restart()
	check("after a restart", map[*person]bool{first: false, copied: false, second: true, other: true, elsewhere: true})

	// The browser that has the session loses the cookie, too.
	a = second.get(w.logoutURL(acme, acme, testidp.LogoutOptions{RelayState: strings.Repeat("x", 81)}))
	if _, relayState, _ := second.sent(acme, "SAMLResponse", a); relayState != "" || len(second.cookies(acme)) != 0 {
		t.Errorf("RelayState %q, cookies %v", relayState, second.cookies(acme))
	}
	check("after all sessions' logout", map[*person]bool{second: false, other: true, elsewhere: true})

	w.clock.advance(time.Second)
	first.signInAs(acme, nil)
	check("after a new sign-in", map[*person]bool{first: true, copied: false})
}

// Row A14: nothing ends, and nobody is sent anywhere.
func TestA14_ForgedLogout(t *testing.T) {
	w := newLogoutWorld(t, tenantconfig.BindingRedirect)
	p := w.person()
	index := p.signInAs(acme, nil)
	good := w.logoutURL(acme, acme, testidp.LogoutOptions{SessionIndexes: []string{index}, RelayState: "x"})
	stranger, err := testidp.NewKey(testidp.KeyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	old := w.logoutURL(acme, acme, testidp.LogoutOptions{Alter: func(e *etree.Element) {
		e.SelectAttr("IssueInstant").Value = w.clock.Now().Add(-9 * time.Minute).Format(time.RFC3339)
	}})
	_, query, _ := strings.Cut(good, "?")
	posted := strings.Replace(good, sloURL(acme), acsURL(acme), 1)
	for name, test := range map[string]struct {
		target string
		status int
	}{
		"unsigned":                 {w.logoutURL(acme, acme, testidp.LogoutOptions{Unsigned: true}), http.StatusForbidden},
		"a stranger's key":         {w.logoutURL(acme, acme, testidp.LogoutOptions{Key: stranger}), http.StatusForbidden},
		"another tenant's IdP":     {w.logoutURL(globex, acme, testidp.LogoutOptions{NameID: "alice@acme.example"}), http.StatusForbidden},
		"for another tenant":       {strings.Replace(w.logoutURL(acme, globex, testidp.LogoutOptions{}), site(globex), site(acme), 1), http.StatusForbidden},
		"old":                      {old, http.StatusForbidden},
		"changed":                  {strings.Replace(good, "&RelayState=x", "&RelayState=y", 1), http.StatusForbidden},
		"two requests":             {good + "&" + query, http.StatusBadRequest},
		"two requests, one forged": {good + "&SAMLRequest=x", http.StatusBadRequest},
		"nothing":                  {sloURL(acme) + "?lang=en", http.StatusBadRequest},
		"at the ACS":               {posted, http.StatusForbidden},
	} {
		if a := w.person().get(test.target); a.StatusCode != test.status || a.Header.Get("Location") != "" {
			t.Errorf("%s: status %d to %q, log %s", name, a.StatusCode, a.Header.Get("Location"), w.log.last())
		}
	}
	for name, r := range map[string]*http.Request{
		"query and form": p.request(http.MethodPost, good, strings.NewReader(query)),
		"other form":     p.request(http.MethodPost, sloURL(acme), strings.NewReader("x")),
		"other type":     p.request(http.MethodPost, sloURL(acme), strings.NewReader(query)),
		"other method":   p.request(http.MethodPut, good, nil),
	} {
		if name != "other type" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if a := p.do(r); a.StatusCode < http.StatusBadRequest || a.Header.Get("Location") != "" {
			t.Errorf("%s: status %d", name, a.StatusCode)
		}
	}
	if !p.signedIn(acme) {
		t.Fatal("a forged request ended the session")
	}
	if a := w.person().get(good); a.StatusCode != http.StatusFound || p.signedIn(acme) {
		t.Errorf("the genuine one: status %d, log %s", a.StatusCode, w.log.last())
	}
}

func TestLogoutRequestIsUsedOnce(t *testing.T) {
	w := newLogoutWorld(t, tenantconfig.BindingRedirect)
	p, messenger := w.person(), w.person()
	captured := w.logoutURL(acme, acme, testidp.LogoutOptions{})
	messenger.get(captured)
	w.clock.advance(time.Second)
	p.signIn(acme)
	for _, when := range []string{"again", "after a restart"} {
		message, _, _ := messenger.sent(acme, "SAMLResponse", messenger.get(captured))
		if message.Status.StatusCode.Value != saml.StatusRequester || !p.signedIn(acme) {
			t.Errorf("%s: answered %+v", when, message)
		}
		w.restart()
	}
}

// A user who has signed out at the IdP is not signed in by what was issued
// before.
func TestLogoutOvertakesASignIn(t *testing.T) {
	w := newLogoutWorld(t, tenantconfig.BindingRedirect)
	p := w.person()
	requestID, relayState := p.login(acme, "/")
	response := w.issue(acme, acme, requestID)
	w.clock.advance(time.Second)
	w.person().get(w.logoutURL(acme, acme, testidp.LogoutOptions{}))
	if a := p.post(acme, response, relayState); a.StatusCode != http.StatusForbidden || w.log.lastCode(t) != "logged_out" {
		t.Errorf("status %d, log %s", a.StatusCode, w.log.last())
	}
	w.clock.advance(time.Second)
	if p.signIn(acme); !p.signedIn(acme) {
		t.Error("signing in anew does not work")
	}
}

// The session is over whatever the answer is: it decides what the page says.
func TestLogoutResponse(t *testing.T) {
	w := newLogoutWorld(t, tenantconfig.BindingRedirect)
	for name, alter := range map[string]func(*testidp.LogoutOptions){
		"unsigned":        func(o *testidp.LogoutOptions) { o.Unsigned = true },
		"a failure":       func(o *testidp.LogoutOptions) { o.Status = saml.StatusResponder },
		"another request": func(o *testidp.LogoutOptions) { o.InResponseTo = "id-other" },
		"another issuer": func(o *testidp.LogoutOptions) {
			o.Alter = func(e *etree.Element) { e.SelectElement("Issuer").SetText("https://evil.example/") }
		},
	} {
		p := w.person()
		p.signIn(acme)
		request, _, _ := p.sent(acme, "SAMLRequest", p.postForm(site(acme)+"/saml/logout", nil))
		o := testidp.LogoutOptions{LogoutURL: sloURL(acme), InResponseTo: request.ID, RelayState: "https://evil.example/"}
		alter(&o)
		target, err := w.idps[acme].LogoutResponseURL(o)
		if err != nil {
			t.Fatal(err)
		}
		a := p.get(target)
		if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/saml/slo" {
			t.Errorf("%s: status %d to %q", name, a.StatusCode, a.Header.Get("Location"))
		}
		if page := p.get(sloURL(acme)); !strings.Contains(page.body, "may still be signed in at your organization") {
			t.Errorf("%s: %s", name, page.body)
		}
	}

	// In a browser that is signed in, an answer that nobody waits for ends
	// nothing and says nothing.
	p := w.person()
	p.signIn(acme)
	target, err := w.idps[acme].LogoutResponseURL(testidp.LogoutOptions{LogoutURL: sloURL(acme), InResponseTo: "id-x"})
	if err != nil {
		t.Fatal(err)
	}
	if a := p.get(target); a.StatusCode != http.StatusSeeOther || strings.Contains(a.Header.Get("Set-Cookie"), session.CookieName) || !p.signedIn(acme) {
		t.Errorf("status %d, %v", a.StatusCode, a.Header)
	}
	// Not even by reloading the page, which no other site can be blamed for.
	if a := p.get(sloURL(acme), "Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"); !strings.Contains(a.body, "Sign out?") || !p.signedIn(acme) {
		t.Errorf("the page says %s", a.body)
	}
}

// Entra ID may call the user by another name than in its assertion; the index
// is the assertion's ID.
func TestE17_EntraLogoutByAnotherNameID(t *testing.T) {
	w := newLogoutWorld(t, tenantconfig.BindingRedirect)
	p, other := w.person(), w.person()
	index := p.signInAs(acme, nil)
	other.signInAs(acme, nil)
	a := w.person().get(w.logoutURL(acme, acme, testidp.LogoutOptions{NameID: "H0EPlI1hHuuvn5N6-rgMR7aZzBCBTjfS6pFVIksD0Ds", SessionIndexes: []string{index}}))
	if a.StatusCode != http.StatusFound || p.signedIn(acme) || !other.signedIn(acme) {
		t.Errorf("status %d, signed in %t and %t", a.StatusCode, p.signedIn(acme), other.signedIn(acme))
	}
}

func TestWithoutSingleLogoutOnlyTheSessionHereEnds(t *testing.T) {
	w := newLogoutWorld(t, tenantconfig.BindingRedirect)
	c := w.logoutConfig(acme, tenantconfig.BindingRedirect)
	c.IdentityProvider.SLO = nil
	w.write(c)
	p := w.person()
	w.eventually("the IdP has no single logout", func() bool {
		p.signIn(acme)
		a := p.postForm(site(acme)+"/saml/logout", nil)
		return a.StatusCode == http.StatusOK && strings.Contains(a.body, "may still be signed in at your organization")
	})
	// An IdP without an endpoint gets no answer, but is heard.
	p.signIn(acme)
	if a := w.person().get(w.logoutURL(acme, acme, testidp.LogoutOptions{})); a.StatusCode != http.StatusOK || p.signedIn(acme) {
		t.Errorf("status %d, log %s", a.StatusCode, w.log.last())
	}

	c.ServiceProvider.SLOURL = ""
	w.write(c)
	w.eventually("there is no endpoint", func() bool { return p.get(sloURL(acme)).StatusCode == http.StatusNotFound })
}

func TestLogoutWhileTheStoreIsAway(t *testing.T) {
	w := newLogoutWorld(t, tenantconfig.BindingRedirect)
	p := w.person()
	p.signIn(acme)
	if err := w.gateway.Close(); err != nil {
		t.Fatal(err)
	}
	message, _, _ := p.sent(acme, "SAMLResponse", p.get(w.logoutURL(acme, acme, testidp.LogoutOptions{})))
	if message.Status.StatusCode.Value != saml.StatusResponder {
		t.Errorf("answered %+v", message)
	}
}
