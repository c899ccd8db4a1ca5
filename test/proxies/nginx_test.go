package proxies_test

import (
	"bytes"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startNginx runs nginx with the configuration of the guide and returns its
// address.
func (w *world) startNginx() string {
	w.t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // not in everybody's path
	}
	dir, address := w.t.TempDir(), freeAddress(w.t)
	certificate, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	require.NoError(w.t, os.WriteFile(certificate, w.certificate, 0o600))
	require.NoError(w.t, os.WriteFile(key, w.key, 0o600))
	site := replaceEach(w.t, codeBlocks(w.t, "nginx.md", "nginx")[0], map[string]string{
		"server saml-gateway:8443;":                   "server " + w.gatewayAddress + ";",
		"server application:8080;":                    "server " + w.appAddress + ";",
		"listen 443 ssl;":                             "listen " + address + " ssl;",
		"server_name *.sso.example.com;":              "server_name *." + domain + ";",
		"ssl_certificate     /etc/nginx/tls/tls.crt;": "ssl_certificate " + certificate + ";",
		"ssl_certificate_key /etc/nginx/tls/tls.key;": "ssl_certificate_key " + key + ";",
	})
	main := "daemon off; master_process off; worker_processes 1; pid " + dir + "/pid;\nevents {}\nhttp {\naccess_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		main += kind + "_temp_path " + dir + "/" + kind + ";\n"
	}
	config := filepath.Join(dir, "nginx.conf")
	require.NoError(w.t, os.WriteFile(config, []byte(main+site+"}\n"), 0o600))

	var log bytes.Buffer
	nginx := exec.Command(program, "-p", dir, "-c", config, "-e", "stderr") //nolint:gosec // of this machine
	nginx.Stderr = &log
	require.NoError(w.t, nginx.Start(), "hack/install-test-packages.sh installs nginx")
	ended := make(chan struct{})
	go func() { _ = nginx.Wait(); close(ended) }()
	w.t.Cleanup(func() {
		_ = nginx.Process.Kill()
		<-ended
		if w.t.Failed() {
			w.t.Logf("nginx: %s", log.String())
		}
	})
	require.Eventually(w.t, func() bool {
		select {
		case <-ended:
			w.t.Fatalf("nginx ended: %s", log.String())
		default:
		}
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, patience, tick, "nginx does not listen")
	return address
}

// Row T9: the guide's configuration, in nginx itself.
func TestT9_Nginx(t *testing.T) {
	w := newWorld(t)
	address := w.startNginx()
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
			"no tenant":           {"GET", "https://nobody." + domain + "/a", page, 500, ""},
			"the question itself": {"GET", site(acme) + "/.saml-question", page, 404, ""},
			"a path that is none": {"GET", site(acme) + "//evil.example/", page, 403, ""},
			"a path with dots":    {"GET", site(acme) + "/a/../b", page, 403, ""},
			"into the gateway's":  {"GET", site(acme) + "/saml/../b", page, 403, ""},
		} {
			response := w.send(address, test.method, test.target, test.header)
			assert.Equal(t, test.status, response.StatusCode, name)
			assert.Equal(t, test.location, response.Header.Get("Location"), name)
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
	assert.NotContains(t, seen[0].Header, "Cookie")

	t.Run("what a client says", func(t *testing.T) {
		header := http.Header{"Accept": page["Accept"], "Cookie": {"a=1; " + cookie + "; b=2"}}
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
		assert.Equal(t, []string{"a=1;b=2"}, seen[0].Header["Cookie"])
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
		for sent, want := range map[string]string{
			cookie:                             "",
			cookie + "; a=1":                   "a=1",
			"a=1;" + cookie:                    "a=1;",
			"a=1;  " + cookie + "  ;b=\"c;d\"": "a=1;b=\"c;d\"",
			"a=" + cookie + "; " + cookie:      "a=" + cookie + ";",
		} {
			response := w.send(address, http.MethodGet, site(acme)+"/", http.Header{"Cookie": {sent}})
			require.Equal(t, http.StatusOK, response.StatusCode, sent)
			seen := w.app.take()
			require.Len(t, seen, 1)
			assert.Equal(t, want, seen[0].Header.Get("Cookie"))
		}
	})

	t.Run("nobody asks but nginx", func(t *testing.T) {
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
		require.Len(t, response.Header["Set-Cookie"], 2)
		assert.True(t, strings.HasPrefix(response.Header["Set-Cookie"][1], "__Host-saml-session="))
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
