package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func dialExtAuthz(t *testing.T, address string, c credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// serving says what the health check of a server says.
func serving(t *testing.T, conn *grpc.ClientConn) healthv1.HealthCheckResponse_ServingStatus {
	t.Helper()
	response, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		return healthv1.HealthCheckResponse_UNKNOWN
	}
	return response.GetStatus()
}

// startGateway serves until stop is called, which returns what serve did.
func startGateway(t *testing.T, c config) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	done := make(chan error, 1)
	go func() { done <- serve(ctx, c, io.Discard, slog.New(slog.DiscardHandler)) }()
	return func() error {
		cancel()
		return <-done
	}
}

func TestExtAuthzIsServedUntilTheEnd(t *testing.T) {
	address := freeAddress(t)
	stop := startGateway(t, config{listen: "127.0.0.1:0", extAuthzListen: address, tenantsDir: t.TempDir(), dataDir: t.TempDir()})
	conn := dialExtAuthz(t, address, insecure.NewCredentials())
	require.Eventually(t, func() bool { return serving(t, conn) == healthv1.HealthCheckResponse_SERVING }, time.Minute, 10*time.Millisecond, "not ready in time")

	response, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "acme.s.localhost", Path: "/"}},
	}})
	if err != nil || response.GetStatus().GetCode() != int32(codes.PermissionDenied) || response.GetDeniedResponse().GetStatus().GetCode() != http.StatusNotFound {
		t.Errorf("got %v, %v: there is no tenant", response, err)
	}

	// With Envoy's connection open.
	if err := stop(); err != nil {
		t.Errorf("serve: %v", err)
	}
	if late, err := net.Dial("tcp", address); err == nil {
		_ = late.Close()
		t.Error("the port is still served")
	}
}

// Until the database is there, nobody should be sent here, and nobody is let in.
func TestExtAuthzBeforeTheGatewayIsReady(t *testing.T) {
	address, key := freeAddress(t), filepath.Join(t.TempDir(), "cookie.key")
	require.NoError(t, os.WriteFile(key, make([]byte, 32), 0o600))
	stop := startGateway(t, config{
		listen: "127.0.0.1:0", extAuthzListen: address, tenantsDir: t.TempDir(), cookieKeyFile: key,
		database: "postgres://gateway@127.0.0.1:1/sso?sslmode=disable",
	})
	conn := dialExtAuthz(t, address, insecure.NewCredentials())
	require.Eventually(t, func() bool { return serving(t, conn) == healthv1.HealthCheckResponse_NOT_SERVING }, time.Minute, 10*time.Millisecond, "no health in time")
	response, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "acme.s.localhost", Path: "/"}},
	}})
	if err != nil || response.GetDeniedResponse().GetStatus().GetCode() != http.StatusServiceUnavailable {
		t.Errorf("got %v, %v", response, err)
	}
	if err := stop(); err != nil {
		t.Errorf("serve: %v", err)
	}
}

// slow answers a call once it may, or when nobody waits any more.
type slow struct {
	authv3.UnimplementedAuthorizationServer
	begun, answer chan struct{}
}

func (s slow) Check(ctx context.Context, _ *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	close(s.begun)
	select {
	case <-s.answer:
	case <-ctx.Done():
	}
	return &authv3.CheckResponse{}, nil
}

func TestStopGracefully(t *testing.T) {
	for name, test := range map[string]struct {
		patient bool
		want    codes.Code
	}{"a call that ends": {true, codes.OK}, "one that does not in time": {false, codes.Unavailable}} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			handler, server := slow{begun: make(chan struct{}), answer: make(chan struct{})}, grpc.NewServer()
			authv3.RegisterAuthorizationServer(server, handler)
			go func() { _ = server.Serve(listener) }()
			conn := dialExtAuthz(t, listener.Addr().String(), insecure.NewCredentials())
			got := make(chan error, 1)
			go func() {
				_, err := authv3.NewAuthorizationClient(conn).Check(context.Background(), &authv3.CheckRequest{})
				got <- err
			}()
			<-handler.begun
			drain, cancel := context.WithCancel(t.Context())
			defer cancel()
			if test.patient {
				go func() {
					for err := error(nil); err == nil; {
						var late net.Conn
						if late, err = net.Dial("tcp", listener.Addr().String()); err == nil {
							_ = late.Close()
						}
					}
					close(handler.answer) // nobody new is let in
				}()
			} else {
				cancel()
			}
			stopGracefully(drain, server)
			if err := <-got; status.Code(err) != test.want {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// Row T9: who has no certificate asks nothing.
func TestT9_ExtAuthzOverMutualTLS(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	serverCertificate, serverKey := newKeyPair(t, 1)
	envoyCertificate, envoyKey := newKeyPair(t, 2)
	otherCertificate, otherKey := newKeyPair(t, 3)
	address := freeAddress(t)
	c := config{
		listen: "127.0.0.1:0", extAuthzListen: address, tenantsDir: t.TempDir(), dataDir: t.TempDir(),
		tlsCertFile: file("tls.crt", serverCertificate), tlsKeyFile: file("tls.key", serverKey), extAuthzClientCAFile: file("ca.crt", envoyCertificate),
	}
	stop := startGateway(t, c)

	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(serverCertificate)
	client := func(certificate, key []byte) credentials.TransportCredentials {
		config := &tls.Config{RootCAs: roots, ServerName: "gateway.s.localhost", MinVersion: tls.VersionTLS12}
		if certificate != nil {
			pair, err := tls.X509KeyPair(certificate, key)
			require.NoError(t, err)
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		return credentials.NewTLS(config)
	}
	envoy := dialExtAuthz(t, address, client(envoyCertificate, envoyKey))
	require.Eventually(t, func() bool { return serving(t, envoy) == healthv1.HealthCheckResponse_SERVING }, time.Minute, 10*time.Millisecond, "not ready in time")
	for name, credentials := range map[string]credentials.TransportCredentials{
		"no TLS": insecure.NewCredentials(), "no certificate": client(nil, nil), "somebody else's": client(otherCertificate, otherKey),
	} {
		conn := dialExtAuthz(t, address, credentials)
		if got := serving(t, conn); got != healthv1.HealthCheckResponse_UNKNOWN {
			t.Errorf("%s: %v", name, got)
		}
		if _, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), &authv3.CheckRequest{}); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("serve: %v", err)
	}

	c.extAuthzClientCAFile = file("none.crt", []byte("none"))
	if err := serve(t.Context(), c, io.Discard, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "--ext-authz-client-ca-file") {
		t.Errorf("a file without certificates: %v", err)
	}
}
