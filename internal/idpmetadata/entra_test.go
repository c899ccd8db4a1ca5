package idpmetadata_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/testidp"
)

// The address with the application's ID is the one to use. That of no directory
// in particular is refused; that of the directory is a good document with other
// keys, so that nobody can sign in by it.
func TestE1_AddressesOfEntraID(t *testing.T) {
	idp, err := testidp.New(testidp.Options{BaseURL: "https://login.example.test"})
	require.NoError(t, err)
	accept := func(u string) (*idpmetadata.Descriptor, error) {
		w := httptest.NewRecorder()
		idp.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, u, nil))
		require.Equal(t, http.StatusOK, w.Code)
		return idpmetadata.Accept(w.Body.Bytes(), idpmetadata.Requirements{Now: time.Now()})
	}
	d, err := accept(idp.FederationMetadataURL("1b8f3c2b"))
	require.NoError(t, err, "with a byte order mark (E2)")
	assert.Equal(t, idp.EntityID(), d.EntityID)
	require.Len(t, d.SigningCertificates, 1)
	assert.True(t, d.SigningCertificates[0].Equal(idp.Certificates()[0]))

	shared, err := accept(idp.FederationMetadataURL(""))
	require.NoError(t, err)
	assert.False(t, shared.SigningCertificates[0].Equal(idp.Certificates()[0]))

	_, err = accept(idp.CommonMetadataURL())
	assert.Equal(t, idpmetadata.EntityIDMismatch, idpmetadata.ReasonOf(err))
	assert.ErrorContains(t, err, "?appid=")
}

// Both certificates are trusted, and from the SAML role alone, although a
// WS-Federation role with the same ones stands before it (E3, E7).
func TestE3_AllCertificatesOfTheSAMLRole(t *testing.T) {
	idp, err := testidp.New(testidp.Options{BaseURL: "https://login.example.test"})
	require.NoError(t, err)
	_, err = idp.AddKey()
	require.NoError(t, err)
	document, err := idp.Metadata()
	require.NoError(t, err)
	require.Less(t, strings.Index(string(document), "<RoleDescriptor"), strings.Index(string(document), "<IDPSSODescriptor"))
	d, err := idpmetadata.Accept(document, idpmetadata.Requirements{Now: time.Now()})
	require.NoError(t, err)
	require.Len(t, d.SigningCertificates, 2)
	for i, c := range idp.Certificates() {
		assert.True(t, d.SigningCertificates[i].Equal(c))
	}
	assert.Len(t, d.SSO, 2, "Redirect and POST, at the same place")
	assert.Equal(t, d.SSO[0].Location, d.SSO[1].Location)
}
