package gateway_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"

	"cequence.cloud/saml-operator/internal/testidp"
)

// What Entra ID does, by the rows of docs/security/entra-id.md, as far as it
// takes a browser and a whole gateway to tell.

// attempt signs in, or does not, and returns the answer.
func (p *person) attempt(tenant string, alter ...func(*testidp.ResponseOptions)) answer {
	p.t.Helper()
	requestID, relayState := p.login(tenant, "/")
	return p.post(tenant, p.issue(tenant, tenant, requestID, alter...), relayState)
}

// When the active certificate has expired, a new one signs from the moment that
// it is made.
func TestE5_ASwitchThatNobodyAnnounces(t *testing.T) {
	o := &operator{}
	w := newWorldWith(t, o)
	o.refresh = func() error { return w.publish() }
	expired, err := testidp.NewKey(testidp.KeyOptions{NotBefore: w.clock.Now().AddDate(-3, 0, 0), NotAfter: w.clock.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	idp := w.idps[acme]
	if err := idp.ActivateKey(idp.AddExistingKey(expired)); err != nil {
		t.Fatal(err)
	}
	w.write(w.config(acme))
	w.eventually("the certificate is known", func() bool { return w.person().attempt(acme).StatusCode == http.StatusSeeOther })

	w.clock.advance(2 * time.Hour)
	if a := w.person().attempt(acme); a.StatusCode != http.StatusForbidden || w.log.lastCode(t) != "certificate_expired" {
		t.Errorf("the expired one: status %d, log %s", a.StatusCode, w.log.last())
	}
	if _, err := idp.AddKey(); err != nil {
		t.Fatal(err)
	}
	before := o.asked.Load() // it may have been asked while the certificate was not known
	w.person().signIn(acme)
	if n := o.asked.Load() - before; n != 1 {
		t.Errorf("the operator was asked %d times", n)
	}
}

// User names and addresses change, the object identifier does not.
func TestE12_ARenamedUserStaysTheSame(t *testing.T) {
	w := newWorld(t)
	c := w.config(acme)
	c.AttributeMapping.UserID = []string{testidp.ClaimObjectID}
	w.write(c)
	w.eventually("the object identifier counts", func() bool {
		return w.person().attempt(acme).StatusCode == http.StatusSeeOther && strings.Contains(w.log.last(), `"userIDSource":"`+testidp.ClaimObjectID+`"`)
	})
	p := w.person()
	p.signIn(acme)
	before, _ := p.whoami(acme)
	w.idps[acme].SetUser(testidp.User{Name: alice, Password: password, NameID: "alice@new.example", Email: "alice@new.example"})
	for _, format := range []string{"", "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"} {
		p.signIn(acme, func(o *testidp.ResponseOptions) { o.NameIDFormat = format })
		if after, _ := p.whoami(acme); after.User.ID != before.User.ID || after.User.Email != "alice@new.example" || !strings.Contains(w.log.last(), `"created":false`) {
			t.Errorf("with the format %q: %+v, before %+v", format, after, before)
		}
	}
}

func TestE15_SigningOptions(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]struct {
		option testidp.Signing
		method string
		code   string
	}{
		"the assertion":        {testidp.SignAssertion, "", ""},
		"the response":         {testidp.SignResponse, "", ""},
		"both":                 {testidp.SignBoth, "", ""},
		"the assertion, SHA-1": {testidp.SignAssertion, dsig.RSASHA1SignatureMethod, "algorithm_not_allowed"},
		"the response, SHA-1":  {testidp.SignResponse, dsig.RSASHA1SignatureMethod, "algorithm_not_allowed"},
	} {
		a := w.person().attempt(acme, func(o *testidp.ResponseOptions) { o.Signing, o.SignatureMethod = test.option, test.method })
		if (a.StatusCode == http.StatusSeeOther) != (test.code == "") || w.log.lastCode(t) != test.code {
			t.Errorf("%s: status %d, log %s", name, a.StatusCode, w.log.last())
		}
	}
}

// Object IDs by default, names where the claim is set so, and nothing is made of
// either.
func TestE19_ObjectIDsOrNames(t *testing.T) {
	w := newWorld(t)
	for _, groups := range [][]string{manyGroups(3), {"Sales, EMEA", "All Users", "Größe"}, {"ACME\\Domain Admins"}} {
		w.idps[acme].SetUser(testidp.User{Name: alice, Password: password, NameID: "alice@acme.example", Groups: groups})
		p := w.person()
		p.signIn(acme)
		if who, _ := p.whoami(acme); !slices.Equal(who.User.Groups, groups) {
			t.Errorf("got %q, want %q", who.User.Groups, groups)
		}
	}
}

// Two applications of one directory, each with its ID in the issuer: they have
// nothing in common, whatever key signs.
func TestE22_TwoApplicationsOfOneDirectory(t *testing.T) {
	w := newWorld(t)
	const directory = "https://sts.windows.net/7d0c8a51-94a3-4c55-9e0e-1b8f3c2b6a40/"
	issuer := map[string]string{acme: directory + "application-1", globex: directory + "application-2"}
	for _, tenant := range []string{acme, globex} {
		idp, err := testidp.New(testidp.Options{
			BaseURL: "https://idp-" + host(tenant), EntityID: issuer[tenant], Clock: w.clock.Now, Keys: []*testidp.Key{idpKey(t, acme)},
			Users: []testidp.User{{Name: alice, Password: password, NameID: "alice@acme.example"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.idps[tenant] = idp
		w.write(w.config(tenant))
	}
	for _, tenant := range []string{acme, globex} {
		w.eventually("the application signs in to "+tenant, func() bool { return w.person().attempt(tenant).StatusCode == http.StatusSeeOther })
	}
	for name, as := range map[string]string{"the other application": issuer[globex], "the directory": directory} {
		a := w.person().attempt(acme, func(o *testidp.ResponseOptions) {
			o.AlterAssertion = func(a *saml.Assertion) { a.Issuer.Value = as }
			o.AlterResponse = func(r *saml.Response) { r.Issuer.Value = as }
		})
		if a.StatusCode != http.StatusForbidden || w.log.lastCode(t) != "issuer_mismatch" {
			t.Errorf("%s: status %d, log %s", name, a.StatusCode, w.log.last())
		}
	}
}

// Conditional Access App Control puts a proxy between browser and gateway: other
// addresses, another origin in what the browser says, and places to go to that
// the proxy can only follow if they name no host.
func TestE23_SessionProxy(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	requestID, _ := p.login(acme, "/reports?x=1")
	r := p.request(http.MethodPost, acsURL(acme), strings.NewReader(url.Values{
		"SAMLResponse": {base64.StdEncoding.EncodeToString(w.issue(acme, acme, requestID))},
	}.Encode()))
	for name, value := range map[string]string{
		"Content-Type": "application/x-www-form-urlencoded", "Origin": site(acme) + ".mcas.ms", "Referer": site(acme) + ".mcas.ms/saml/login",
		"Sec-Fetch-Site": "cross-site", "X-Forwarded-For": "198.51.100.7",
	} {
		r.Header.Set(name, value)
	}
	a := p.do(r)
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/reports?x=1" {
		t.Fatalf("status %d to %q, log %s", a.StatusCode, a.Header.Get("Location"), w.log.last())
	}
	// The session is bound to no address: the next connection is another one.
	p.client.CloseIdleConnections()
	if _, in := p.whoami(acme); !in {
		t.Error("the session is bound to the connection")
	}
	if location := w.person().get(site(acme) + "/").Header.Get("Location"); !strings.HasPrefix(location, "/saml/login?") {
		t.Errorf("without a session one is sent to %s", location)
	}
}

// What Entra ID says of a failure is for the administrator: number, trace ID and
// time go to the log; the user is told in our words whom to ask.
func TestE24_Errors(t *testing.T) {
	w := newWorld(t)
	const message = "AADSTS50105: Your administrator has configured the application to block users.\r\n" +
		"Trace ID: 5d0a7a0c-9e0e-4d2c-8f5b-0a4f0c1e2d00\r\nCorrelation ID: 0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0\r\nTimestamp: 2026-11-24 12:00:00Z"
	a := w.person().attempt(acme, func(o *testidp.ResponseOptions) {
		o.Status = &saml.Status{
			StatusCode:    saml.StatusCode{Value: saml.StatusRequester, StatusCode: &saml.StatusCode{Value: saml.StatusRequestDenied}},
			StatusMessage: &saml.StatusMessage{Value: message},
		}
	})
	log := w.log.last()
	if a.StatusCode != http.StatusForbidden || w.log.lastCode(t) != "status_not_success" {
		t.Errorf("status %d, log %s", a.StatusCode, log)
	}
	if !strings.Contains(a.body, "has not given you access") || !strings.Contains(a.body, "administrator for access") {
		t.Errorf("the page does not say whom to ask: %s", a.body)
	}
	for _, want := range []string{"AADSTS50105", "Trace ID: 5d0a7a0c-9e0e-4d2c-8f5b-0a4f0c1e2d00", "Timestamp: 2026-11-24 12:00:00Z", saml.StatusRequestDenied} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q: %s", want, log)
		}
		if strings.Contains(a.body, want) {
			t.Errorf("the page tells %q", want)
		}
	}
}
