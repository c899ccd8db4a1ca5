package proxies_test

import (
	"bytes"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// front is a server in front of the application that asks the gateway, as its
// guide has it.
type front struct {
	address string
	// noTenant is what somebody without a session gets for a host that is no
	// tenant's.
	noTenant int
	// hidden is a path that the server has for its own questions.
	hidden string
	// cookies is what the application gets of a Cookie header, with the session
	// for %s.
	cookies map[string]string
}

// start runs a server of this machine until the test ends, and waits until it
// listens.
func (w *world) start(cmd *exec.Cmd, address string) {
	w.t.Helper()
	var log bytes.Buffer
	cmd.Stderr = &log
	require.NoError(w.t, cmd.Start(), "hack/install-test-packages.sh installs it")
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if w.t.Failed() {
			w.t.Logf("%s: %s", cmd.Path, log.String())
		}
	})
	require.Eventually(w.t, func() bool {
		select {
		case <-ended:
			w.t.Fatalf("%s ended: %s", cmd.Path, log.String())
		default:
		}
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, patience, tick, "%s does not listen", cmd.Path)
}

// checkFront signs alice in through the server in front, and tries what clients
// could say to it.
func (w *world) checkFront(f front) {
	t := w.t
	address := f.address
	b := w.browser(address)

	t.Run("without a session", func(t *testing.T) {
		for name, test := range map[string]struct {
			method, target string
			header         http.Header
			status         int
			location       string
		}{
			"a browser":           {"GET", site(acme) + "/a/%2F?b=c&d=%26", page, 302, site(acme) + "/saml/login?return_to=%2Fa%2F%252F%3Fb%3Dc%26d%3D%2526"},
			"a fetch":             {"GET", site(acme) + "/a", http.Header{"Accept": {"text/html"}, "Sec-Fetch-Mode": {"cors"}}, 401, ""},
			"a program":           {"GET", site(acme) + "/a", nil, 401, ""},
			"a form":              {"POST", site(acme) + "/a", page, 401, ""},
			"no tenant":           {"GET", "https://nobody." + domain + "/a", page, f.noTenant, ""},
			"a path that is none": {"GET", site(acme) + "//evil.example/", page, 403, ""},
			"a path with dots":    {"GET", site(acme) + "/a/../b", page, 403, ""},
			"into the gateway's":  {"GET", site(acme) + "/saml/../b", page, 403, ""},
		} {
			response := w.send(address, test.method, test.target, test.header)
			assert.Equal(t, test.status, response.StatusCode, name)
			assert.Equal(t, test.location, response.Header.Get("Location"), name)
		}
		if f.hidden != "" {
			assert.Equal(t, http.StatusNotFound, w.send(address, http.MethodGet, site(acme)+f.hidden, page).StatusCode)
		}
		assert.Empty(t, w.app.take(), "nothing gets through")
	})

	shown, err := b.SignIn(t.Context(), site(acme)+"/reports?year=2026&q=%2Fa", alice, password)
	require.NoError(t, err)
	assert.Equal(t, site(acme)+"/reports?year=2026&q=%2Fa", shown.URL.String(), "the user arrives where the link led")
	cookies, err := b.Cookies(site(acme))
	require.NoError(t, err)
	require.Len(t, cookies, 2, "the application's and ours")
	cookie := cookies[1].String()
	seen := w.app.take()
	require.Len(t, seen, 1)
	assertAlice(t, seen[0])
	assert.Equal(t, "/reports?year=2026&q=%2Fa", seen[0].RequestURI)
	assert.Empty(t, strings.Join(seen[0].Header["Cookie"], ""))

	t.Run("what a client says", func(t *testing.T) {
		header := http.Header{"Accept": page["Accept"], "Cookie": {cookie}}
		for _, name := range spellings {
			header[name] = []string{"root", "globex"}
		}
		header["X-Forwarded-Method"] = []string{"TRACE"}
		header["X-Forwarded-Uri"] = []string{"/saml/session"}
		response := w.send(address, http.MethodPost, site(acme)+"/a%2Fb?c", header)
		require.Equal(t, http.StatusOK, response.StatusCode)
		seen := w.app.take()
		require.Len(t, seen, 1)
		assertAlice(t, seen[0])
		assert.Equal(t, "/a%2Fb?c", seen[0].RequestURI)
		assert.Equal(t, http.MethodPost, seen[0].Method)
	})

	t.Run("what a client takes away", func(t *testing.T) {
		for _, connection := range [][]string{{"X-Auth-Request-User"}, {"close, X-Auth-Request-Groups"}, {"close", "x-auth-request-tenant"}} {
			response := w.send(address, http.MethodGet, site(acme)+"/", http.Header{"Cookie": {cookie}, "Connection": connection})
			seen := w.app.take()
			if response.StatusCode == http.StatusOK {
				require.Len(t, seen, 1)
				assertAlice(t, seen[0])
			}
		}
	})

	t.Run("what a client says at the end", func(t *testing.T) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, site(acme)+"/", strings.NewReader("body"))
		require.NoError(t, err)
		request.Header.Set("Cookie", cookie)
		request.ContentLength, request.Trailer = -1, http.Header{"X-Auth-Request-User": {"root"}}
		assert.Equal(t, http.StatusOK, w.exchange(&net.Dialer{}, address, request).StatusCode)
		seen := w.app.take()
		require.Len(t, seen, 1)
		assertAlice(t, seen[0])
		assert.Empty(t, seen[0].Trailer.Get("X-Auth-Request-User"))
	})

	t.Run("the session is its tenant's", func(t *testing.T) {
		for _, name := range []string{"X-Forwarded-Host", "x-forwarded-host", "X_Forwarded_Host", "X-Original-Host", "Forwarded"} {
			header := http.Header{"Accept": page["Accept"], "Cookie": {cookie}, name: {host(acme), host(acme)}}
			response := w.send(address, http.MethodGet, site(globex)+"/a", header)
			assert.Equal(t, http.StatusFound, response.StatusCode, name)
			assert.Equal(t, site(globex)+"/saml/login?return_to=%2Fa", response.Header.Get("Location"), name)
		}
		for _, cookies := range [][]string{{cookie, cookie}, {cookie + "; " + cookie}} {
			response := w.send(address, http.MethodGet, site(acme)+"/a", http.Header{"Cookie": cookies})
			assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
		}
		assert.Empty(t, w.app.take())
	})

	t.Run("cookies", func(t *testing.T) {
		for sent, want := range f.cookies {
			sent, want = strings.ReplaceAll(sent, "%s", cookie), strings.ReplaceAll(want, "%s", cookie)
			response := w.send(address, http.MethodGet, site(acme)+"/", http.Header{"Cookie": {sent}})
			require.Equal(t, http.StatusOK, response.StatusCode, sent)
			seen := w.app.take()
			require.Len(t, seen, 1)
			assert.Equal(t, want, seen[0].Header.Get("Cookie"))
		}
	})

	t.Run("nobody else asks", func(t *testing.T) {
		question := http.Header{"Cookie": {cookie}, "X-Forwarded-Method": {"GET"}, "X-Forwarded-Host": {host(acme)}, "X-Forwarded-Uri": {"/"}}
		for _, path := range []string{
			"/saml/auth", "/saml/auth/redirect", "/saml/auth/envoy/a", "/saml/%61uth", "/saml/./auth", "/saml//auth", "//saml/auth",
			"/saml/auth/envoy/../../saml/auth", "/saml/auth/../auth", "/saml/x/..%2fauth", "/saml/auth?a", "/saml/auth;a",
		} {
			response := w.send(address, http.MethodGet, site(acme)+path, question)
			assert.Contains(t, []int{http.StatusForbidden, http.StatusNotFound}, response.StatusCode, path)
			assert.NotContains(t, response.Header, "X-Auth-Request-User", path)
			response = w.sendFrom(netip.MustParseAddr("127.0.0.2"), w.gatewayAddress, "http://"+host(acme)+path, question)
			assert.NotContains(t, response.Header, "X-Auth-Request-User", path)
			if strings.HasPrefix(path, "/saml/") {
				assert.Equal(t, http.StatusNotFound, response.StatusCode, path)
			}
		}
		assert.Empty(t, w.app.take())
	})

	t.Run("renewal", func(t *testing.T) {
		response := w.send(address, http.MethodGet, site(acme)+"/", http.Header{"Cookie": {cookie}})
		assert.Equal(t, []string{"app=1; Path=/"}, response.Header["Set-Cookie"])
		assert.Equal(t, []string{"public, max-age=60"}, response.Header["Cache-Control"])
		w.clock.advance(30 * time.Minute)
		response = w.send(address, http.MethodGet, site(acme)+"/", http.Header{"Cookie": {cookie}})
		renewed := response.Header["Set-Cookie"]
		require.Len(t, renewed, 2)
		assert.Contains(t, renewed, "app=1; Path=/")
		assert.True(t, strings.HasPrefix(renewed[0], "__Host-saml-session=") || strings.HasPrefix(renewed[1], "__Host-saml-session="))
		assert.Contains(t, response.Header["Cache-Control"], "no-store")
	})

	t.Run("signing out", func(t *testing.T) {
		shown, err := b.Open(t.Context(), site(acme)+"/saml/logout")
		require.NoError(t, err)
		require.Equal(t, "Sign out?", shown.Title)
		_, err = b.FillAndSubmit(t.Context(), nil)
		require.NoError(t, err)
		response := w.send(address, http.MethodGet, site(acme)+"/", http.Header{"Cookie": {cookie}})
		assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
	})
}
