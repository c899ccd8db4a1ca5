package proxies_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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

	w.start(exec.Command(program, "-p", dir, "-c", config, "-e", "stderr"), address) //nolint:gosec // of this machine
	return address
}

// By default nginx has 4 or 8 KiB for the whole answer to its question, and takes
// a longer one for an error.
func TestNginxTellsOfManyGroups(t *testing.T) {
	var groups []string
	for i := range 140 {
		groups = append(groups, fmt.Sprintf("00000000-0000-4000-8000-%012d", i))
	}
	w := newWorld(t, setup{groups: groups})
	shown, err := w.browser(w.startNginx()).SignIn(t.Context(), site(acme)+"/reports", alice, password)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, shown.Status)
	seen := w.app.take()
	require.Len(t, seen, 1)
	assert.ElementsMatch(t, groups, strings.Split(seen[0].Header.Get("X-Auth-Request-Groups"), ","))
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
