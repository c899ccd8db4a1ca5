package interop_test

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/utils/ptr"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/testbrowser"
)

// posted says whether the browser posted a request to the IdP.
func posted(b *testbrowser.Browser, sso string) bool {
	for _, step := range b.Steps() {
		if step.Method == http.MethodPost && step.URL == sso {
			return true
		}
	}
	return false
}

// SimpleSAMLphp verifies the enveloped signature of a request that was posted.
func TestSignedRequestsByThePostBinding(t *testing.T) {
	c := start(t, idpOfAda())
	unsigned := c.onboard()
	c.edit(func(spec *v1alpha1.SAMLTenantSpec) {
		spec.ServiceProvider = &v1alpha1.ServiceProvider{RequestBinding: v1alpha1.RequestBindingPOST}
	})
	sso := c.tenant.Status.IDP.SSOURL
	b := c.browser()
	c.signIn(b, "/reports?a=b")
	assert.True(t, posted(b, sso), "%v", b.Steps())

	c.idp.RegisterServiceProvider(bytes.Replace(unsigned, []byte(`AuthnRequestsSigned="false"`), []byte(`AuthnRequestsSigned="true"`), 1))
	page, _ := c.refused(ada().Password)
	assert.Contains(t, string(page.Body), "no signature found on message")

	c.edit(func(spec *v1alpha1.SAMLTenantSpec) { spec.ServiceProvider.SignAuthnRequests = ptr.To(true) })
	c.register()
	b = c.browser()
	c.signIn(b, "/")
	assert.True(t, posted(b, sso), "%v", b.Steps())
}

func TestAnIDPOfAnotherKindTakesPostedRequests(t *testing.T) {
	c := startWith(t, startSAMLIDP(t))
	c.onboard()
	c.edit(func(spec *v1alpha1.SAMLTenantSpec) {
		spec.ServiceProvider = &v1alpha1.ServiceProvider{RequestBinding: v1alpha1.RequestBindingPOST}
	})
	b := c.browser()
	page, err := b.SignIn(t.Context(), c.url("/reports"), "alice", "wonderland")
	require.NoError(t, err)
	assert.Equal(t, c.url("/reports"), page.URL.String())
	assert.True(t, posted(b, c.tenant.Status.IDP.SSOURL), "%v", b.Steps())
}

// A user whom the IdP knows is asked again where that is wanted, and only there.
func TestForcedAndSilentSignIns(t *testing.T) {
	c := start(t, idpOfAda())
	c.onboard()
	b := c.browser()
	page, err := b.Open(t.Context(), c.url("/saml/login?isPassive=true&return_to=/silent"))
	require.NoError(t, err)
	assert.Equal(t, http.StatusForbidden, page.Status)
	assert.Contains(t, string(page.Body), "Please sign in")

	c.signIn(b, "/")
	page, err = b.Open(t.Context(), c.url("/saml/login?isPassive=true&return_to=/silent"))
	require.NoError(t, err)
	assert.Equal(t, c.url("/silent"), page.URL.String())

	for _, forced := range []func() string{
		func() string { return c.url("/saml/login?forceAuthn=true&return_to=/forced") },
		func() string {
			c.edit(func(spec *v1alpha1.SAMLTenantSpec) {
				spec.ServiceProvider = &v1alpha1.ServiceProvider{ForceAuthn: true}
			})
			return c.url("/saml/login?return_to=/forced")
		},
	} {
		page, err = b.Open(t.Context(), forced())
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(page.URL.String(), strings.TrimSuffix(c.idp.EntityID(), "saml2/idp/metadata.php")), "asked by the IdP: %s", page.URL)
		page, err = b.FillAndSubmit(t.Context(), map[string]string{"username": ada().Name, "password": ada().Password})
		require.NoError(t, err)
		assert.Equal(t, c.url("/forced"), page.URL.String())
	}
}

// SimpleSAMLphp answers with what it did, whatever was asked for.
func TestRequestedAuthnContext(t *testing.T) {
	c := start(t, idpOfAda())
	c.onboard()
	want := func(class string) {
		c.edit(func(spec *v1alpha1.SAMLTenantSpec) {
			spec.ServiceProvider = &v1alpha1.ServiceProvider{RequestedAuthnContext: &v1alpha1.RequestedAuthnContext{ClassRefs: []string{class}}}
		})
	}
	want("urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport")
	c.signIn(c.browser(), "/")
	want("https://refeds.org/profile/mfa")
	_, err := c.refused(ada().Password)
	require.Error(t, err)
	assert.Contains(t, c.log.String(), `"code":"authn_context_mismatch"`)
}

// A plain assertion is refused where encryption is wanted, and the IdP's
// encrypted one is taken.
func TestEncryptionIsWanted(t *testing.T) {
	o := idpOfAda()
	for _, encrypts := range []bool{false, true} {
		o.EncryptAssertions = encrypts
		c := start(t, o)
		c.onboard()
		c.edit(func(spec *v1alpha1.SAMLTenantSpec) {
			spec.ServiceProvider = &v1alpha1.ServiceProvider{WantAssertionsEncrypted: true}
		})
		if encrypts {
			c.signIn(c.browser(), "/")
			continue
		}
		_, err := c.refused(ada().Password)
		require.Error(t, err)
		assert.Contains(t, c.log.String(), `"code":"assertion_not_encrypted"`)
	}
}

// The tile of the IdP's portal, in each of the modes.
func TestSignInsThatBeginAtTheIDP(t *testing.T) {
	c := start(t, idpOfAda())
	c.onboard()
	tile := strings.Replace(c.idp.EntityID(), "metadata.php", "SSOService.php", 1) + "?" + url.Values{
		"spentityid": {c.tenant.Status.ServiceProvider.EntityID}, "RelayState": {c.url("/reports?a=b")},
	}.Encode()
	b := c.browser()
	page, err := b.SignIn(t.Context(), tile, ada().Name, ada().Password)
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, page.Status)
	assert.Empty(t, c.log.signIns())

	for n, mode := range []v1alpha1.IDPInitiated{v1alpha1.IDPInitiatedRestart, v1alpha1.IDPInitiatedAccept} {
		c.edit(func(spec *v1alpha1.SAMLTenantSpec) {
			spec.ServiceProvider = &v1alpha1.ServiceProvider{AllowIDPInitiated: mode}
		})
		b := c.browser()
		page, err := b.SignIn(t.Context(), tile, ada().Name, ada().Password)
		require.NoError(t, err)
		assert.Equal(t, c.url("/reports?a=b"), page.URL.String(), "%s: %v", mode, b.Steps())
		assert.Len(t, c.log.signIns(), 2*n+1)
		assert.Equal(t, mode == v1alpha1.IDPInitiatedRestart, requestTo(c.idp, b) != "", "%s: %v", mode, b.Steps())
		// Once more, by the session at the IdP.
		page, err = b.Open(t.Context(), tile)
		require.NoError(t, err)
		assert.Equal(t, c.url("/reports?a=b"), page.URL.String(), "%s: %v", mode, b.Steps())
	}
}
