package proxies_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// startCaddy runs Caddy with the configuration of the guide and returns its
// address.
func (w *world) startCaddy() string {
	w.t.Helper()
	dir, address := w.t.TempDir(), freeAddress(w.t)
	certificate, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	require.NoError(w.t, os.WriteFile(certificate, w.certificate, 0o600))
	require.NoError(w.t, os.WriteFile(key, w.key, 0o600))
	site := replaceEach(w.t, codeBlocks(w.t, "caddy.md", "caddyfile")[0], map[string]string{
		"*.sso.example.com {":                       "https://*." + domain + ":" + port(w.t, address) + " {\n\tbind 127.0.0.1",
		"tls /etc/caddy/tls.crt /etc/caddy/tls.key": "tls " + certificate + " " + key,
		"reverse_proxy @sign_in saml-gateway:8443":  "reverse_proxy @sign_in " + w.gatewayAddress,
		"reverse_proxy saml-gateway:8443 {":         "reverse_proxy " + w.gatewayAddress + " {",
		"reverse_proxy application:8080":            "reverse_proxy " + w.appAddress,
	})
	config := filepath.Join(dir, "Caddyfile")
	require.NoError(w.t, os.WriteFile(config, []byte("{\n\tadmin off\n\tauto_https disable_redirects\n}\n"+site), 0o600))
	caddy := exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", config) //nolint:gosec // of this machine
	caddy.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	w.start(caddy, address)
	return address
}

// Row T9: the guide's configuration, in Caddy itself.
func TestT9_Caddy(t *testing.T) {
	w := newWorld(t, setup{})
	w.checkFront(front{
		address:  w.startCaddy(),
		noTenant: http.StatusNotFound,
		cookies: map[string]string{
			"%s":                   "",
			"%s; a=1":              "; a=1",
			"a=1;%s":               "a=1;",
			"a=1; %s; b=2":         "a=1;; b=2",
			"a=1;  %s  ;b=\"c;d\"": "a=1;;b=\"c;d\"",
			"a=%s; %s":             "a=%s;",
		},
	})
}
