package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// writePair writes a certificate of a serial number and its key into a
// directory, as a mounted Secret has them.
func writePair(t *testing.T, dir string, serial int64, names ...string) {
	t.Helper()
	certificate, key := newKeyPair(t, serial, names...)
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tls.crt"), certificate, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tls.key"), key, 0o600))
}

func TestCertificateIsPickedByName(t *testing.T) {
	dir, fallback := t.TempDir(), t.TempDir()
	writePair(t, fallback, 1, "gateway.example")
	writePair(t, filepath.Join(dir, "wildcard"), 2, "*.s.localhost")
	writePair(t, filepath.Join(dir, "acme"), 3, "acme.s.localhost", "ACME.example")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "empty"), 0o700))
	log := &lockedBuffer{}
	c, err := loadCertificates(filepath.Join(fallback, "tls.crt"), filepath.Join(fallback, "tls.key"), dir, time.Now, slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, err)
	picked := func(name string) int64 {
		t.Helper()
		certificate, err := c.getCertificate(&tls.ClientHelloInfo{ServerName: name})
		require.NoError(t, err)
		return certificate.Leaf.SerialNumber.Int64()
	}
	for name, want := range map[string]int64{
		"": 1, "gateway.example": 1, "unknown.example": 1, "s.localhost": 1, "a.b.s.localhost": 1,
		"globex.s.localhost": 2, "GLOBEX.s.localhost": 2,
		"acme.s.localhost": 3, "acme.example": 3,
	} {
		assert.Equal(t, want, picked(name), name)
	}
	assert.Contains(t, log.String(), "directory=empty")

	// Renewed, new and gone, while handshakes go on.
	writePair(t, filepath.Join(dir, "acme"), 4, "acme.s.localhost")
	writePair(t, filepath.Join(dir, "empty"), 5, "initech.s.localhost")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "wildcard")))
	require.Eventually(t, func() bool {
		return picked("acme.s.localhost") == 4 && picked("initech.s.localhost") == 5 && picked("globex.s.localhost") == 1 && picked("acme.example") == 1
	}, time.Minute, 20*time.Millisecond)

	// What is of no use replaces nothing.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "acme", "tls.crt"), []byte("none"), 0o600))
	writePair(t, filepath.Join(dir, "other"), 6, "other.s.localhost")
	require.Eventually(t, func() bool { return picked("other.s.localhost") == 6 }, time.Minute, 20*time.Millisecond)
	assert.EqualValues(t, 4, picked("acme.s.localhost"))
}

// A browser may use one connection for all hosts that its certificate is good
// for, and for no other [RFC 9110 15.5.20, RFC 9113 9.1.1].
func TestT4_ConnectionOfAnotherTenant(t *testing.T) {
	c, _ := signedIn(t, func(http.ResponseWriter, *http.Request) {})
	addTenant(t, c, "globex", "globex.s.localhost")
	addTenant(t, c, "initech", "initech.s.localhost")
	dir, fallback := t.TempDir(), t.TempDir()
	writePair(t, fallback, 1, "gateway.example")
	writePair(t, filepath.Join(dir, "two"), 2, drainHost, "globex.s.localhost")
	writePair(t, filepath.Join(dir, "one"), 3, "initech.s.localhost")
	c.tlsCertFile, c.tlsKeyFile, c.tlsCertDir = filepath.Join(fallback, "tls.crt"), filepath.Join(fallback, "tls.key"), dir
	stop := startGateway(t, c)
	untilReady(t, c)
	for _, test := range []struct {
		name, host string
		status     int
	}{
		{drainHost, drainHost, http.StatusOK},
		{drainHost, "globex.s.localhost", http.StatusOK},
		{drainHost, "initech.s.localhost", http.StatusMisdirectedRequest},
		{drainHost, "unknown.s.localhost", http.StatusNotFound},
		{"initech.s.localhost", drainHost, http.StatusMisdirectedRequest},
		{"initech.s.localhost", "INITECH.s.localhost.:8443", http.StatusOK},
		{"gateway.internal", drainHost, http.StatusOK}, // a proxy's name for us
		{"", drainHost, http.StatusOK},
	} {
		conn, err := tls.Dial("tcp", c.listen, &tls.Config{InsecureSkipVerify: true, ServerName: test.name}) //nolint:gosec // a test's
		require.NoError(t, err)
		_, _ = fmt.Fprintf(conn, "GET /saml/metadata HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", test.host)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		_ = response.Body.Close()
		_ = conn.Close()
		assert.Equal(t, test.status, response.StatusCode, "%q, host %s", test.name, test.host)
	}
	require.NoError(t, stop())
}
