package testidp_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crewjam/saml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/testidp"
)

func TestE1_MetadataAddresses(t *testing.T) {
	idp := newIDP(t, testidp.Options{})
	client := serve(t, idp)
	const directory = "https://sts.windows.net/" + testidp.DefaultTenantID + "/"
	for _, tc := range []struct {
		url, entityID string
		ours          bool
	}{
		{idp.FederationMetadataURL("1b8f3c2b"), directory, true},
		{idp.FederationMetadataURL(""), directory, false},
		{idp.CommonMetadataURL(), "https://sts.windows.net/{tenantid}/", false},
	} {
		response, body := get(t, client, tc.url)
		require.Equal(t, http.StatusOK, response.StatusCode, tc.url)
		assert.True(t, strings.HasPrefix(string(body), "\xEF\xBB\xBF"), "byte order mark (E2)")
		var metadata saml.EntityDescriptor
		require.NoError(t, xml.Unmarshal(body, &metadata))
		assert.Equal(t, tc.entityID, metadata.EntityID)
		assert.Equal(t, tc.ours, metadataCertificates(t, body)[0] == encoded(idpKey().Certificate)[0], "the key of the application")
	}
	response, _ := get(t, client, strings.Replace(idp.CommonMetadataURL(), "/common/", "/other/", 1))
	assert.Equal(t, http.StatusNotFound, response.StatusCode)
}

func TestE4_CertificateIsOfThreeYears(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	key := newKey(testidp.KeyOptions{NotBefore: now})
	assert.Equal(t, now.AddDate(3, 0, 0), key.Certificate.NotAfter)
	assert.NoError(t, key.Certificate.CheckSignature(key.Certificate.SignatureAlgorithm, key.Certificate.RawTBSCertificate, key.Certificate.Signature), "self-signed")
}

// A new certificate is inactive, unless the active one has expired.
func TestE5_NewCertificate(t *testing.T) {
	now := time.Now()
	idp := newIDP(t, testidp.Options{BaseURL: "https://idp.example.test", Clock: func() time.Time { return now }})
	active := idp.ActiveKey()
	idp.AddExistingKey(foreignKey())
	assert.Equal(t, active, idp.ActiveKey())

	now = later(idpKey().Certificate.NotAfter, foreignKey().Certificate.NotAfter).Add(time.Second)
	idp.AddExistingKey(foreignKey())
	assert.Equal(t, active, idp.ActiveKey(), "one that has expired as well does not sign instead")
	next, err := idp.AddKey()
	require.NoError(t, err)
	assert.Equal(t, next, idp.ActiveKey(), "nobody was told")
}

func TestE11_AudienceThatIsNoURI(t *testing.T) {
	for issuer, audience := range map[string]string{"acme": "spn:acme", "urn:acme": "urn:acme", spEntityID: spEntityID} {
		idp := newIDP(t, testidp.Options{})
		client := serve(t, idp)
		sp := serviceProvider(t, idp)
		request := authnRequest(t, sp, idp, saml.HTTPRedirectBinding)
		request.Issuer.Value = issuer
		_, page := get(t, client, redirectURL(t, sp, request, ""))
		form := fields(page)
		form.Set("username", ada().Name)
		form.Set("password", ada().Password)
		_, page = post(t, client, strings.Replace(idp.SSOURL(), "/sso", "/signin", 1), form)
		response, err := base64.StdEncoding.DecodeString(fields(page).Get("SAMLResponse"))
		require.NoError(t, err)
		assert.Contains(t, string(response), "Audience>"+audience+"<")
	}
}

// Only the two certificates that were added last are tried.
func TestE14_TwoVerificationCertificates(t *testing.T) {
	registered := func(certificates ...*testidp.Key) testidp.Options {
		var sp testidp.ServiceProvider
		sp.ACSURL = spACS
		for _, key := range certificates {
			sp.VerificationCertificates = append(sp.VerificationCertificates, key.Certificate)
		}
		return testidp.Options{ServiceProviders: map[string]testidp.ServiceProvider{spEntityID: sp}}
	}
	for want, options := range map[string]testidp.Options{
		`type="password"`: registered(foreignKey(), spKey(), idpKey()),
		"does not verify": registered(spKey(), foreignKey(), idpKey()),
	} {
		idp := newIDP(t, options)
		client := serve(t, idp)
		sp := serviceProvider(t, idp)
		_, page := get(t, client, redirectURL(t, sp, authnRequest(t, sp, idp, saml.HTTPRedirectBinding), ""))
		assert.Contains(t, string(page), want)
	}
}

func TestE22_AddressOfOneApplication(t *testing.T) {
	for want, sp := range map[string]testidp.ServiceProvider{
		`type="password"`: {ACSURL: spACS},
		"signed requests": {ACSURL: spACS, VerificationCertificates: []*x509.Certificate{spKey().Certificate}},
	} {
		idp := newIDP(t, testidp.Options{ServiceProviders: map[string]testidp.ServiceProvider{spEntityID: sp}})
		client := serve(t, idp)
		party := serviceProvider(t, idp)
		u := redirectURL(t, party, authnRequest(t, party, idp, saml.HTTPRedirectBinding), "")
		u = strings.Replace(u, idp.SSOURL(), idp.InstanceSSOURL("1b8f3c2b"), 1)
		_, page := get(t, client, u)
		assert.Contains(t, string(page), want)
		_, page = get(t, client, strings.Replace(u, testidp.DefaultTenantID, "other", 1))
		assert.Contains(t, string(page), "no directory")
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
