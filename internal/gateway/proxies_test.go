package gateway_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/gateway/forwarded"
)

// behindProxies trusts the peer of all tests.
func behindProxies(_ *world, o *gateway.Options) {
	proxies, err := forwarded.Parse("127.0.0.0/8,::1/128")
	if err != nil {
		panic(err)
	}
	o.TrustedProxies = proxies
}

// A session is not bound to an address: each request comes from another one.
func TestClientsAddressBehindATrustedProxy(t *testing.T) {
	lines := &logBuffer{}
	w := newWorld(t, audited(lines), behindProxies)
	p := w.person()
	requestID, relayState := p.login(acme, "/")
	r := p.postRequest(acme, w.issue(acme, acme, requestID), relayState)
	r.Header.Set("X-Forwarded-For", "6.6.6.6, 198.51.100.7")
	r.Header.Set("X-Forwarded-Host", host(globex))
	if a := p.do(r); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("status %d: %s", a.StatusCode, a.body)
	} else if location := a.Header.Get("Location"); !strings.HasPrefix(location, "/") {
		t.Errorf("redirected to %q, which a proxy in front may have renamed", location)
	}
	if entries := auditEntries(t, lines); len(entries) == 0 || entries[0].Address != "198.51.100.7:0" {
		t.Errorf("audit log: %+v", entries)
	}
	for i := range 3 {
		address := "198.51.100." + strconv.Itoa(i)
		r := p.request(http.MethodGet, site(acme)+"/", nil)
		r.Header.Set("X-Forwarded-For", "6.6.6.6, "+address)
		r.Header.Set("X-Forwarded-Host", host(globex))
		h := decodeEcho(t, p.do(r).body).Header
		if got := h.Values("X-Forwarded-For"); len(got) != 1 || got[0] != address {
			t.Errorf("the application got X-Forwarded-For %q, want %q", got, address)
		}
		if got := h.Get("X-Auth-Request-Tenant"); got != acme {
			t.Errorf("tenant %q", got)
		}
	}
}

func TestPlainHTTPInFrontIsRedirected(t *testing.T) {
	w := newWorld(t, behindProxies)
	p := w.person()
	p.signIn(acme)
	for _, test := range []struct {
		path, location string
	}{
		{"/a%2Fb?c=d", site(acme) + "/a%2Fb?c=d"},
		{"//evil.example/", site(acme) + "//evil.example/"},
		{"/saml/login?return_to=%2F", site(acme) + "/saml/login?return_to=%2F"},
	} {
		r := p.request(http.MethodGet, site(acme)+test.path, nil)
		r.Header.Set("X-Forwarded-Proto", "http")
		a := p.do(r)
		want := test.location
		if got := a.Header.Get("Location"); a.StatusCode != http.StatusPermanentRedirect || got != want {
			t.Errorf("%s: status %d to %q, want %q", test.path, a.StatusCode, got, want)
		}
	}
	r := p.request(http.MethodGet, site(acme)+"/", nil)
	r.Host = "evil.example"
	r.Header.Set("X-Forwarded-Proto", "http")
	if a := p.do(r); a.StatusCode != http.StatusNotFound || a.Header.Get("Location") != "" {
		t.Errorf("unknown host: status %d to %q", a.StatusCode, a.Header.Get("Location"))
	}
}
