package testpostgres_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/testpostgres"
)

// Others reach it at a TCP address, and again after it was away.
func TestListen(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := netip.MustParseAddrPort(listener.Addr().String())
	require.NoError(t, listener.Close())

	server, err := testpostgres.Listen(address)
	require.NoError(t, err, "hack/install-test-packages.sh installs PostgreSQL")
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	url, err := server.CreateDatabase(t.Context())
	require.NoError(t, err)
	query := func() error {
		connection, err := pgx.Connect(t.Context(), url)
		if err != nil {
			return err
		}
		defer func() { _ = connection.Close(t.Context()) }()
		config := connection.Config()
		assert.Equal(t, address.Addr().String(), config.Host)
		_, err = connection.Exec(t.Context(), "SELECT 1")
		return err
	}
	require.NoError(t, query())
	require.NoError(t, server.Stop())
	require.Error(t, query())
	require.NoError(t, server.Start())
	require.NoError(t, query())
}
