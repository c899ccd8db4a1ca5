package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Authorities are read once in a process, so another one looks.
func TestWithoutFilesOfTheSystemPublicAuthoritiesAreTrusted(t *testing.T) {
	const child = "LOOK_AT_AUTHORITIES"
	if os.Getenv(child) != "" {
		pool, err := x509.SystemCertPool()
		require.NoError(t, err)
		assert.False(t, pool.Equal(x509.NewCertPool()), "no authority is trusted")
		return
	}
	executable, err := os.Executable()
	require.NoError(t, err)
	missing := filepath.Join(t.TempDir(), "missing")
	command := exec.CommandContext(t.Context(), executable, "-test.run=^"+t.Name()+"$", "-test.v")
	command.Env = append(os.Environ(), child+"=1", "SSL_CERT_FILE="+missing, "SSL_CERT_DIR="+missing)
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
	assert.Contains(t, string(output), "--- PASS: "+t.Name())
}
