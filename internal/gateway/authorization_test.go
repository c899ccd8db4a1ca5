package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/crewjam/saml"

	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

// refuse posts a good answer to acme, which refuses its user with a code, a
// page that says whom to ask, and a log that says why.
func (p *person) refuse(code string, alter ...func(*testidp.ResponseOptions)) {
	p.t.Helper()
	requestID, relayState := p.login(acme, "/")
	a := p.post(acme, p.issue(acme, acme, requestID, alter...), relayState)
	var line struct{ Code, Error, SupportID, Tenant string }
	if err := json.Unmarshal([]byte(p.log.last()), &line); err != nil {
		p.t.Fatal(err)
	}
	detail := strings.TrimPrefix(line.Error, code+": ")
	if a.StatusCode != http.StatusForbidden || line.Code != code || line.Tenant != acme || detail == "" {
		p.t.Errorf("%s: status %d, log %s", code, a.StatusCode, p.log.last())
	}
	for _, want := range []string{"ask your organization", "Support ID: <code>" + line.SupportID + "</code>", "/saml/login?forceAuthn=true"} {
		if !strings.Contains(a.body, want) {
			p.t.Errorf("%s: %q is not in the page: %s", code, want, a.body)
		}
	}
	if strings.Contains(a.body, code) || strings.Contains(a.body, detail) {
		p.t.Errorf("%s: the page tells too much: %s", code, a.body)
	}
	if strings.Contains(p.log.last(), "alice") {
		p.t.Errorf("%s: the log names the user: %s", code, p.log.last())
	}
	if a.Header.Get("Set-Cookie") != "" && strings.Contains(a.Header.Get("Set-Cookie"), "__Host-saml-session=") {
		p.t.Errorf("%s: there is a session cookie", code)
	}
}

func TestRulesOfEntry(t *testing.T) {
	staff := tenantconfig.Authorization{AllowedGroups: []string{"staff", "owners"}}
	domain := tenantconfig.Authorization{AllowedEmailDomains: []string{"acme.example"}}
	for _, test := range []struct {
		name, code string
		rules      tenantconfig.Authorization
		alter      func(*testidp.ResponseOptions)
	}{
		{"an allowed group", "", staff, replace(testidp.ClaimGroup, "others", "staff")},
		{"another group", "group_not_allowed", staff, replace(testidp.ClaimGroup, "others", "Staff")},
		{"no group", "group_not_allowed", staff, replace(testidp.ClaimGroup)},
		{"an allowed domain", "", domain, replace(testidp.ClaimEmail, "Alice@ACME.example")},
		{"another domain", "email_domain_not_allowed", domain, replace(testidp.ClaimEmail, "alice@mail.acme.example")},
		{"no e-mail", "email_missing", domain, replace(testidp.ClaimEmail)},
		{"a useless e-mail", "email_missing", domain, replace(testidp.ClaimEmail, "alice@acme.example\nX: y")},
		{"a deceptive e-mail", "email_invalid", domain, replace(testidp.ClaimEmail, "alice@evil.example@acme.example")},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, configured(func(c *tenantconfig.Config) { c.Authorization = test.rules }))
			p := w.person()
			if test.code == "" {
				p.signIn(acme, test.alter)
			} else {
				p.refuse(test.code, test.alter)
			}
			if _, in := p.whoami(acme); in != (test.code == "") {
				t.Errorf("signed in: %t", in)
			}
			// Who is kept out of one tenant may be let in by another.
			w.person().signIn(globex)
		})
	}
}

// Tolerating that groups were withheld lets nobody in whom the rules keep out.
func TestE20_ToleranceIsNoEntry(t *testing.T) {
	w := newWorld(t, configured(func(c *tenantconfig.Config) {
		c.AttributeMapping.TolerateGroupOverage = true
		c.Authorization.AllowedGroups = []string{"staff"}
	}))
	p := w.person()
	withheldBut := func(groups ...string) func(*testidp.ResponseOptions) {
		return func(o *testidp.ResponseOptions) {
			o.AlterAssertion = func(a *saml.Assertion) {
				sent := saml.Attribute{Name: testidp.ClaimGroup}
				for _, group := range groups {
					sent.Values = append(sent.Values, saml.AttributeValue{Value: group})
				}
				link := saml.Attribute{Name: testidp.ClaimGroupsLink, Values: []saml.AttributeValue{{Value: "https://graph.windows.net/x"}}}
				statement := &a.AttributeStatements[0]
				statement.Attributes = append(slices.DeleteFunc(statement.Attributes,
					func(a saml.Attribute) bool { return a.Name == testidp.ClaimGroup }), sent, link)
			}
		}
	}
	p.refuse("group_overage", withheldBut())
	p.refuse("group_overage", withheldBut("others"))
	// What the IdP has sent is as good as ever.
	p.signIn(acme, withheldBut("staff"))
	if who, in := p.whoami(acme); !in || !who.User.GroupsIncomplete {
		t.Errorf("session: %+v, %t", who, in)
	}
}

// A change of the rules counts for sessions that go on, whether their groups are
// in the cookie or in the store.
func TestT11_ChangedRulesCountForRunningSessions(t *testing.T) {
	w := newWorld(t)
	few, many, other := w.person(), w.person(), w.person()
	few.signIn(acme)
	many.signIn(acme, withManyGroups)
	other.signIn(globex)
	rule := func(rules tenantconfig.Authorization) {
		c := w.config(acme)
		c.Authorization = rules
		w.write(c)
	}
	counts := func(what string, want bool) {
		t.Helper()
		for _, p := range []*person{few, many} {
			w.eventually(what, func() bool { _, in := p.whoami(acme); return in == want })
		}
	}
	rule(tenantconfig.Authorization{AllowedGroups: []string{"owners"}})
	counts("a session outside of the groups is over", false)
	// A person is sent to sign in, where the page says why not.
	if a := few.get(site(acme) + "/reports"); a.StatusCode != http.StatusFound || !strings.HasPrefix(a.Header.Get("Location"), "/saml/login?") {
		t.Errorf("status %d, location %s", a.StatusCode, a.Header.Get("Location"))
	}
	few.refuse("group_not_allowed")
	rule(tenantconfig.Authorization{AllowedGroups: []string{"staff"}})
	counts("a session within the groups counts", true)
	rule(tenantconfig.Authorization{AllowedEmailDomains: []string{"globex.example"}})
	counts("a session outside of the domains is over", false)
	rule(tenantconfig.Authorization{})
	counts("a session counts without rules", true)
	if _, in := other.whoami(globex); !in {
		t.Error("a session of another tenant is over")
	}
}

// Row T8: roles are said by the gateway alone, and by the mapping of now.
func TestT8_RolesReachTheApplication(t *testing.T) {
	w := newWorld(t, configured(func(c *tenantconfig.Config) {
		c.Authorization.RoleMappings = []tenantconfig.RoleMapping{
			{Group: "staff", Role: "viewer"}, {Group: "a,b%", Role: "app:admin"}, {Group: "owners", Role: "owner"},
		}
	}))
	few, many, none := w.person(), w.person(), w.person()
	few.signIn(acme)
	many.signIn(acme, withManyGroups)
	none.signIn(acme, replace(testidp.ClaimGroup, "others"))
	roles := func(p *person) []string {
		t.Helper()
		r := p.request(http.MethodGet, site(acme)+"/", nil)
		for _, name := range []string{"X-Auth-Request-Roles", "X_Auth_Request_Roles", "X.Auth-Request_ROLES"} {
			r.Header[name] = []string{"owner"}
		}
		e := decodeEcho(t, p.do(r).body)
		for name := range e.Header {
			if strings.Contains(strings.ToLower(name), "roles") && name != "X-Auth-Request-Roles" {
				t.Errorf("the client's %s reached the application", name)
			}
		}
		return e.Header.Values("X-Auth-Request-Roles")
	}
	for _, p := range []*person{few, many} {
		if got := roles(p); !slices.Equal(got, []string{"viewer,app:admin"}) {
			t.Errorf("roles: %q", got)
		}
		if who, _ := p.whoami(acme); !slices.Equal(who.User.Roles, []string{"viewer", "app:admin"}) {
			t.Errorf("roles of the session: %q", who.User.Roles)
		}
	}
	if got := roles(none); got != nil {
		t.Errorf("roles without a mapped group: %q", got)
	}

	c := w.config(acme)
	c.Authorization.RoleMappings = []tenantconfig.RoleMapping{{Group: "others", Role: "viewer"}}
	w.write(c)
	w.eventually("the mapping has changed", func() bool { return roles(few) == nil && len(roles(none)) == 1 })
}

// Known users alone: a stranger is refused and leaves nothing, and a session of
// before goes on.
func TestT13_ExistingUsersOnly(t *testing.T) {
	w := newWorld(t)
	p, stranger := w.person(), w.person()
	p.signIn(acme)
	c := w.config(acme)
	c.Provisioning.Mode = tenantconfig.ProvisioningExisting
	w.write(c)
	strangers := 0
	as := func(o *testidp.ResponseOptions) { // somebody else each time
		strangers++
		nameID := fmt.Sprintf("stranger-%d@acme.example", strangers)
		o.AlterAssertion = func(a *saml.Assertion) { a.Subject.NameID.Value = nameID }
	}
	w.eventually("strangers are refused", func() bool {
		other := w.person()
		requestID, relayState := other.login(acme, "/")
		return other.post(acme, w.issue(acme, acme, requestID, as), relayState).StatusCode == http.StatusForbidden
	})
	stranger.refuse("user_unknown", as)
	if _, in := stranger.whoami(acme); in {
		t.Error("the stranger is signed in")
	}
	if _, in := p.whoami(acme); !in {
		t.Error("a session of before has ended")
	}
	p.signIn(acme)
	if log := w.log.last(); !strings.Contains(log, `"created":false`) {
		t.Errorf("a known user: %s", log)
	}
}

func TestT13_TenantHasNoMoreUsersThanItMay(t *testing.T) {
	w := newWorld(t, configured(func(c *tenantconfig.Config) { c.Provisioning.MaxUsers = 1 }))
	p, second := w.person(), w.person()
	p.signIn(acme)
	second.refuse("user_limit_reached", func(o *testidp.ResponseOptions) {
		o.AlterAssertion = func(a *saml.Assertion) { a.Subject.NameID.Value = "bob@acme.example" }
	})
	if _, in := second.whoami(acme); in {
		t.Error("one too many is signed in")
	}
	p.signIn(acme)
	w.person().signIn(globex)
}
