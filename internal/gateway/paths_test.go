package gateway_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/crewjam/saml"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/gateway/authz"
	"cequence.cloud/saml-operator/internal/gateway/pathrules"
	"cequence.cloud/saml-operator/internal/gateway/upstreams"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

// pathRules gives the gateway rules of its owner.
func pathRules(text string) func(*world, *gateway.Options) {
	return func(w *world, o *gateway.Options) {
		rules, err := pathrules.Read([]byte(text))
		if err != nil {
			w.t.Fatal(err)
		}
		o.Paths = rules
	}
}

// verdict is what becomes of a request to the application.
type verdict struct {
	status   int
	location string
	// problem is what a program is told.
	problem string
	// user is who the application is told of; told says whether it is asked at all.
	user string
	told bool
}

// mode is a way in which requests come to the gateway. A program accepts JSON.
type mode func(p *person, path string, program bool) verdict

// modes are all ways to the one decision.
func (w *world) modes() map[string]mode {
	accept := map[bool]string{false: "text/html", true: "application/json"}
	of := func(a answer) verdict {
		v := verdict{status: a.StatusCode, location: a.Header.Get("Location")}
		var said struct{ Error string }
		if json.Unmarshal([]byte(a.body), &said) == nil {
			v.problem = said.Error
		}
		return v
	}
	envoy := authv3.NewAuthorizationClient(w.envoy(func() error { return nil }))
	return map[string]mode{
		"proxy": func(p *person, path string, program bool) verdict {
			a := p.get(site(acme)+path, "Accept", accept[program], "X-Auth-Request-User", "root")
			v := of(a)
			if a.StatusCode == http.StatusOK {
				e := decodeEcho(p.t, a.body)
				v.told, v.user = true, e.Header.Get("X-Auth-Request-User")
				if e.URI != path {
					p.t.Errorf("%s was passed on as %s", path, e.URI)
				}
			}
			return v
		},
		"forward authentication": func(p *person, path string, program bool) verdict {
			a := p.forwarded(authz.RedirectPath, "X-Forwarded-Uri", path, "Accept", accept[program], "X-Auth-Request-User", "root")
			v := of(a)
			if a.StatusCode == http.StatusOK {
				v.told, v.user = len(a.Header.Values("X-Auth-Request-User")) == 1, a.Header.Get("X-Auth-Request-User")
			}
			return v
		},
		"ext_authz": func(p *person, path string, program bool) verdict {
			header := map[string]string{"accept": accept[program], "x-auth-request-user": "root"}
			if cookies := p.cookies(acme); len(cookies) > 0 {
				header["cookie"] = cookies[0].String()
			}
			response, err := envoy.Check(p.t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
				Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: host(acme), Path: path, Headers: header}},
			}})
			if err != nil {
				p.t.Fatal(err)
			}
			if ok := response.GetOkResponse(); ok != nil {
				user, told := values(ok.GetHeaders())["x-auth-request-user"]
				return verdict{status: http.StatusOK, user: user, told: told}
			}
			denied := response.GetDeniedResponse()
			v := verdict{status: int(denied.GetStatus().GetCode()), location: values(denied.GetHeaders())["location"]}
			var said struct{ Error string }
			if json.Unmarshal([]byte(denied.GetBody()), &said) == nil {
				v.problem = said.Error
			}
			return v
		},
	}
}

const gatewayRules = `
paths:
- {path: /status, access: Public}
- {path: /open, access: TenantDecides}
- {path: /ops, roles: [operator]}
`

// withRules gives acme rules, and the role "admin" to alice's group.
func withRules(c *tenantconfig.Config) {
	c.Authorization.RoleMappings = []tenantconfig.RoleMapping{{Group: "staff", Role: "admin"}, {Group: "owners", Role: "owner"}}
	c.Application.Paths = []tenantconfig.PathRule{
		{Path: "/admin", Roles: []string{"admin", "other"}},
		{Path: "/owners", Roles: []string{"owner"}},
		{Path: "/keys", FreshSignIn: 600},
		{Path: "/open", Public: true},
		{Path: "/closed", Public: true},
		{Path: "/status/members"},
	}
}

// Row T14: one decision by the rules, whoever passes requests on.
func TestT14_PathRules(t *testing.T) {
	w := newWorld(t, forwardAuthFrom("127.0.0.1/32"), pathRules(gatewayRules), configured(withRules))
	stranger, p := w.person(), w.person()
	p.signIn(acme)
	w.clock.advance(15 * time.Minute)
	const alice = "alice@acme.example"
	in, anonymous := verdict{status: 200, user: alice, told: true}, verdict{status: 200, told: true}
	login := verdict{status: 302, location: "/saml/login?return_to="}
	fresh := verdict{status: 302, location: "/saml/login?forceAuthn=true&return_to="}
	program, role, ambiguous := verdict{status: 401, problem: "sign_in_required"}, verdict{status: 403, problem: "role_missing"}, verdict{status: 400, problem: "path_ambiguous"}
	modes := w.modes()
	// What a person is told, a program of the person's, and a stranger.
	for path, want := range map[string][3]verdict{
		"/":                           {in, in, login},
		"/status":                     {in, in, anonymous},
		"/status/a?b=%2F":             {in, in, anonymous},
		"/STATUS":                     {in, in, login},
		"/%73tatus":                   {in, in, login},
		"/status/members":             {in, in, login},
		"/open/a":                     {in, in, anonymous},
		"/closed":                     {in, in, login},
		"/admin":                      {in, in, login},
		"/admin/%61?x=y":              {in, in, login},
		"/owners":                     {{status: 403}, role, login},
		"/owners/x.json":              {{status: 403}, role, login},
		"/OWNERS/%61":                 {{status: 403}, role, login},
		"/%6Fwners":                   {{status: 403}, role, login},
		"/owners.json":                {{status: 403}, role, login},
		"/ops":                        {{status: 403}, role, login},
		"/keys/1":                     {fresh, {status: 401, problem: "fresh_sign_in_required"}, login},
		"/status//owners":             {{status: 400}, ambiguous, {status: 400}},
		"/status%2Fowners":            {{status: 400}, ambiguous, {status: 400}},
		"/status/%252e%252e/owners":   {{status: 400}, ambiguous, {status: 400}},
		"/status/.%25zz./owners":      {{status: 400}, ambiguous, {status: 400}},
		"/status;/owners":             {{status: 400}, ambiguous, {status: 400}},
		"/status/..;/owners":          {{status: 400}, ambiguous, {status: 400}},
		"/status%5C..%5Cowners":       {{status: 400}, ambiguous, {status: 400}},
		"/status/%C0%AE%C0%AE/owners": {{status: 400}, ambiguous, {status: 400}},
		"/owners%00":                  {{status: 400}, ambiguous, {status: 400}},
	} {
		for name, ask := range modes {
			for i, got := range []verdict{ask(p, path, false), ask(p, path, true), ask(stranger, path, false)} {
				expected := want[i]
				if expected.location != "" {
					expected.location += url.QueryEscape(path)
					if name != "proxy" {
						expected.location = site(acme) + expected.location
					}
				}
				if got != expected {
					t.Errorf("%s of %s (%d): got %+v, want %+v", name, path, i, got, expected)
				}
			}
			if got := ask(stranger, path, true); got.told != want[2].told || !got.told && got != program && got != ambiguous {
				t.Errorf("%s of %s by a stranger's program: %+v", name, path, got)
			}
		}
	}
	for _, status := range w.gateway.Tenants() {
		if told := strings.HasSuffix(status.Problem, "(--path-rules-file): /closed"); told != (status.Tenant == acme) {
			t.Errorf("status: %+v", status)
		}
	}
	// nginx knows no other refusals than 401 and 403.
	for path, want := range map[string]int{"/a%2Fb": 403, "/status/ü": 403, "/status/%C3\xbc": 403, "/status/%C3%BC": 200, "/owners": 403, "/keys": 401, "/status": 200} {
		if a := p.forwarded(authz.Path, "X-Forwarded-Uri", path); a.StatusCode != want {
			t.Errorf("nginx is told %d of %s, want %d", a.StatusCode, path, want)
		}
	}
	// Rules of one tenant are nothing to another, without any all paths are as ever.
	other := w.person()
	other.signIn(globex)
	if a := other.get(site(globex) + "/owners"); a.StatusCode != http.StatusOK {
		t.Errorf("another tenant: %d", a.StatusCode)
	}
}

// Without rules no path is refused.
func TestPathsWithoutRules(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	for _, path := range []string{"/a%2Fb", "/a//b", "/a;b", "/100%25", "/a%00", "/%C0%AE"} {
		if a := p.get(site(acme) + path); a.StatusCode != http.StatusOK || decodeEcho(t, a.body).URI != path {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
}

func TestPublicPathsNeedNobody(t *testing.T) {
	w := newWorld(t, pathRules(gatewayRules))
	stranger, p := w.person(), w.person()
	for _, method := range []string{http.MethodHead, http.MethodOptions, http.MethodPost, http.MethodDelete} {
		r := stranger.request(method, site(acme)+"/status", nil)
		r.Header.Set("Origin", "https://elsewhere.example")
		r.Header.Set("X-Auth-Request-Tenant", acme)
		r.Header.Set("Cookie", "a=b; __Host-saml-session=x")
		a := stranger.do(r)
		if a.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d", method, a.StatusCode)
		}
		if method == http.MethodHead {
			continue
		}
		e := decodeEcho(t, a.body)
		for name := range e.Header {
			if strings.HasPrefix(name, "X-Auth-Request-") {
				t.Errorf("%s: the application is told %s", method, name)
			}
		}
		if e.Header.Get("X-Forwarded-Host") != host(acme) || strings.Contains(e.Header.Get("Cookie"), "__Host") {
			t.Errorf("%s: %v", method, e.Header)
		}
	}
	p.signIn(acme)
	if e := decodeEcho(t, p.get(site(acme)+"/status").body); e.Header.Get("X-Auth-Request-Tenant") != acme {
		t.Errorf("who is signed in is not told: %v", e.Header)
	}
	// Access that is switched off is off.
	c := w.config(acme)
	c.Disabled = true
	w.write(c)
	w.eventually("nobody is let in", func() bool { return stranger.get(site(acme)+"/status").StatusCode == http.StatusForbidden })
}

func TestMissingRole(t *testing.T) {
	lines := &logBuffer{}
	w := newWorld(t, audited(lines), configured(withRules))
	p := w.person()
	p.signIn(acme)
	for language, want := range map[string]string{"en": "has not given you the role", "de": "nicht die Rolle gegeben"} {
		a := p.get(site(acme)+"/owners?a=b", "Accept-Language", language)
		if a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, want) || !strings.Contains(a.body, "/saml/login?forceAuthn=true&amp;return_to=%2Fowners%3Fa%3Db") || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", language, a.StatusCode, a.body)
		}
	}
	entries := auditEntries(t, lines)
	if got := entries[len(entries)-1]; got.Event != "access" || got.Outcome != "refused" || got.Code != "role_missing" || got.Tenant != acme || got.User == "" || got.SupportID == "" {
		t.Errorf("audit log: %+v", got)
	}
	// A change of the roles counts for sessions that go on.
	c := w.config(acme)
	withRules(&c)
	c.Authorization.RoleMappings[0].Role = "owner"
	w.write(c)
	w.eventually("the role counts", func() bool { return p.get(site(acme)+"/owners").StatusCode == http.StatusOK })
	if a := p.get(site(acme) + "/admin"); a.StatusCode != http.StatusForbidden {
		t.Errorf("a role that is gone: %d", a.StatusCode)
	}
}

// A sign-in that a path wants anew is one by credentials.
func TestT14_FreshSignIn(t *testing.T) {
	w := newWorld(t, configured(withRules))
	p := w.person()
	authenticated := func(before time.Duration) func(*testidp.ResponseOptions) {
		return func(o *testidp.ResponseOptions) {
			o.AlterAssertion = func(a *saml.Assertion) { a.AuthnStatements[0].AuthnInstant = w.clock.Now().Add(-before) }
		}
	}
	keys := func() answer { return p.get(site(acme) + "/keys?a=b") }
	p.signIn(acme, authenticated(time.Hour))
	if a := p.get(site(acme) + "/"); a.StatusCode != http.StatusOK {
		t.Fatalf("not signed in: %d", a.StatusCode)
	}
	again := func(alter func(*testidp.ResponseOptions)) answer {
		a := p.get(site(acme) + keys().Header.Get("Location"))
		target, err := a.Location()
		if err != nil {
			t.Fatal(err)
		}
		request := readRequest(t, target)
		if !request.ForceAuthn {
			t.Error("the identity provider need not ask")
		}
		return p.post(acme, w.issue(acme, acme, request.ID, alter), target.Query().Get("RelayState"))
	}
	if a := again(authenticated(time.Hour)); a.StatusCode != http.StatusForbidden || w.log.lastCode(t) != "authentication_too_old" {
		t.Errorf("an identity provider that has not asked: %d", a.StatusCode)
	}
	// Its clock may be behind ours.
	a := again(authenticated(time.Minute))
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/keys?a=b" {
		t.Fatalf("%d %s, log %s", a.StatusCode, a.Header.Get("Location"), w.log.last())
	}
	w.clock.advance(10 * time.Minute)
	if a := keys(); a.StatusCode != http.StatusOK {
		t.Errorf("after 10 minutes: %d", a.StatusCode)
	}
	w.clock.advance(time.Second)
	if a := keys(); a.StatusCode != http.StatusFound {
		t.Errorf("later: %d", a.StatusCode)
	}
}

func tenantUpstreams(list string) func(*world, *gateway.Options) {
	return func(w *world, o *gateway.Options) {
		allowed, err := upstreams.Parse(list)
		if err != nil {
			w.t.Fatal(err)
		}
		o.TenantUpstreams = allowed
	}
}

// ownApplication is acme's.
func ownApplication(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(rw).Encode(echo{Method: "own", Host: r.Host, URI: r.RequestURI, Header: r.Header})
	}))
	t.Cleanup(s.Close)
	return s
}

// Row T15: a tenant's users and who they are go to its own application, and
// nobody else's.
func TestT15_TenantsApplication(t *testing.T) {
	own := ownApplication(t)
	w := newWorld(t, tenantUpstreams("127.0.0.1/32"), pathRules(gatewayRules), forwardAuthFrom("127.0.0.1/32"),
		configured(func(c *tenantconfig.Config) { c.Application.Upstream = own.URL + "/base" }))
	p, other := w.person(), w.person()
	p.signIn(acme)
	other.signIn(globex)
	e := decodeEcho(t, p.get(site(acme)+"/a%20b?c").body)
	if e.Method != "own" || e.URI != "/base/a%20b?c" || e.Host != host(acme) || e.Header.Get("X-Auth-Request-User") != "alice@acme.example" || e.Header.Get("Cookie") != "" {
		t.Errorf("acme: %+v", e)
	}
	if e := decodeEcho(t, other.get(site(globex)+"/a").body); e.Method != http.MethodGet || e.Header.Get("X-Auth-Request-Tenant") != globex {
		t.Errorf("globex: %+v", e)
	}
	if e := decodeEcho(t, w.person().get(site(acme)+"/status").body); e.Method != "own" || e.Header.Get("X-Auth-Request-Tenant") != "" {
		t.Errorf("a public path: %+v", e)
	}
	// A server that asks would pass the request on to another application.
	for name, ask := range w.modes() {
		if name != "proxy" {
			if v := ask(p, "/a", false); v.status != http.StatusForbidden || v.told || w.log.lastCode(t) != "upstream_elsewhere" {
				t.Errorf("%s: %+v", name, v)
			}
		}
	}
	// Back to the gateway's, while the gateway runs.
	w.write(w.config(acme))
	w.eventually("acme has the gateway's application", func() bool { return decodeEcho(t, p.get(site(acme)+"/a").body).Method == http.MethodGet })
}

// Row T15: what the gateway's owner has not allowed is not asked, neither by name
// nor by address.
func TestT15_ApplicationThatIsNotAllowed(t *testing.T) {
	own := ownApplication(t)
	port := own.URL[strings.LastIndex(own.URL, ":")+1:]
	for name, test := range map[string]struct {
		allowed, upstream, code string
	}{
		"nothing is allowed":      {"", own.URL, "upstream_not_allowed"},
		"another is":              {"app.example.com,10.0.0.0/8", own.URL, "upstream_not_allowed"},
		"a name of this machine":  {"127.0.0.0/8", "http://localhost:" + port, "upstream_not_allowed"},
		"an allowed name to here": {"localhost:" + port, "http://localhost:" + port, "upstream_unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tenantUpstreams(test.allowed), configured(func(c *tenantconfig.Config) { c.Application.Upstream = test.upstream }))
			p := w.person()
			p.signIn(acme)
			a := p.get(site(acme) + "/")
			if a.StatusCode != http.StatusBadGateway || w.log.lastCode(t) != test.code || !strings.Contains(a.body, "Support ID") {
				t.Errorf("%d, %s", a.StatusCode, w.log.last())
			}
			for _, status := range w.gateway.Tenants() {
				if told := strings.Contains(status.Problem, "--tenant-upstreams"); told != (status.Tenant == acme && test.code == "upstream_not_allowed") {
					t.Errorf("status: %+v", status)
				}
			}
		})
	}
}
