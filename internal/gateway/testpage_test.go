package gateway_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/crewjam/saml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/administration"
	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

// testLink is what kubectl saml check prints.
func (w *world) testLink(tenant string) string {
	w.t.Helper()
	link, err := w.administration().TestLink(w.t.Context(), tenant)
	require.NoError(w.t, err)
	return link.URL
}

// openTest follows a link and presses the button.
func (p *person) openTest(link string) answer {
	p.t.Helper()
	page := p.get(link)
	require.Equal(p.t, http.StatusOK, page.StatusCode, page.body)
	return p.pressTest(page)
}

var testKey = regexp.MustCompile(`name="key" value="([^"]*)"`)

// pressTest sends the form of a page about the test.
func (p *person) pressTest(page answer, header ...string) answer {
	p.t.Helper()
	key := testKey.FindStringSubmatch(page.body)
	require.NotNil(p.t, key, page.body)
	target := *page.Request.URL
	target.Path, target.RawQuery = "/saml/test", ""
	r := p.request(http.MethodPost, target.String(), strings.NewReader(url.Values{"key": {html.UnescapeString(key[1])}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return p.do(r)
}

// asked reads the request that an answer takes to the IdP.
func (p *person) asked(a answer) (request authnRequest, relayState string) {
	p.t.Helper()
	require.Equal(p.t, http.StatusSeeOther, a.StatusCode, a.body)
	target, err := a.Location()
	require.NoError(p.t, err)
	return readRequest(p.t, target), target.Query().Get("RelayState")
}

// runTest goes through a test of acme's connection and returns its last page.
func (p *person) runTest(alter ...func(*testidp.ResponseOptions)) answer {
	p.t.Helper()
	request, relayState := p.asked(p.openTest(p.testLink(acme)))
	return p.post(acme, p.issue(acme, acme, request.ID, alter...), relayState)
}

// text is what a person reads on a page.
func (a answer) text() string {
	text := regexp.MustCompile(`(?s)<style.*?</style>|<script.*?</script>|<[^>]*>`).ReplaceAllString(a.body, " ")
	return strings.Join(strings.Fields(html.UnescapeString(text)), " ")
}

func TestConnectionTestThatPasses(t *testing.T) {
	w := newWorld(t, administered, configured(func(c *tenantconfig.Config) {
		c.Authorization.AllowedGroups = []string{"staff"}
		c.Authorization.RoleMappings = []tenantconfig.RoleMapping{{Group: "staff", Role: "reader"}}
	}))
	p := w.person()
	page := p.get(w.testLink(acme))
	for _, entered := range []string{entityID(acme), acsURL(acme), w.idps[acme].EntityID(), "AADSTS700016"} {
		assert.Contains(t, page.text(), entered)
	}
	request, relayState := p.asked(p.pressTest(page))
	assert.True(t, request.ForceAuthn, "it signs in afresh")
	response := w.issue(acme, acme, request.ID)
	a := p.post(acme, response, relayState)
	text := a.text()
	assert.Equal(t, http.StatusOK, a.StatusCode)
	for _, shown := range []string{
		"The sign-in works", "alice@acme.example would be let in",
		"has verified this signature CN=acme",
		testidp.ClaimSurname + " Adams surname", "staff, a,b%", "Roles reader",
		"authorization.allowedGroups staff lets the user in", "would be created at the first sign-in",
		"Difference of the clocks none",
		"It was not used before passed", "The user is there, or may be created passed",
	} {
		assert.Contains(t, text, shown)
	}
	assert.NotContains(t, text, "failed")
	assert.NotContains(t, a.body, "<saml", "no XML is shown")

	// Nobody is signed in, no user is there, and the answer is used up.
	assert.False(t, p.signedIn(acme))
	users, err := w.administration().Users(t.Context(), acme, administration.UserFilter{})
	require.NoError(t, err)
	assert.Empty(t, users)
	p.get(w.testLink(acme))
	assert.NotEqual(t, http.StatusSeeOther, p.post(acme, response, relayState).StatusCode)
	assert.False(t, p.signedIn(acme))

	// The page's button begins another one.
	again, relayState := p.asked(p.pressTest(a))
	assert.NotEqual(t, request.ID, again.ID)
	assert.Contains(t, p.post(acme, w.issue(acme, acme, again.ID), relayState).text(), "The sign-in works")
}

func TestConnectionTestThatFails(t *testing.T) {
	stranger, err := testidp.NewKey(testidp.KeyOptions{CommonName: "stranger"})
	require.NoError(t, err)
	status := func(message string, codes ...string) func(*testidp.ResponseOptions) {
		return func(o *testidp.ResponseOptions) {
			o.Status = &saml.Status{StatusCode: saml.StatusCode{Value: "urn:oasis:names:tc:SAML:2.0:status:" + codes[0]}}
			if len(codes) > 1 {
				o.Status.StatusCode.StatusCode = &saml.StatusCode{Value: "urn:oasis:names:tc:SAML:2.0:status:" + codes[1]}
			}
			if message != "" {
				o.Status.StatusMessage = &saml.StatusMessage{Value: message}
			}
		}
	}
	for name, c := range map[string]struct {
		alter  func(*testidp.ResponseOptions)
		config func(*tenantconfig.Config)
		code   string
		says   []string
		german string
	}{
		"another key": {
			alter: func(o *testidp.ResponseOptions) { o.Key = stranger },
			code:  "unknown_signing_key",
			says: []string{
				"signed by a key that is not among those in the identity provider's metadata", "kubectl saml refresh acme",
				"came with the response; not trusted, not verified CN=stranger", "trusted, from the metadata CN=acme",
				"Signature of the assertion, by a trusted key failed", "The assertion is for this application (Audience) not made",
			},
			german: "Vergleichen Sie die Fingerabdrücke unten",
		},
		"another audience": {
			alter: func(o *testidp.ResponseOptions) { o.Audience = "https://acme.s.localhost/saml/metadata" },
			code:  "audience_mismatch",
			says: []string{
				"for another application", "enter " + entityID(acme) + " as Identifier (Entity ID), letter by letter, the port :443 included",
				"Audience " + entityID(acme) + " https://acme.s.localhost/saml/metadata differs",
				"The assertion is for this application (Audience) failed", "Signature of the assertion, by a trusted key passed",
			},
			german: "Tragen Sie beim Identitätsanbieter " + entityID(acme),
		},
		"another recipient": {
			alter: func(o *testidp.ResponseOptions) {
				o.AlterAssertion = func(a *saml.Assertion) {
					a.Subject.SubjectConfirmations[0].SubjectConfirmationData.Recipient = "https://acme.example/acs"
				}
			},
			code: "recipient_mismatch",
			says: []string{"enter " + acsURL(acme) + " as Reply URL", "Recipient " + acsURL(acme) + " https://acme.example/acs differs"},
		},
		"another destination": {
			alter: func(o *testidp.ResponseOptions) {
				o.AlterResponse = func(r *saml.Response) { r.Destination = "https://acme.example/acs" }
			},
			code: "destination_mismatch",
			says: []string{"enter " + acsURL(acme) + " as Reply URL", "Destination " + acsURL(acme) + " https://acme.example/acs differs"},
		},
		"another issuer": {
			alter: func(o *testidp.ResponseOptions) {
				o.AlterAssertion = func(a *saml.Assertion) { a.Issuer.Value = "https://sts.windows.net/other/" }
			},
			code: "issuer_mismatch",
			says: []string{"by another identity provider", "https://sts.windows.net/other/ differs", "spec.metadataURL"},
		},
		"a clock that is behind": {
			alter: func(o *testidp.ResponseOptions) {
				o.AlterResponse = func(r *saml.Response) { r.IssueInstant = r.IssueInstant.Add(-12 * time.Minute) }
			},
			code: "issue_instant_invalid",
			says: []string{"Compare the clocks", "the gateway's clock is 12m0s ahead", "It was issued just now failed"},
		},
		"a clock that is ahead": {
			alter: func(o *testidp.ResponseOptions) {
				o.AlterResponse = func(r *saml.Response) { r.IssueInstant = r.IssueInstant.Add(7 * time.Minute) }
			},
			code: "issue_instant_invalid",
			says: []string{"NTP", "the gateway's clock is 7m0s behind"},
		},
		"no signature": {
			alter: func(o *testidp.ResponseOptions) { o.Signing = testidp.SignNothing },
			code:  "signature_missing",
			says:  []string{"switch signing of the assertion on", "Signed nothing"},
		},
		"SHA-1": {
			alter: func(o *testidp.ResponseOptions) {
				o.SignatureMethod = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
			},
			code: "algorithm_not_allowed",
			says: []string{"choose RSA-SHA256"},
		},
		"another request": {
			alter: func(o *testidp.ResponseOptions) { o.InResponseTo = "id-of-another" },
			code:  "in_response_to_mismatch",
			says:  []string{"answers another request", "id-of-another differs"},
		},
		"no request": {
			alter: func(o *testidp.ResponseOptions) { o.InResponseTo = "" },
			config: func(c *tenantconfig.Config) {
				c.ServiceProvider.IDPInitiated = tenantconfig.IDPInitiatedAccept
			},
			code: "unsolicited_response",
			says: []string{"does not say which request it answers", "Start the test on this page"},
		},
		"a reply URL that Entra ID does not know": {
			alter: status("AADSTS50011: The redirect URI does not match.\r\nTrace ID: 0000aaaa", "Requester"),
			code:  "status_not_success",
			says: []string{
				"The reply URL does not match", "enter " + acsURL(acme) + " as Reply URL (Assertion Consumer Service URL)",
				"Error of Entra ID AADSTS50011", "Status of the identity provider (not verified) Requester", "Trace ID: 0000aaaa",
			},
			german: "Die Antwort-URL passt zu keiner",
		},
		"a user who is not assigned": {
			alter: status("AADSTS50105: The signed in user is not assigned to a role.", "Responder"),
			code:  "status_not_success",
			says:  []string{"The user is not assigned to the application", "Users and groups"},
		},
		"an error of Entra ID that is not in the list": {
			alter: status("AADSTS99999999: Something new.", "Responder", "RequestDenied"),
			code:  "status_not_success",
			says:  []string{"AADSTS99999999 not in this list", "https://login.microsoftonline.com/error", "refuses it, mostly since the user may not use this application"},
		},
		"a NameID format that there is not": {
			alter: status("", "Requester", "InvalidNameIDPolicy"),
			code:  "status_not_success",
			says:  []string{"Take spec.serviceProvider.nameIDFormat out of the manifest", "Requester InvalidNameIDPolicy"},
		},
		"no way to authenticate": {
			alter: status("", "Responder", "NoAuthnContext"),
			code:  "status_not_success",
			says:  []string{"Take spec.serviceProvider.requestedAuthnContext out of the manifest"},
		},
		"no user ID": {
			config: func(c *tenantconfig.Config) {
				c.AttributeMapping.UserID, c.AttributeMapping.UserIDRequired = []string{"employeeID"}, true
			},
			code: "user_id_missing",
			says: []string{
				"The attribute that has to identify the user was not sent",
				"attributeMapping.userID not found; it may be in: http://schemas.microsoft.com/identity/claims/objectidentifier employeeID",
				"No: nobody knows who it is", "The attributes identify the user failed", "It was not used before passed",
			},
		},
		"a transient NameID": {
			alter: func(o *testidp.ResponseOptions) {
				o.NameIDFormat = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
			},
			code: "nameid_transient",
			says: []string{"another one at each sign-in", "spec.attributeMapping.userID", "nameid-format:transient"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.config == nil {
				c.config = func(*tenantconfig.Config) {}
			}
			w := newWorld(t, administered, configured(c.config))
			p := w.person()
			var alter []func(*testidp.ResponseOptions)
			if c.alter != nil {
				alter = append(alter, c.alter)
			}
			a := p.runTest(alter...)
			text := a.text()
			assert.Equal(t, http.StatusOK, a.StatusCode)
			assert.Contains(t, text, "The sign-in does not work")
			assert.Contains(t, text, "Code "+c.code)
			assert.Contains(t, text, "Next step:")
			for _, shown := range c.says {
				assert.Contains(t, text, shown)
			}
			assert.False(t, p.signedIn(acme))
			assert.Equal(t, c.code, w.log.lastCode(t))
			if c.german == "" {
				return
			}
			request, relayState := p.asked(p.openTest(w.testLink(acme)))
			r := p.postRequest(acme, w.issue(acme, acme, request.ID, alter...), relayState)
			r.Header.Set("Accept-Language", "de")
			assert.Contains(t, p.do(r).text(), c.german)
		})
	}
}

// The connection is good, and the tenant's own rules keep the user out.
func TestConnectionTestOfSomebodyWhoIsKeptOut(t *testing.T) {
	for name, c := range map[string]struct {
		config func(*tenantconfig.Config)
		user   func(*testidp.User)
		code   string
		title  string
		says   []string
	}{
		"no allowed group": {
			config: func(c *tenantconfig.Config) { c.Authorization.AllowedGroups = []string{"admins"} },
			code:   "group_not_allowed",
			says: []string{
				"spec.authorization.allowedGroups in the manifest, letter by letter", "Groups staff a,b%",
				"authorization.allowedGroups admins The user is in none of the groups", "authorization.allowedEmailDomains not set lets the user in",
				"The rules of the manifest let the user in failed",
			},
		},
		"no groups, but an attribute that looks like them": {
			config: func(c *tenantconfig.Config) { c.Authorization.AllowedGroups = []string{"admins"} },
			user: func(u *testidp.User) {
				u.Groups, u.Attributes = nil, map[string][]string{"https://acme.example/claims/userGroups": {"admins"}}
			},
			code: "group_not_allowed",
			says: []string{"attributeMapping.groups not found; it may be in: https://acme.example/claims/userGroups", "No groups were sent"},
		},
		"too many groups": {
			config: func(c *tenantconfig.Config) {
				c.AttributeMapping.TolerateGroupOverage = true
				c.Authorization.AllowedGroups = []string{"staff"}
			},
			user: func(u *testidp.User) { u.Groups = manyGroups(151) },
			code: "group_overage",
			says: []string{"more than 150 groups", "Groups assigned to the application"},
		},
		"another domain": {
			config: func(c *tenantconfig.Config) { c.Authorization.AllowedEmailDomains = []string{"acme.com"} },
			code:   "email_domain_not_allowed",
			says:   []string{"Add the domain to spec.authorization.allowedEmailDomains"},
		},
		"no e-mail address": {
			config: func(c *tenantconfig.Config) {
				c.Authorization.AllowedEmailDomains, c.AttributeMapping.Email = []string{"acme.example"}, []string{"mail"}
			},
			code: "email_missing",
			says: []string{"attributeMapping.email not found; it may be in: " + testidp.ClaimEmail + " mail"},
		},
		"users that are there only": {
			config: func(c *tenantconfig.Config) { c.Provisioning.Mode = tenantconfig.ProvisioningExisting },
			code:   "user_unknown",
			says:   []string{"set spec.provisioning.mode: JustInTime", "mode: Existing", "The user is there, or may be created failed"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, administered, configured(c.config))
			if c.user != nil {
				u := testidp.User{Name: alice, Password: password, NameID: "alice@acme.example", Email: "alice@acme.example", DisplayName: "Alice Adams"}
				c.user(&u)
				w.idps[acme].SetUser(u)
			}
			p := w.person()
			text := p.runTest().text()
			assert.Contains(t, text, "The connection works, but this user is not let in")
			assert.Contains(t, text, "Code "+c.code)
			for _, shown := range c.says {
				assert.Contains(t, text, shown)
			}
			assert.False(t, p.signedIn(acme))
		})
	}
}

// Groups that were withheld identify nobody wrongly: without tolerance that is a
// failure of the connection.
func TestConnectionTestWithWithheldGroups(t *testing.T) {
	w := newWorld(t, administered)
	w.idps[acme].SetUser(testidp.User{Name: alice, Password: password, NameID: "alice@acme.example", Groups: manyGroups(151)})
	text := w.person().runTest().text()
	assert.Contains(t, text, "Code group_overage")
	assert.Contains(t, text, "Groups assigned to the application")
}

// What nobody has signed is set apart, says nothing of the user, and is escaped
// and bounded: an attacker may have sent it to the administrator.
func TestConnectionTestDoesNotBelieveAForgery(t *testing.T) {
	stranger, err := testidp.NewKey(testidp.KeyOptions{CommonName: "<script>alert(1)</script>"})
	require.NoError(t, err)
	w := newWorld(t, administered)
	long := strings.Repeat("x", 5000)
	a := w.person().runTest(func(o *testidp.ResponseOptions) {
		o.Key = stranger
		o.Audience = `"><img src=x onerror=alert(1)>` + long
		o.AlterAssertion = func(a *saml.Assertion) { a.Subject.NameID.Value = "chief@acme.example" }
	})
	assert.Contains(t, a.text(), "Code unknown_signing_key")
	assert.Contains(t, a.body, `<section class="doubtful">`)
	assert.Contains(t, a.text(), "copy nothing from it into the manifest")
	for _, hidden := range []string{"<img", "<script>alert", "chief@acme.example", "Adams", long[:300]} {
		assert.NotContains(t, a.body, hidden)
	}
}

// What is encrypted is shown only if all of it was verified. Otherwise whoever
// may test could read what was sent to somebody else.
func TestConnectionTestTellsNothingOfWhatIsEncrypted(t *testing.T) {
	key, certificate := newKeyPair(t)
	w := newWorld(t, administered, func(w *world, _ *gateway.Options) {
		w.writeFile(acme, tenantconfig.FileKey, key)
		w.writeFile(acme, tenantconfig.FileCertificate, certificate)
	})
	encrypted := func(o *testidp.ResponseOptions) { o.EncryptionCertificate = parseCertificate(t, certificate) }
	p := w.person()
	text := p.runTest(encrypted).text()
	assert.Contains(t, text, "The sign-in works")
	assert.Contains(t, text, "The assertion could be decrypted passed")

	a := p.runTest(encrypted, func(o *testidp.ResponseOptions) { o.Audience = "https://globex.example" })
	assert.Contains(t, a.text(), "Code audience_mismatch")
	for _, hidden := range []string{"alice@", "Adams", testidp.ClaimEmail} {
		assert.NotContains(t, a.body, hidden)
	}

	_, wrong := newKeyPair(t)
	unsigned := func(o *testidp.ResponseOptions) { o.Signing = testidp.SignNothing }
	for _, alter := range [][]func(*testidp.ResponseOptions){
		{func(o *testidp.ResponseOptions) { o.EncryptionCertificate = parseCertificate(t, wrong) }},
		{encrypted, unsigned},
	} {
		text := p.runTest(alter...).text()
		assert.Contains(t, text, "Code decryption_failed")
		assert.Contains(t, text, "The assertion could be decrypted failed Signature of the assertion, by a trusted key not made")
	}
}

// Who has neither a link nor the role gets nothing, and neither does a link of
// another tenant, of yesterday, or of another kind.
func TestConnectionTestIsForAdministrators(t *testing.T) {
	w := newWorld(t, administered, configured(func(c *tenantconfig.Config) {
		c.Authorization.RoleMappings = []tenantconfig.RoleMapping{{Group: "staff", Role: "support"}, {Group: "owners", Role: "owner"}}
		c.Authorization.TestRole = "support"
	}))
	closed := func(a answer) {
		t.Helper()
		assert.Equal(t, http.StatusForbidden, a.StatusCode)
		assert.Contains(t, a.text(), "This page is for administrators")
		assert.Contains(t, a.text(), "kubectl saml check")
		assert.NotContains(t, a.body, entityID(acme))
	}
	p := w.person()
	closed(p.get(site(acme) + "/saml/test"))
	closed(p.get(strings.Replace(w.testLink(acme), host(acme), host(globex), 1)))
	_, relayState := p.login(acme, "/")
	var pending string
	for _, cookie := range p.cookies(acme) {
		if strings.HasSuffix(cookie.Name, relayState) {
			pending = cookie.Value
		}
	}
	require.NotEmpty(t, pending)
	closed(p.get(site(acme) + "/saml/test?key=" + pending))

	// A page of another site cannot begin a test, even with the key.
	page := p.get(w.testLink(acme))
	closed(p.pressTest(page, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"))
	w.clock.advance(time.Hour - time.Second)
	p.asked(p.pressTest(page))
	w.clock.advance(time.Second)
	closed(p.pressTest(page))

	// By the role it opens, and by no other.
	p = w.person()
	p.signIn(acme)
	request, relayState := p.asked(p.pressTest(p.get(site(acme) + "/saml/test")))
	a := p.post(acme, w.issue(acme, acme, request.ID), relayState)
	assert.Contains(t, a.text(), "The sign-in works")
	p.asked(p.pressTest(a))
	w.idps[acme].SetUser(testidp.User{Name: alice, Password: password, NameID: "alice@acme.example", Groups: []string{"owners"}})
	other := w.person()
	other.signIn(acme)
	closed(other.get(site(acme) + "/saml/test"))

	_, err := w.administration().TestLink(t.Context(), "nobody")
	assert.ErrorContains(t, err, "serves no tenant of this name")
}

// A test and a sign-in of one browser do not become one another, whatever
// RelayState comes with the answer.
func TestConnectionTestIsNoSignIn(t *testing.T) {
	w := newWorld(t, administered)
	p := w.person()
	signIn, signInState := p.login(acme, "/reports")
	test, _ := p.asked(p.openTest(w.testLink(acme)))
	a := p.post(acme, w.issue(acme, acme, test.ID), signInState)
	assert.Equal(t, "in_response_to_mismatch", w.log.lastCode(t))
	assert.False(t, p.signedIn(acme))
	assert.NotContains(t, a.text(), "Difference of the clocks", "the page for users stays as it is")
	a = p.post(acme, w.issue(acme, acme, test.ID), "lost by the identity provider")
	assert.Contains(t, a.text(), "The sign-in works")
	assert.False(t, p.signedIn(acme))

	_, testState := p.asked(p.openTest(w.testLink(acme)))
	a = p.post(acme, w.issue(acme, acme, signIn), testState)
	assert.Contains(t, a.text(), "Code in_response_to_mismatch")
	assert.False(t, p.signedIn(acme))
	assert.Equal(t, http.StatusSeeOther, p.post(acme, w.issue(acme, acme, signIn), signInState).StatusCode)
	assert.True(t, p.signedIn(acme))
}

// An IdP that does not ask again is told of; where the tenant insists, the
// sign-in fails.
func TestConnectionTestTellsOfAnOldSignIn(t *testing.T) {
	old := func(o *testidp.ResponseOptions) {
		o.AlterAssertion = func(a *saml.Assertion) { a.AuthnStatements[0].AuthnInstant = a.IssueInstant.Add(-time.Hour) }
	}
	text := newWorld(t, administered).person().runTest(old).text()
	assert.Contains(t, text, "The sign-in works")
	assert.Contains(t, text, "did not ask the user to sign in anew")
	insisting := newWorld(t, administered, configured(func(c *tenantconfig.Config) { c.ServiceProvider.ForceAuthn = true }))
	text = insisting.person().runTest(old).text()
	assert.Contains(t, text, "The sign-in does not work")
	assert.Contains(t, text, "take spec.serviceProvider.forceAuthn out of the manifest")
}

// Somebody whom an administrator has disabled is seen to be so, and a user who is
// there is not changed.
func TestConnectionTestLeavesUsersAlone(t *testing.T) {
	w := newWorld(t, administered)
	p := w.person()
	p.signIn(acme)
	assert.Contains(t, w.person().runTest().text(), "the user is there already")
	client := w.administration()
	users, err := client.Users(t.Context(), acme, administration.UserFilter{})
	require.NoError(t, err)
	require.Len(t, users, 1)
	assert.EqualValues(t, 1, users[0].SignIns)
	_, err = client.SetUserDisabled(t.Context(), acme, users[0].ID, true)
	require.NoError(t, err)
	text := w.person().runTest().text()
	assert.Contains(t, text, "Code user_disabled")
	assert.Contains(t, text, "kubectl saml enable-user")
}

func TestConnectionTestIsAudited(t *testing.T) {
	lines := &logBuffer{}
	w := newWorld(t, administered, audited(lines))
	p := w.person()
	p.runTest()
	p.runTest(func(o *testidp.ResponseOptions) { o.Audience = "https://other.example" })
	var entries []administration.AuditEntry
	for _, e := range auditEntries(t, lines) {
		if e.Event == "connection-test" {
			entries = append(entries, e)
		}
	}
	require.Len(t, entries, 2)
	assert.Equal(t, "success", entries[0].Outcome)
	assert.NotEmpty(t, entries[0].AssertionID)
	assert.Equal(t, "refused", entries[1].Outcome)
	assert.Equal(t, "audience_mismatch", entries[1].Code)
	assert.Empty(t, entries[1].AssertionID)
	for _, e := range entries {
		assert.Equal(t, acme, e.Tenant)
		assert.NotEmpty(t, e.RequestID)
		assert.NotEmpty(t, e.SupportID)
		assert.Empty(t, e.User)
	}
	assert.Contains(t, lines.all(), `"action":"create_test_link"`)
	assert.NotContains(t, lines.all(), "alice")
}

func TestConnectionTestOfADisabledTenant(t *testing.T) {
	w := newWorld(t, administered)
	link := w.testLink(acme)
	c := w.config(acme)
	c.Disabled = true
	w.write(c)
	p := w.person()
	w.eventually("access is switched off", func() bool { return strings.Contains(p.get(link).text(), "Access is switched off") })
}
