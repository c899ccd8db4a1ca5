package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReplacedCertificateIsServed(t *testing.T) {
	dir := t.TempDir()
	c := config{listen: "127.0.0.1:0", tlsCertFile: filepath.Join(dir, "tls.crt"), tlsKeyFile: filepath.Join(dir, "tls.key")}
	write := func(certificate, key []byte) {
		t.Helper()
		for file, content := range map[string][]byte{c.tlsCertFile: certificate, c.tlsKeyFile: key} {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(newKeyPair(t, 1))
	certificates, err := c.certificates(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	bounded, err := listen(c)
	if err != nil {
		t.Fatal(err)
	}
	listener := certificates.listener(bounded)
	server := newServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })

	if got := serial(t, listener.Addr()); got != 1 {
		t.Fatalf("served certificate %d, want 1", got)
	}
	write(newKeyPair(t, 2))
	require.Eventually(t, func() bool { return serial(t, listener.Addr()) == 2 },
		20*time.Second, 20*time.Millisecond, "the new certificate is not served")
}

func TestUselessCertificateLeavesTheOneBefore(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write := func(file string, content []byte) {
		t.Helper()
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certificate, key := newKeyPair(t, 1)
	write(certFile, certificate)
	write(keyFile, key)
	now := time.Now()
	var log bytes.Buffer
	pair, err := loadKeyPair(certFile, keyFile, func() time.Time { return now }, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, want int64, complaints int) {
		t.Helper()
		got, err := pair.getCertificate(nil)
		if err != nil || got.Leaf.SerialNumber.Int64() != want {
			t.Errorf("%s: certificate %v, error %v, want %d", what, got.Leaf.SerialNumber, err, want)
		}
		if got := strings.Count(log.String(), "level=WARN"); got != complaints {
			t.Errorf("%s: %d complaints, want %d: %s", what, got, complaints, log.String())
		}
	}
	check("as loaded", 1, 0)

	certificate, key = newKeyPair(t, 2)
	write(certFile, certificate) // the key will follow
	check("within the interval", 1, 0)
	for range 3 {
		now = now.Add(keyPairInterval)
		check("without its key", 1, 1)
	}
	write(keyFile, key)
	now = now.Add(keyPairInterval)
	check("with its key", 2, 1)

	write(certFile, []byte("none"))
	now = now.Add(keyPairInterval)
	check("not PEM", 2, 2)
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	now = now.Add(keyPairInterval)
	check("no key", 2, 3)
	if strings.Contains(log.String(), "PRIVATE KEY") {
		t.Errorf("the log holds the key: %s", log.String())
	}
}

// serial returns the number of the certificate that a server shows.
func serial(t *testing.T, address net.Addr) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", address.String(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // it only looks
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func newKeyPair(t *testing.T, serial int64, names ...string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		names = []string{"*.s.localhost"}
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}
