package proxies_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway"
)

// startApache runs Apache with the configuration of the guide and returns its
// addresses, with TLS and without.
func (w *world) startApache() (secure, plain string) {
	w.t.Helper()
	dir := w.t.TempDir()
	secure, plain = freeAddress(w.t), freeAddress(w.t)
	certificate, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	require.NoError(w.t, os.WriteFile(certificate, w.certificate, 0o600))
	require.NoError(w.t, os.WriteFile(key, w.key, 0o600))
	hosts := replaceAll(w.t, codeBlocks(w.t, "apache.md", "apache")[0], map[string]string{
		"<VirtualHost *:443>":       "<VirtualHost " + secure + ">",
		"<VirtualHost *:80>":        "<VirtualHost " + plain + ">",
		"sso.example.com\n":         domain + "\n",
		"/etc/apache2/tls/tls.crt":  certificate,
		"/etc/apache2/tls/tls.key":  key,
		"http://saml-gateway:8443/": "http://" + w.gatewayAddress + "/",
	})
	main := "ServerRoot " + dir + "\nPidFile " + dir + "/pid\nErrorLog /dev/stderr\nUser www-data\nGroup www-data\n" +
		"Listen " + secure + "\nListen " + plain + "\n"
	for _, module := range []string{"mpm_event", "authz_core", "socache_shmcb", "ssl", "headers", "proxy", "proxy_http"} {
		main += "LoadModule " + module + "_module /usr/lib/apache2/modules/mod_" + module + ".so\n"
	}
	config := filepath.Join(dir, "apache.conf")
	require.NoError(w.t, os.WriteFile(config, []byte(main+hosts), 0o600))
	w.start(exec.Command("/usr/sbin/apache2", "-X", "-f", config), secure) //nolint:gosec // of this machine
	return secure, plain
}

// The guide's configuration, in Apache itself: it names the client, and passes
// on what was asked for as it was asked.
func TestApache(t *testing.T) {
	w := newWorld(t, setup{gateway: func(w *world, o *gateway.Options) {
		o.Upstream = &url.URL{Scheme: "http", Host: w.appAddress}
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	}})
	secure, plain := w.startApache()

	b := w.browser(secure)
	shown, err := b.SignIn(t.Context(), site(acme)+"/reports?year=2026&q=%2Fa", alice, password)
	require.NoError(t, err)
	assert.Equal(t, site(acme)+"/reports?year=2026&q=%2Fa", shown.URL.String(), "the user arrives where the link led")
	cookies, err := b.Cookies(site(acme))
	require.NoError(t, err)
	require.Len(t, cookies, 2, "the application's and ours")
	seen := w.app.take()
	require.Len(t, seen, 1)
	assertAlice(t, seen[0])

	for _, target := range []string{"/a%2Fb?c", "/a//b", "/a%20b/?q=%26"} {
		header := http.Header{"Accept": page["Accept"], "Cookie": {cookies[1].String()}}
		for _, name := range spellings {
			header[name] = []string{"root", "globex"}
		}
		header["X-Forwarded-For"], header["X-Forwarded-Proto"] = []string{"203.0.113.9"}, []string{"http"}
		request := w.request(http.MethodPost, site(acme)+target, header)
		from := netip.MustParseAddr("127.0.0.2")
		require.Equal(t, http.StatusOK, w.exchange(dialFrom(from), secure, request).StatusCode)
		seen := w.app.take()
		require.Len(t, seen, 1)
		assertAlice(t, seen[0])
		assert.Equal(t, target, seen[0].RequestURI)
		assert.Equal(t, []string{from.String()}, seen[0].Header["X-Forwarded-For"], "the client is who Apache says, not who it says itself")
	}

	response := w.send(secure, http.MethodGet, site(acme)+"/a/../b", page)
	assert.NotEqual(t, http.StatusOK, response.StatusCode)
	assert.Equal(t, http.StatusNotFound, w.send(secure, http.MethodGet, "https://nobody."+domain+"/", page).StatusCode)

	response = w.send(plain, http.MethodGet, "http://"+host(acme)+"/a%2Fb?c", page)
	assert.Equal(t, http.StatusPermanentRedirect, response.StatusCode)
	assert.Equal(t, site(acme)+"/a%2Fb?c", response.Header.Get("Location"))
	assert.Empty(t, w.app.take())
}
