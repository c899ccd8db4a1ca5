package gateway_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// raw sends bytes over TLS and returns the response.
func (w *world) raw(lines ...string) answer {
	w.t.Helper()
	conn, err := tls.Dial("tcp", w.server.Listener.Addr().String(), &tls.Config{RootCAs: w.roots, ServerName: host(acme), MinVersion: tls.VersionTLS12})
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")); err != nil {
		w.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{response, string(body)}
}

// Row T8.
func TestT8_HeadersCannotBeSpoofed(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	cookie := p.cookies(acme)[0].String()
	a := w.raw(
		"POST /path HTTP/1.1",
		"Host: "+host(acme),
		"Cookie: a=1; "+cookie+"; b=2",
		"Cookie: __Host-saml-request-x=y; __HOST-SAML-other=z;c=3",
		"X-Auth-Request-User: root",
		"x-auth-request-user: root",
		"X_Auth_Request_User: root",
		"X-Auth_Request-EMAIL: root",
		"X.Auth.Request.Groups: root",
		"X-Auth-Request-Roles: root",
		"X-Forwarded-User: root",
		"X-Forwarded-For: 6.6.6.6",
		"X_Forwarded_Host: evil.example",
		"X-Forwarded-Uri: /evil",
		"Forwarded: for=6.6.6.6",
		"X-Real-IP: 6.6.6.6",
		"Remote-User: root",
		"X-Remote-Group: root",
		"X-Client-IP: 6.6.6.6",
		"X-Cluster-Client-IP: 6.6.6.6",
		"True-Client-IP: 6.6.6.6",
		"CF-Connecting-IP: 6.6.6.6",
		"Fastly-Client-IP: 6.6.6.6",
		"X-Original-URL: /evil",
		"X_Original_URI: /evil",
		"X-Original-Host: evil.example",
		"X-Rewrite-URL: /evil",
		"X-Harmless: kept",
		"Connection: close, X-Auth-Request-User, X-Auth-Request-Tenant, Cookie",
		"Transfer-Encoding: chunked",
		"Trailer: X-Auth-Request-User",
		"", "4", "body", "0", "X-Auth-Request-User: root", "", "")
	if a.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", a.StatusCode, a.body)
	}
	e := decodeEcho(t, a.body)
	for name, values := range e.Header {
		for _, value := range values {
			if strings.Contains(value, "root") || strings.Contains(value, "6.6.6.6") || strings.Contains(value, "evil") {
				t.Errorf("the application got %s: %s", name, value)
			}
			if strings.Contains(strings.ToLower(value), "__host-saml") {
				t.Errorf("the application got our cookies: %s", value)
			}
		}
	}
	for name, want := range map[string]string{
		"X-Auth-Request-User": "alice@acme.example", "X-Auth-Request-Tenant": acme,
		"X-Harmless": "kept", "X-Forwarded-For": "127.0.0.1",
	} {
		if got := e.Header.Values(name); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if e.Body != "body" {
		t.Errorf("body: %q", e.Body)
	}
	// What the application may set, and what not.
	if cookies := a.Header.Values("Set-Cookie"); !slices.Equal(cookies, []string{"app=1; Path=/"}) {
		t.Errorf("cookies in the response: %q", cookies)
	}
}

// Row T10: through a connection that the application has upgraded to HTTP/2 in
// plain text, a user could send requests in anybody's name.
func TestOnlyWebSocketsAreUpgraded(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	for protocol, want := range map[string]string{"h2c": "", "websocket": "websocket", "WebSocket": "WebSocket", "h2c, websocket": "", "TLS/1.0": ""} {
		r := p.request(http.MethodGet, site(acme)+"/", nil)
		r.Header.Set("Connection", "Upgrade, HTTP2-Settings")
		r.Header.Set("Upgrade", protocol)
		r.Header.Set("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA")
		e := decodeEcho(t, p.do(r).body)
		if got := e.Header.Get("Upgrade"); got != want || e.Header.Get("HTTP2-Settings") != "" {
			t.Errorf("upgrade to %q reached the application as %q", protocol, got)
		}
	}
}

// The application makes links and looks tenants up by the host.
func TestApplicationSeesTheTenantsOwnHost(t *testing.T) {
	w := newWorld(t)
	c := w.config(globex)
	c.ServiceProvider.SignOnURL = "https://" + host(globex) + ":8443"
	w.write(c)
	for tenant, want := range map[string]string{acme: host(acme), globex: host(globex) + ":8443"} {
		p := w.person()
		p.signIn(tenant)
		for _, spelled := range []string{host(tenant), host(tenant) + ":9999", strings.ToUpper(host(tenant)) + ".", host(tenant) + ".:443"} {
			r := p.request(http.MethodGet, site(tenant)+"/", nil)
			r.Host = spelled
			seen := func() echo { return decodeEcho(t, p.do(r.Clone(t.Context())).body) }
			w.eventually("the configuration is served", func() bool { return seen().Host == want })
			if e := seen(); e.Header.Get("X-Forwarded-Host") != want {
				t.Errorf("%s: X-Forwarded-Host is %q, want %q", spelled, e.Header.Get("X-Forwarded-Host"), want)
			}
		}
	}
}

// Users' identity goes to the application and nowhere else.
func TestProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	w := newWorld(t, func(w *world, o *gateway.Options) {
		// Go makes an exception for loopback addresses, but does not know this
		// for one.
		o.Upstream = &url.URL{Scheme: "http", Host: strings.Replace(w.app.Listener.Addr().String(), "127.0.0.1", "0.0.0.0", 1)}
	})
	p := w.person()
	p.signIn(acme)
	if a := p.get(site(acme) + "/"); a.StatusCode != http.StatusOK || decodeEcho(t, a.body).Header.Get("X-Auth-Request-User") == "" {
		t.Errorf("status %d: %s", a.StatusCode, a.body)
	}
	if n := proxied.Load(); n != 0 {
		t.Errorf("%d requests went to the proxy", n)
	}
}

func TestOnlyOwnPagesInsistOnTLS(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	const header = "Strict-Transport-Security"
	for _, accept := range []string{"text/html", "*/*"} {
		if got := p.get(site(acme)+"/", "Accept", accept).Header.Get(header); got != "max-age=31536000" {
			t.Errorf("without a session, %s: %q", accept, got)
		}
	}
	p.signIn(acme)
	if got := p.get(site(acme) + "/").Header.Get(header); got != "" {
		t.Errorf("the application's page: %q", got)
	}
	w.app.Close()
	if got := p.get(site(acme) + "/").Header.Get(header); got != "max-age=31536000" {
		t.Errorf("without the application: %q", got)
	}
}

func TestOtherCookiesReachTheApplication(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	r := p.request(http.MethodGet, site(acme)+"/", nil)
	r.Header.Set("Cookie", `odd="a b"; x=y=z`)
	e := decodeEcho(t, p.do(r).body)
	if got := e.Header.Get("Cookie"); got != `odd="a b"; x=y=z` {
		t.Errorf("got %q", got)
	}
}

// Row T4.
func TestT4_HostHeader(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		name    string
		request []string
		status  int
		tenant  string
	}{
		{"plain", []string{"GET /saml/metadata HTTP/1.1", "Host: acme.s.localhost"}, 200, acme},
		{"another", []string{"GET /saml/metadata HTTP/1.1", "Host: globex.s.localhost"}, 200, globex},
		{"upper case, port, dot", []string{"GET /saml/metadata HTTP/1.1", "Host: ACME.S.Localhost.:443"}, 200, acme},
		{"any port", []string{"GET /saml/metadata HTTP/1.1", "Host: acme.s.localhost:8443"}, 200, acme},
		{"absolute form wins", []string{"GET https://globex.s.localhost/saml/metadata HTTP/1.1", "Host: acme.s.localhost"}, 200, globex},
		{"forwarded host is nothing", []string{"GET /saml/metadata HTTP/1.1", "Host: acme.s.localhost", "X-Forwarded-Host: globex.s.localhost", "Forwarded: host=globex.s.localhost"}, 200, acme},
		{"two hosts", []string{"GET /saml/metadata HTTP/1.1", "Host: acme.s.localhost", "Host: globex.s.localhost"}, 400, ""},
		{"none", []string{"GET /saml/metadata HTTP/1.1"}, 400, ""},
		{"empty", []string{"GET /saml/metadata HTTP/1.1", "Host:"}, 404, ""},
		{"unknown", []string{"GET /saml/metadata HTTP/1.1", "Host: unknown.s.localhost"}, 404, ""},
		{"a suffix", []string{"GET /saml/metadata HTTP/1.1", "Host: x.acme.s.localhost"}, 404, ""},
		{"the base domain", []string{"GET /saml/metadata HTTP/1.1", "Host: s.localhost"}, 404, ""},
		{"an address", []string{"GET /saml/metadata HTTP/1.1", "Host: 127.0.0.1"}, 404, ""},
		{"an IPv6 address", []string{"GET /saml/metadata HTTP/1.1", "Host: [::1]:443"}, 404, ""},
		{"a port that is none", []string{"GET /saml/metadata HTTP/1.1", "Host: acme.s.localhost:evil"}, 404, ""},
	} {
		a := w.raw(append(test.request, "Connection: close", "", "")...)
		if a.StatusCode != test.status {
			t.Errorf("%s: status %d, want %d", test.name, a.StatusCode, test.status)
		}
		for _, tenant := range []string{acme, globex} {
			if got := strings.Contains(a.body, entityID(tenant)); got != (tenant == test.tenant) {
				t.Errorf("%s: metadata of %s: %v", test.name, tenant, got)
			}
		}
	}
}

func TestT12_OwnEndpoints(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	for _, test := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{http.MethodGet, "/saml/metadata", http.StatusOK, ""},
		{http.MethodHead, "/saml/metadata", http.StatusOK, ""},
		{http.MethodPost, "/saml/metadata", http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodGet, "/saml/jwks", http.StatusOK, ""},
		{http.MethodHead, "/saml/jwks", http.StatusOK, ""},
		{http.MethodPost, "/saml/jwks", http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodPost, "/saml/login", http.StatusMethodNotAllowed, "GET"},
		{http.MethodGet, "/saml/acs", http.StatusForbidden, ""},
		{http.MethodPut, "/saml/acs", http.StatusMethodNotAllowed, "GET, POST"},
		{http.MethodGet, "/saml/logout", http.StatusOK, ""},
		{http.MethodDelete, "/saml/logout", http.StatusMethodNotAllowed, "GET, POST"},
		{http.MethodPut, "/saml/slo", http.StatusMethodNotAllowed, "GET, POST"},
		{http.MethodGet, "/saml", http.StatusNotFound, ""},
		{http.MethodGet, "/saml/", http.StatusNotFound, ""},
		{http.MethodGet, "/saml/other", http.StatusNotFound, ""},
		{http.MethodGet, "/saml//acs", http.StatusNotFound, ""},
		{http.MethodGet, "/%73aml/other", http.StatusNotFound, ""},
		{http.MethodTrace, "/", http.StatusMethodNotAllowed, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"},
	} {
		a := p.do(p.request(test.method, site(acme)+test.path, nil))
		if a.StatusCode != test.status || a.Header.Get("Allow") != test.allow {
			t.Errorf("%s %s: status %d, Allow %q", test.method, test.path, a.StatusCode, a.Header.Get("Allow"))
		}
		// Row T12, and what keeps our pages from being framed or scripted. The
		// public keys alone may be kept: they are everybody's, and applications
		// ask for them all the time.
		caching := "no-store"
		if test.path == "/saml/jwks" && test.status == http.StatusOK {
			caching = "public, max-age=300"
		}
		for name, want := range map[string]string{
			"Cache-Control": caching, "X-Content-Type-Options": "nosniff", "Strict-Transport-Security": "max-age=31536000",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s %s: %s is %q, want %q", test.method, test.path, name, got, want)
			}
		}
		if csp := a.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%s %s: Content-Security-Policy is %q", test.method, test.path, csp)
		}
	}
	if got := p.get(site(acme) + "/saml/metadata").Header.Get("Content-Type"); got != "application/samlmetadata+xml" {
		t.Errorf("metadata's type is %q", got)
	}
}

func TestA13_PagesEscape(t *testing.T) {
	w := newWorld(t)
	c := w.config(acme)
	c.IdentityProvider.SSO = []tenantconfig.Endpoint{{Binding: tenantconfig.BindingPOST, Location: `https://idp.example/"><script>alert(1)</script>`}}
	w.write(c)
	p := w.person()
	w.eventually("the new endpoint is served", func() bool { return p.get(site(acme)+"/saml/login").StatusCode == http.StatusOK })
	if a := p.get(site(acme) + "/saml/login"); strings.Contains(a.body, "<script>alert") {
		t.Errorf("the endpoint is not escaped: %s", a.body)
	}
}

func TestWithoutAnApplication(t *testing.T) {
	w := newWorld(t, func(_ *world, o *gateway.Options) { o.Upstream = nil })
	p := w.person()
	p.signIn(acme)
	if a := p.get(site(acme) + "/"); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "Alice Adams") {
		t.Errorf("status %d: %s", a.StatusCode, a.body)
	}
}

func TestApplicationDown(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	w.app.Close()
	if a := p.get(site(acme) + "/"); a.StatusCode != http.StatusBadGateway || !strings.Contains(a.body, "Support ID") {
		t.Errorf("status %d: %s", a.StatusCode, a.body)
	}
}

func TestBadSetKeepsTheLastKnownGood(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	internal := httptest.NewServer(w.gateway.Internal())
	t.Cleanup(internal.Close)
	problem := func(tenant string) string {
		response, err := http.Get(internal.URL + "/tenants")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		var statuses []struct{ Tenant, Host, Problem string }
		if err := json.NewDecoder(response.Body).Decode(&statuses); err != nil {
			t.Fatal(err)
		}
		for _, s := range statuses {
			if s.Tenant == tenant {
				return s.Problem
			}
		}
		return "gone"
	}
	for name, bad := range map[string]string{
		"not JSON":             "{",
		"a later version":      `{"version": 99}`,
		"without certificates": `{"version": 1, "tenant": "acme"}`,
		"of another tenant":    string(encode(t, w.config(globex))),
	} {
		w.writeFile(acme, tenantconfig.FileConfig, []byte(bad))
		w.eventually(name+" is reported", func() bool { return problem(acme) != "" })
		p.signIn(acme)
		p.signIn(globex)
		w.write(w.config(acme))
		w.eventually("the problem is over", func() bool { return problem(acme) == "" })
	}
}

func encode(t *testing.T, c tenantconfig.Config) []byte {
	t.Helper()
	data, err := tenantconfig.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestInternalEndpoints(t *testing.T) {
	w := newWorld(t)
	internal := w.gateway.Internal()
	get := func(method, path string) string {
		rw := httptest.NewRecorder()
		internal.ServeHTTP(rw, httptest.NewRequest(method, path, nil))
		return fmt.Sprint(rw.Code)
	}
	if got := get("GET", "/healthz") + get("GET", "/readyz") + get("GET", "/other") + get("POST", "/healthz"); got != "200200404405" {
		t.Errorf("got %s", got)
	}
	internal.Drain()
	if got := get("GET", "/healthz") + get("GET", "/readyz"); got != "200503" {
		t.Errorf("while draining: %s", got)
	}
}

func TestCookieNameIsNotTheApplicationsBusiness(t *testing.T) {
	for name, want := range map[string]bool{
		session.CookieName: true, "__Host-saml-request-x": true, "__HOST-SAML-X": true, "__Host-saml": false, "saml": false, "": false,
	} {
		if got := session.IsOwnCookie(name); got != want {
			t.Errorf("%q: got %v", name, got)
		}
	}
}

// Pages name the customer as its administrator wrote it, and as text.
func TestPagesNameTheCustomer(t *testing.T) {
	w := newWorld(t)
	c := w.config(acme)
	c.DisplayName = "Acme & Söhne <Inc>"
	w.write(c)
	const name = `<p class="organization">Acme &amp; Söhne &lt;Inc&gt;</p>`
	p := w.person()
	w.eventually("the name is on the page of signing out", func() bool {
		return strings.Contains(p.get(site(acme)+"/saml/logout").body, name)
	})
	refusal := p.request(http.MethodPost, acsURL(acme), strings.NewReader("SAMLResponse=x"))
	refusal.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if a := p.do(refusal); a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, name) {
		t.Errorf("refusal: status %d, page without the name:\n%s", a.StatusCode, a.body)
	}
	if a := p.get(site(globex) + "/saml/logout"); strings.Contains(a.body, `class="organization"`) {
		t.Errorf("a tenant without a name has an empty line:\n%s", a.body)
	}
}
