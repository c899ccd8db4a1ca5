package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"cequence.cloud/saml-operator/internal/gateway/authz"
)

// newExtAuthz returns the server for Envoy and where it listens.
func newExtAuthz(c config, own *certificates, a authz.Authorizer, ready func() error) (*grpc.Server, net.Listener, error) {
	var options []grpc.ServerOption
	if c.extAuthzClientCAFile != "" {
		config, err := c.mutualTLS(own)
		if err != nil {
			return nil, nil, err
		}
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	listener, err := net.Listen("tcp", c.extAuthzListen)
	if err != nil {
		return nil, nil, fmt.Errorf("--ext-authz-listen: %w", err)
	}
	return authz.NewEnvoy(a, ready, options...), listener, nil
}

// mutualTLS lets in who has a certificate of --ext-authz-client-ca-file, and shows
// our own.
func (c config) mutualTLS(own *certificates) (*tls.Config, error) {
	authorities, err := os.ReadFile(filepath.Clean(c.extAuthzClientCAFile))
	if err != nil {
		return nil, fmt.Errorf("--ext-authz-client-ca-file: %w", err)
	}
	config := own.config()
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(authorities) {
		return nil, errors.New("--ext-authz-client-ca-file: there is no certificate in the file")
	}
	return config, nil
}

// stopGracefully lets the calls of now finish until ctx ends.
func stopGracefully(ctx context.Context, s *grpc.Server) {
	done := make(chan struct{})
	go func() {
		s.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.Stop()
		<-done
	}
}
