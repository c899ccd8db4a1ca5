package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/store"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		args, namespace string
		// problem is part of the error, empty if there is none.
		problem string
	}{
		{"--namespace=sso", "", ""},
		{"", "from-pod", ""},
		{"--tenants-dir=/t", "from-pod", ""},
		{"--tenants-dir=/t --upstream=http://app:8080/base --tls-cert-file=c --tls-key-file=k --internal-listen= --clock-skew=0s", "", ""},
		{"--version", "", ""},
		{"", "", "--namespace or --tenants-dir"},
		{"--namespace=sso --tenants-dir=/t", "", "--namespace and --tenants-dir"},
		{"--tenants-dir=/t --kubeconfig=k", "", "--kubeconfig"},
		{"--tenants-dir=/t --tls-cert-file=c", "", "--tls-cert-file and --tls-key-file"},
		{"--tenants-dir=/t --tls-key-file=k", "", "--tls-cert-file and --tls-key-file"},
		{"--tenants-dir=/t --listen=", "", "--listen"},
		{"--tenants-dir=/t --data-dir=", "", "--data-dir"},
		{"--tenants-dir=/t --clock-skew=6m", "", "--clock-skew"},
		{"--tenants-dir=/t --drain-delay=20s", "", ""},
		{"--tenants-dir=/t --upstream=h2c://app:8080", "", ""},
		{"--tenants-dir=/t --upstream-timeout=0s --stall-timeout=0s --max-connections=0 --max-requests=0 --max-queued-requests=0 --queue-timeout=30s", "", ""},
		{"--tenants-dir=/t --upstream-timeout=-1s", "", "--upstream-timeout"},
		{"--tenants-dir=/t --stall-timeout=-1s", "", "--stall-timeout"},
		{"--tenants-dir=/t --max-connections=-1", "", "--max-connections"},
		{"--tenants-dir=/t --max-requests=-1", "", "--max-requests"},
		{"--tenants-dir=/t --max-queued-requests=-1", "", "--max-queued-requests"},
		{"--tenants-dir=/t --queue-timeout=-1s", "", "--queue-timeout"},
		{"--tenants-dir=/t --queue-timeout=31s", "", "--queue-timeout"},
		{"--tenants-dir=/t --max-requests-per-client=20 --trusted-proxies=10.0.0.0/24", "", ""},
		{"--tenants-dir=/t --max-requests-per-client=20", "", "--trusted-proxies"},
		{"--tenants-dir=/t --max-requests-per-client=-1 --trusted-proxies=10.0.0.0/24", "", "--max-requests-per-client"},
		{"--tenants-dir=/t --tls-cert-dir=/tls --tls-cert-file=c --tls-key-file=k", "", ""},
		{"--tenants-dir=/t --tls-cert-dir=/tls", "", "--tls-cert-file"},
		{"--tenants-dir=/t --drain-delay=21s", "", "--drain-delay"},
		{"--tenants-dir=/t --drain-delay=-1s", "", "--drain-delay"},
		{"--tenants-dir=/t --clock-skew=-1s", "", "--clock-skew"},
		{"--tenants-dir=/t --upstream=app:8080", "", "--upstream"},
		{"--tenants-dir=/t --upstream=file:///etc/passwd", "", "--upstream"},
		{"--tenants-dir=/t --upstream=http://user@app", "", "--upstream"},
		{"--namespace=sso --operator-url=http://saml-operator-refresh:8082 --operator-token-file=t", "", ""},
		{"--namespace=sso --operator-url=https://operator.example/", "", ""},
		{"--namespace=sso --operator-url=saml-operator:8082", "", "--operator-url"},
		{"--namespace=sso --operator-url=http://user@operator", "", "--operator-url"},
		{"--namespace=sso --operator-url=http://operator/path", "", "--operator-url"},
		{"--namespace=sso --operator-url=http://operator --operator-token-file=", "", "--operator-token-file"},
		{"--tenants-dir=/t --operator-url=http://operator", "", "--operator-url"},
		{"--tenants-dir=/t --trusted-proxies=10.0.0.0/24,fd00::/64", "", ""},
		{"--tenants-dir=/t --trusted-proxies=0.0.0.0/0", "", "--trusted-proxies"},
		{"--tenants-dir=/t --trusted-proxies=::/0", "", "--trusted-proxies"},
		{"--tenants-dir=/t --database=other.db", "", ""},
		{"--tenants-dir=/t --database=postgres://h/d --cookie-key-file=k --identity-key-file=i --data-dir=", "", ""},
		{"--tenants-dir=/t --database-url-file=u --cookie-key-file=k --identity-jwt=false", "", ""},
		{"--tenants-dir=/t --database-url-file=u --cookie-key-file=k", "", "--identity-key-file"},
		{"--tenants-dir=/t --database=postgres://h/d --cookie-key-file=k --data-dir=", "", "--identity-key-file"},
		{"--tenants-dir=/t --database=d --cookie-key-file=k --data-dir=", "", "--identity-key-file"},
		{"--tenants-dir=/t --database=d --cookie-key-file=k --identity-key-file=i --identity-audience=a --data-dir=", "", ""},
		{"--tenants-dir=/t --database-url-file=u --database=d --cookie-key-file=k", "", "--database and --database-url-file"},
		{"--tenants-dir=/t --database-url-file=u", "", "--cookie-key-file"},
		{"--tenants-dir=/t --database=postgres://h/d", "", "--cookie-key-file"},
		{"--tenants-dir=/t --database=d --data-dir=", "", "--data-dir"},
		{"--tenants-dir=/t --forward-auth-from=10.1.2.3/32,fd00::/64 --ext-authz-listen=:9191", "", ""},
		{"--tenants-dir=/t --forward-auth-from=10.1.2.3", "", "--forward-auth-from"},
		{"--tenants-dir=/t --forward-auth-from=0.0.0.0/0", "", "--forward-auth-from"},
		{"--tenants-dir=/t --forward-auth-from=10.0.0.0/8,::/0", "", "--forward-auth-from"},
		{"--tenants-dir=/t --forward-auth-from=10.0.0.0/8,", "", "--forward-auth-from"},
		{"--tenants-dir=/t --ext-authz-listen=:9191 --ext-authz-client-ca-file=ca --tls-cert-file=c --tls-key-file=k", "", ""},
		{"--tenants-dir=/t --ext-authz-client-ca-file=ca --tls-cert-file=c --tls-key-file=k", "", "--ext-authz-client-ca-file"},
		{"--tenants-dir=/t --ext-authz-listen=:9191 --ext-authz-client-ca-file=ca", "", "--ext-authz-client-ca-file"},
		{"--tenants-dir=/t --tenant-upstreams=app.example.com,*.apps.example.com:8443,app.customers.svc,10.1.2.0/24 --path-rules-file=r", "", ""},
		{"--tenants-dir=/t --tenant-upstreams=*", "", "--tenant-upstreams"},
		{"--tenants-dir=/t --tenant-upstreams=https://app.example.com", "", "--tenant-upstreams"},
		{"--tenants-dir=/t --tenant-upstreams=0.0.0.0/0", "", "--tenant-upstreams"},
		{"--tenants-dir=/t extra", "", `"extra"`},
		{"--unknown", "", "-unknown"},
	} {
		env := func(name string) string {
			if name == "POD_NAMESPACE" {
				return test.namespace
			}
			return ""
		}
		c, err := parse(strings.Fields(test.args), env, io.Discard)
		switch {
		case test.problem == "" && err != nil:
			t.Errorf("%q: %v", test.args, err)
		case test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)):
			t.Errorf("%q: got error %v, want one with %q", test.args, err, test.problem)
		case err == nil && c.tenantsDir != "" && c.namespace != "":
			t.Errorf("%q: two sources", test.args)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for args, want := range map[string]int{
		"--version":     exitOK,
		"--help":        exitOK,
		"--listen=:0 x": exitUsage,
		"--tenants-dir=/does/not/exist --listen=127.0.0.1:0 --internal-listen= --data-dir=" + t.TempDir():                                      exitFailure,
		"--tenants-dir=" + t.TempDir() + " --listen=127.0.0.1:0 --tls-cert-file=none --tls-key-file=none --data-dir=" + t.TempDir():            exitFailure,
		"--namespace=sso --kubeconfig=/does/not/exist --listen=127.0.0.1:0 --data-dir=" + t.TempDir():                                          exitFailure,
		"--tenants-dir=" + t.TempDir() + " --listen=127.0.0.1:0 --internal-listen=256.0.0.1:0 --data-dir=" + filepath.Join(t.TempDir(), "new"): exitFailure,
	} {
		var out, errs bytes.Buffer
		if got := run(strings.Fields(args), &out, &errs); got != want {
			t.Errorf("%q: exit code %d, want %d: %s", args, got, want, errs.String())
		}
	}
}

// A file with rules that cannot be held to keeps the gateway from starting, and
// says why.
func TestBadPathRulesStopTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules.yaml")
	for content, problem := range map[string]string{
		"":                                    "no rule below 'paths'",
		"paths: [{path: /a, acess: Public}]":  `"acess\"`,
		"paths: [{path: /a/*, roles: [ops]}]": "without '%' and '*'",
		"missing":                             "no such file",
	} {
		args := []string{"--tenants-dir=" + t.TempDir(), "--listen=127.0.0.1:0", "--data-dir=" + t.TempDir(), "--path-rules-file=" + file}
		if content == "missing" {
			args[3] += "x"
		} else if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		if got := run(args, io.Discard, &errs); got != exitFailure || !strings.Contains(errs.String(), "--path-rules-file") || !strings.Contains(errs.String(), problem) {
			t.Errorf("%q: exit code %d, %s", content, got, errs.String())
		}
	}
}

func TestSecondGatewayOnSQLiteIsRefused(t *testing.T) {
	data := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(data, "gateway.db"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	var out, errs bytes.Buffer
	code := run([]string{"--tenants-dir=" + t.TempDir(), "--listen=127.0.0.1:0", "--internal-listen=", "--data-dir=" + data}, &out, &errs)
	if code != exitFailure || !strings.Contains(errs.String(), "for several replicas, set --database-url-file") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

// The password may be in the command line or in a file, but never in the log.
func TestPasswordOfTheDatabaseIsNotLogged(t *testing.T) {
	const password = "s3cr3t"
	dir := t.TempDir()
	key := filepath.Join(dir, "cookie.key")
	if err := os.WriteFile(key, make([]byte, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "url")
	for name, url := range map[string]string{
		"nobody answers": "postgres://gateway:" + password + "@127.0.0.1:1/sso?sslmode=disable",
		"no URL":         "postgres://gateway:" + password + "/@127.0.0.1/sso",
	} {
		if err := os.WriteFile(file, []byte(url+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, flag := range []string{"--database=" + url, "--database-url-file=" + file} {
			c, err := parse([]string{"--tenants-dir=" + t.TempDir(), "--listen=127.0.0.1:0", "--internal-listen=", "--cookie-key-file=" + key, "--identity-jwt=false", flag}, os.Getenv, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			log := &lockedBuffer{}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- serve(ctx, c, io.Discard, slog.New(slog.NewTextHandler(log, nil))) }()
			var failure error
			ended := false
			require.Eventually(t, func() bool {
				select {
				case failure = <-done:
					ended = true
				default:
				}
				return ended || strings.Contains(log.String(), "waiting for the database")
			}, 20*time.Second, 5*time.Millisecond, name)
			cancel()
			if !ended {
				failure = <-done
			}
			if text := log.String() + fmt.Sprint(failure); strings.Contains(text, password) {
				t.Errorf("%s: %s", name, text)
			}
		}
	}
}

// lockedBuffer is written to by a gateway while it is read.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func TestServeStopsWhenToldTo(t *testing.T) {
	internal := freeAddress(t)
	c := config{listen: "127.0.0.1:0", internalListen: internal, tenantsDir: t.TempDir(), dataDir: filepath.Join(t.TempDir(), "data")}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, c, io.Discard, slog.New(slog.DiscardHandler)) }()

	require.Eventually(t, func() bool { return ready(internal) }, 20*time.Second, 5*time.Millisecond, "not ready in time")
	if info, err := os.Stat(c.dataDir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v, %v", info, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
	if ready(internal) {
		t.Error("the internal port is still served")
	}
}

func ready(address string) bool {
	response, err := http.Get("http://" + address + "/readyz")
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode == http.StatusOK
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
