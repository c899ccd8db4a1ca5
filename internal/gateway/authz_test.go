package gateway_test

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/gateway/authz"
)

func forwardAuthFrom(network string) func(*world, *gateway.Options) {
	return func(_ *world, o *gateway.Options) { o.ForwardAuthFrom = []netip.Prefix{netip.MustParsePrefix(network)} }
}

// forwarded is what a server in front asks about acme's page.
func (p *person) forwarded(path string, header ...string) answer {
	p.t.Helper()
	return p.get(site(acme)+path, append([]string{"X-Forwarded-Method", "GET", "X-Forwarded-Host", host(acme), "X-Forwarded-Uri", "/a?b=c"}, header...)...)
}

// Row T9.
func TestT9_ForwardAuth(t *testing.T) {
	w := newWorld(t, forwardAuthFrom("127.0.0.1/32"))
	login := site(acme) + "/saml/login?return_to=" + url.QueryEscape("/a?b=c")
	stranger, p, other := w.person(), w.person(), w.person()
	p.signIn(acme)
	other.signIn(globex)
	for name, test := range map[string]struct {
		person   *person
		path     string
		header   []string
		status   int
		location string
	}{
		"signed in":                        {p, authz.Path, nil, http.StatusOK, ""},
		"signed in, by redirect":           {p, authz.RedirectPath, nil, http.StatusOK, ""},
		"a person for nginx":               {stranger, authz.Path, nil, http.StatusUnauthorized, login},
		"a person":                         {stranger, authz.RedirectPath, nil, http.StatusFound, login},
		"a program":                        {stranger, authz.RedirectPath, []string{"Accept", "application/json"}, http.StatusUnauthorized, ""},
		"a form":                           {stranger, authz.RedirectPath, []string{"X-Forwarded-Method", "POST"}, http.StatusUnauthorized, ""},
		"another tenant's page":            {p, authz.RedirectPath, []string{"X-Forwarded-Host", host(globex)}, http.StatusFound, site(globex) + "/saml/login?return_to=" + url.QueryEscape("/a?b=c")},
		"nobody's page":                    {p, authz.Path, []string{"X-Forwarded-Host", "evil.example"}, http.StatusNotFound, ""},
		"two hosts":                        {p, authz.Path, []string{"X-Forwarded-Host", host(acme) + ", evil.example"}, http.StatusForbidden, ""},
		"a host with a user":               {p, authz.Path, []string{"X-Forwarded-Host", "evil@" + host(acme)}, http.StatusForbidden, ""},
		"no host":                          {p, authz.Path, []string{"X-Forwarded-Host", ""}, http.StatusForbidden, ""},
		"no method":                        {p, authz.Path, []string{"X-Forwarded-Method", ""}, http.StatusForbidden, ""},
		"no method that there is":          {p, authz.Path, []string{"X-Forwarded-Method", "GET /"}, http.StatusForbidden, ""},
		"CONNECT":                          {p, authz.Path, []string{"X-Forwarded-Method", "CONNECT"}, http.StatusMethodNotAllowed, ""},
		"no URI":                           {p, authz.Path, []string{"X-Forwarded-Uri", ""}, http.StatusForbidden, ""},
		"a whole URL":                      {p, authz.Path, []string{"X-Forwarded-Uri", site(acme) + "/"}, http.StatusForbidden, ""},
		"a URI that is no path":            {p, authz.Path, []string{"X-Forwarded-Uri", "//evil.example/"}, http.StatusForbidden, ""},
		"a URI that cannot be decoded":     {p, authz.Path, []string{"X-Forwarded-Uri", "/%zz"}, http.StatusForbidden, ""},
		"a backslash":                      {p, authz.Path, []string{"X-Forwarded-Uri", `/a\b`}, http.StatusForbidden, ""},
		"a path with dots":                 {p, authz.Path, []string{"X-Forwarded-Uri", "/a/../b"}, http.StatusForbidden, ""},
		"a path with dots, encoded":        {p, authz.Path, []string{"X-Forwarded-Uri", "/a%2F%2e%2e%2fb"}, http.StatusForbidden, ""},
		"Envoy over HTTP, dots":            {p, "/saml/auth/envoy/../../saml/auth", nil, http.StatusForbidden, ""},
		"the gateway's own":                {p, authz.Path, []string{"X-Forwarded-Uri", "/saml/session"}, http.StatusForbidden, ""},
		"the gateway's own, spelled":       {p, authz.Path, []string{"X-Forwarded-Uri", "/s%61ml/session"}, http.StatusForbidden, ""},
		"another scheme of headers":        {stranger, authz.Path, []string{"X-Original-Url", "https://" + host(acme) + "/saml/login"}, http.StatusUnauthorized, login},
		"a cookie that does not open":      {stranger, authz.Path, []string{"Cookie", "__Host-saml-session=x"}, http.StatusUnauthorized, login},
		"the cookie of another tenant":     {other, authz.Path, []string{"Cookie", other.cookies(globex)[0].String()}, http.StatusUnauthorized, login},
		"two cookies":                      {stranger, authz.Path, []string{"Cookie", p.cookies(acme)[0].String() + "; " + p.cookies(acme)[0].String()}, http.StatusUnauthorized, login},
		"Envoy over HTTP":                  {p, "/saml/auth/envoy/a?b=c", nil, http.StatusOK, ""},
		"Envoy over HTTP, a person":        {stranger, "/saml/auth/envoy/a?b=c", []string{"X-Forwarded-Uri", "/z"}, http.StatusFound, login},
		"Envoy over HTTP, the gateway's":   {p, "/saml/auth/envoy/saml/session", nil, http.StatusForbidden, ""},
		"Envoy over HTTP, no path":         {p, "/saml/auth/envoy//evil.example", nil, http.StatusForbidden, ""},
		"what is no endpoint of this kind": {p, "/saml/auth/other", nil, http.StatusNotFound, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := test.person.forwarded(test.path, test.header...)
			if a.StatusCode != test.status || a.Header.Get("Location") != test.location {
				t.Errorf("got %d to %q, want %d to %q: %s", a.StatusCode, a.Header.Get("Location"), test.status, test.location, a.body)
			}
			if (a.StatusCode == http.StatusUnauthorized) != (a.Header.Get("WWW-Authenticate") != "") {
				t.Errorf("WWW-Authenticate: %q", a.Header.Get("WWW-Authenticate"))
			}
			if a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("Cache-Control: %q", a.Header.Get("Cache-Control"))
			}
			if _, there := a.Header["X-Auth-Request-User"]; there != (test.status == http.StatusOK) {
				t.Errorf("identity: %v", a.Header)
			}
		})
	}

	r := p.request(http.MethodGet, site(acme)+authz.Path, nil)
	r.Header = http.Header{"X-Forwarded-Method": {"GET"}, "X-Forwarded-Host": {host(acme)}, "X-Forwarded-Uri": {"/", "/"}}
	if a := p.do(r); a.StatusCode != http.StatusForbidden {
		t.Errorf("a header that is there twice: status %d", a.StatusCode)
	}
	a := p.forwarded(authz.Path, "X-Auth-Request-Email", "root")
	for name, want := range map[string]string{
		"X-Auth-Request-User": "alice@acme.example", "X-Auth-Request-Email": "alice@acme.example", "X-Auth-Request-Tenant": acme,
		"X-Auth-Request-Groups": "staff,a%2Cb%25", "X-Auth-Request-Roles": "", "X-Auth-Request-Groups-Incomplete": "",
	} {
		if got := a.Header.Values(name); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if claims, _ := w.verify(acme, a.Header.Get(jwtHeader)); claims.Subject != "alice@acme.example" {
		t.Errorf("claims: %+v", claims)
	}
	w.clock.advance(30 * time.Minute)
	if a := p.forwarded(authz.Path); len(a.Cookies()) != 1 {
		t.Errorf("the session is not renewed: %v", a.Header)
	}
}

// Row T9: nobody is believed unless it was said who is.
func TestT9_ForwardAuthIsForNamedServers(t *testing.T) {
	for name, options := range map[string][]func(*world, *gateway.Options){
		"nobody": nil, "somebody else": {forwardAuthFrom("10.0.0.0/8")},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, options...)
			p := w.person()
			p.signIn(acme)
			for _, path := range []string{authz.Path, authz.RedirectPath, "/saml/auth/envoy/a"} {
				if a := p.forwarded(path, "X-Forwarded-For", "10.0.0.1"); a.StatusCode != http.StatusNotFound || a.Header.Get("X-Auth-Request-User") != "" {
					t.Errorf("%s: status %d, %v", path, a.StatusCode, a.Header)
				}
			}
		})
	}
}

// envoy serves ext_authz and returns connections to it.
func (w *world) envoy(ready func() error) *grpc.ClientConn {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	s := authz.NewEnvoy(w.gateway, ready)
	w.t.Cleanup(s.Stop)
	go func() { _ = s.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Row T9.
func TestT9_Envoy(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	internal := w.gateway.Internal()
	conn := w.envoy(internal.Ready)
	check := func(method, host, path string, header ...string) *authv3.CheckResponse {
		t.Helper()
		headers := map[string]string{":authority": host, ":path": path, "accept": "text/html"}
		for i := 0; i < len(header); i += 2 {
			headers[header[i]] = header[i+1]
		}
		response, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Method: method, Host: host, Path: path, Headers: headers}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	cookie := p.cookies(acme)[0].String()

	for name, test := range map[string]struct {
		method, host, path string
		header             []string
		status             int
	}{
		"a person":                   {"GET", host(acme), "/a?b=c", nil, 302},
		"a program":                  {"GET", host(acme), "/a", []string{"accept", "*/*"}, 401},
		"a form":                     {"POST", host(acme), "/a", nil, 401},
		"another tenant's page":      {"GET", host(globex), "/a", []string{"cookie", cookie}, 302},
		"nobody's page":              {"GET", "evil.example", "/a", []string{"cookie", cookie}, 404},
		"a host of the client's own": {"GET", host(globex), "/a", []string{"cookie", cookie, "x-forwarded-host", host(acme), "host", host(acme)}, 302},
		"the gateway's own":          {"GET", host(acme), "/saml/session", []string{"cookie", cookie}, 403},
		"a path that is none":        {"GET", host(acme), "//evil", []string{"cookie", cookie}, 400},
		"a path with dots":           {"GET", host(acme), "/a/./b", []string{"cookie", cookie}, 400},
		"nothing":                    {"", "", "", nil, 400},
		"two spellings":              {"GET", host(acme), "/", []string{"cookie", cookie, "Cookie", cookie}, 400},
		"TRACE":                      {"TRACE", host(acme), "/", []string{"cookie", cookie}, 405},
	} {
		response := check(test.method, test.host, test.path, test.header...)
		if response.GetStatus().GetCode() != int32(codes.PermissionDenied) || int(response.GetDeniedResponse().GetStatus().GetCode()) != test.status {
			t.Errorf("%s: %v", name, response)
		}
		for _, option := range response.GetDeniedResponse().GetHeaders() {
			if option.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
				t.Errorf("%s: Envoy's own would stay: %v", name, option)
			}
		}
	}
	if got := values(check("GET", host(acme), "/a?b=c").GetDeniedResponse().GetHeaders())["location"]; got != site(acme)+"/saml/login?return_to=%2Fa%3Fb%3Dc" {
		t.Errorf("location: %s", got)
	}

	spoofed := []string{"x-auth-request-user", "x_auth_request_user", "x-auth.request-email", "x-remote-user", "x-forwarded-host", "x_forwarded_proto", "x-original-url"}
	header := []string{"cookie", "a=1; " + cookie, "x-forwarded-for", "192.0.2.1", "x-forwarded-proto", "https"}
	for _, name := range spoofed {
		header = append(header, name, "root")
	}
	response := check("POST", host(acme), "/a", header...)
	ok := response.GetOkResponse()
	if response.GetStatus().GetCode() != int32(codes.OK) || ok == nil {
		t.Fatalf("not let in: %v", response)
	}
	for _, option := range ok.GetHeaders() {
		if option.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD || !option.GetKeepEmptyValue() {
			t.Errorf("the client's own would stay: %v", option)
		}
	}
	got := values(ok.GetHeaders())
	if got["x-auth-request-user"] != "alice@acme.example" || got["x-auth-request-tenant"] != acme || got["cookie"] != "a=1" || len(got) != 8 {
		t.Errorf("headers: %v", got)
	}
	if claims, _ := w.verify(acme, got["x-auth-request-jwt"]); claims.Tenant != acme {
		t.Errorf("claims: %+v", claims)
	}
	removed := ok.GetHeadersToRemove()
	slices.Sort(removed)
	want := spoofed[1:]
	slices.Sort(want)
	if !slices.Equal(removed, want) {
		t.Errorf("removed %q, want %q", removed, want)
	}
	w.clock.advance(30 * time.Minute)
	if add := values(check("GET", host(acme), "/", "cookie", cookie).GetOkResponse().GetResponseHeadersToAdd()); !strings.HasPrefix(add["set-cookie"], "__Host-saml-session=") || add["cache-control"] != "no-store" {
		t.Errorf("the session is not renewed: %v", add)
	}

	health := func(service string, want healthv1.HealthCheckResponse_ServingStatus, code codes.Code) {
		t.Helper()
		got, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		if got.GetStatus() != want || status.Code(err) != code {
			t.Errorf("health of %q: %v %v, want %v %v", service, got, err, want, code)
		}
	}
	health("", healthv1.HealthCheckResponse_SERVING, codes.OK)
	health("envoy.service.auth.v3.Authorization", healthv1.HealthCheckResponse_SERVING, codes.OK)
	health("other", healthv1.HealthCheckResponse_UNKNOWN, codes.NotFound)
	internal.Drain()
	health("", healthv1.HealthCheckResponse_NOT_SERVING, codes.OK)
}

func values(options []*corev3.HeaderValueOption) map[string]string {
	got := map[string]string{}
	for _, option := range options {
		got[option.GetHeader().GetKey()] = option.GetHeader().GetValue()
	}
	return got
}
