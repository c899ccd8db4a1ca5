package proxies_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

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

	w.start(exec.Command(program, "-p", dir, "-c", config, "-e", "stderr"), address) //nolint:gosec // of this machine
	return address
}

// Row T9: the guide's configuration, in nginx itself.
func TestT9_Nginx(t *testing.T) {
	w := newWorld(t, setup{})
	w.checkFront(front{
		address: w.startNginx(),
		// auth_request knows no other refusals than 401 and 403.
		noTenant: http.StatusInternalServerError,
		hidden:   "/.saml-question",
		cookies: map[string]string{
			"%s":                   "",
			"%s; a=1":              "a=1",
			"a=1;%s":               "a=1;",
			"a=1; %s; b=2":         "a=1;b=2",
			"a=1;  %s  ;b=\"c;d\"": "a=1;b=\"c;d\"",
			"a=%s; %s":             "a=%s;",
		},
	})
}
