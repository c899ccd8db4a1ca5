package interop_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/crewjam/saml/samlidp"
	dsig "github.com/russellhaering/goxmldsig"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// samlIDP is crewjam/saml's identity provider, another product with another
// sign-in form: it sends a transient NameID whatever is asked for, LDAP's names
// of attributes, and encrypts for whoever publishes an encryption key.
type samlIDP struct {
	t      *testing.T
	idp    *samlidp.Server
	server *httptest.Server
}

func startSAMLIDP(t *testing.T) *samlIDP {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "samlidp"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)

	s := &samlIDP{t: t}
	s.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.idp.ServeHTTP(w, r) }))
	t.Cleanup(s.server.Close)
	address, err := url.Parse(s.server.URL)
	require.NoError(t, err)
	s.idp, err = samlidp.New(samlidp.Options{URL: *address, Key: key, Certificate: certificate, Store: &samlidp.MemoryStore{}})
	require.NoError(t, err)
	// Its form posts to a page that forgets the request, unless it is told to.
	s.idp.IDP.LoginURL = s.idp.IDP.SSOURL
	// Its default is SHA-1, which nobody should accept any more.
	s.idp.IDP.SignatureMethod = dsig.RSASHA256SignatureMethod
	s.put("/users/alice", []byte(`{"name": "alice", "password": "wonderland", "groups": ["Admins", "Users"],
		"email": "alice@example.com", "common_name": "Alice Liddell", "surname": "Liddell", "given_name": "Alice"}`))
	return s
}

func (s *samlIDP) put(path string, body []byte) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPut, s.server.URL+path, bytes.NewReader(body))
	require.NoError(s.t, err)
	response, err := s.server.Client().Do(request)
	require.NoError(s.t, err)
	require.NoError(s.t, response.Body.Close())
	require.Equal(s.t, http.StatusNoContent, response.StatusCode)
}

func (s *samlIDP) EntityID() string    { return s.server.URL + "/metadata" }
func (s *samlIDP) MetadataURL() string { return s.server.URL + "/metadata" }

func (s *samlIDP) CAPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw})
}

func (s *samlIDP) RootCAs() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.server.Certificate())
	return pool
}

func (s *samlIDP) RegisterServiceProvider(metadata []byte) { s.put("/services/acme", metadata) }

// Two fields of a manifest are enough for an IdP that nothing here was made
// for.
func TestAnIDPOfAnotherKindWorksWithoutSettings(t *testing.T) {
	c := startWith(t, startSAMLIDP(t))
	c.onboard()
	for range 2 {
		browser := c.browser()
		_, err := browser.SignIn(t.Context(), c.url("/reports"), "alice", "wonderland")
		require.NoError(t, err)
	}
	visits := c.app.take()
	require.Len(t, visits, 2)
	for _, visit := range visits {
		assert.Equal(t, "{urn:oid:1.3.6.1.4.1.5923.1.1.1.6}alice@example.com", visit.User, "eduPersonPrincipalName stands in for the transient NameID, and is told apart from NameIDs")
		assert.Equal(t, "alice@example.com", visit.Email)
	}
	signIns := c.log.signIns()
	require.Len(t, signIns, 2)
	assert.True(t, signIns[0].Created)
	assert.False(t, signIns[1].Created, "the NameID changes at each sign-in, the user does not")
}
