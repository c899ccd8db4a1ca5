// Package interop_test takes a SAMLTenant through the whole chain with nothing
// replaced: kube-apiserver, the operator with its fetcher, SimpleSAMLphp as the
// identity provider, the gateway, and an application behind it.
package interop_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/utils/ptr"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/testbrowser"
	"cequence.cloud/saml-operator/test/interop/simplesamlphp"
)

// ada has a group whose name looks like two in a list.
func ada() simplesamlphp.User {
	return simplesamlphp.Person("ada", "correct horse", "Ada", "Lovelace", "ada@acme.example", "engineers", "Sales, EMEA", "50 %")
}

func idpOfAda() simplesamlphp.Options {
	return simplesamlphp.Options{Users: []simplesamlphp.User{ada()}}
}

// objectID is the attribute by which Entra ID, and so the operator's default
// mapping, tells who somebody is.
func objectID(u simplesamlphp.User) string {
	return u.Attributes["http://schemas.microsoft.com/identity/claims/objectidentifier"][0]
}

func TestUserIsCreatedAtFirstSignInAndFoundAtTheSecond(t *testing.T) {
	c := start(t, idpOfAda())
	c.onboard()

	page := c.signIn(c.browser(), "/reports?year=2026")
	assert.Equal(t, "/reports?year=2026", page.URL.RequestURI(), "the user arrives where the link led")
	seen := c.app.take()
	require.Len(t, seen, 1, "the application sees who is signed in, and nobody else")
	assert.Equal(t, visit{
		URI: "/reports?year=2026", Tenant: tenantName, User: objectID(ada()), Email: "ada@acme.example",
		Groups: []string{"engineers", "Sales, EMEA", "50 %"},
	}, seen[0])

	again := c.browser()
	c.signIn(again, "/")
	assert.JSONEq(t, `{
		"id": "`+objectID(ada())+`", "email": "ada@acme.example", "displayName": "ada",
		"givenName": "Ada", "surname": "Lovelace", "groups": ["engineers", "Sales, EMEA", "50 %"], "roles": []
	}`, c.whoami(again))

	signIns := c.log.signIns()
	require.Len(t, signIns, 2)
	assert.True(t, signIns[0].Created)
	assert.False(t, signIns[1].Created)
	assert.NotEmpty(t, signIns[0].User)
	assert.Equal(t, signIns[0].User, signIns[1].User)
}

func TestSigningKeyRollover(t *testing.T) {
	c := start(t, idpOfAda())
	c.onboard()
	first := c.idp.Certificate()
	c.assertTrusts(first)
	early := c.browser()
	c.signIn(early, "/")
	c.assertSignedBy(first)

	next := c.idp.AnnounceKey()
	c.refresh()
	c.assertTrusts(first, next)
	c.signIn(c.browser(), "/")
	c.assertSignedBy(first)

	c.idp.SwitchKey()
	c.signIn(c.browser(), "/")
	c.assertSignedBy(next)

	c.refresh()
	c.assertTrusts(first, next) // the first one is withdrawn, and has its grace
	c.signIn(c.browser(), "/")
	c.assertSignedBy(next)

	// The session from before goes on, without another sign-in.
	assert.Contains(t, c.whoami(early), objectID(ada()))
}

// The first to come after the switch is signed in, and nobody has done anything
// for that.
func TestUnannouncedSigningKey(t *testing.T) {
	c := start(t, idpOfAda())
	c.onboard()
	next := c.idp.AnnounceKey()
	c.idp.SwitchKey()
	c.signIn(c.browser(), "/reports")
	c.assertSignedBy(next)
	c.untilServed()
	c.signIn(c.browser(), "/")
	require.Len(t, c.log.signIns(), 2)
}

func TestWrongPassword(t *testing.T) {
	c := start(t, idpOfAda())
	c.onboard()
	_, err := c.refused("wrong")
	require.ErrorIs(t, err, testbrowser.ErrRefused)
	c.signIn(c.browser(), "/")
}

func TestSignedRequestsBecauseTheTenantWantsThem(t *testing.T) {
	c := start(t, idpOfAda())
	unsigned := c.onboard()
	b := c.browser()
	c.signIn(b, "/")
	assert.NotContains(t, requestTo(c.idp, b), "Signature")

	// SimpleSAMLphp does check the requests of those who promise signatures.
	promise := bytes.Replace(unsigned, []byte(`AuthnRequestsSigned="false"`), []byte(`AuthnRequestsSigned="true"`), 1)
	require.NotEqual(t, string(unsigned), string(promise))
	c.idp.RegisterServiceProvider(promise)
	page, _ := c.refused(ada().Password)
	assert.Contains(t, string(page.Body), "no signature found on message")

	c.edit(func(spec *v1alpha1.SAMLTenantSpec) {
		spec.ServiceProvider = &v1alpha1.ServiceProvider{SignAuthnRequests: ptr.To(true)}
	})
	assert.Equal(t, string(promise), string(c.register()), "the key stays")
	b = c.browser()
	c.signIn(b, "/")
	assert.Contains(t, requestTo(c.idp, b), "SigAlg&Signature")
}

func TestSignedRequestsBecauseTheIdPWantsThem(t *testing.T) {
	o := idpOfAda()
	o.WantSignedRequests = true
	c := start(t, o)
	metadata := c.onboard()
	assert.Contains(t, string(metadata), `AuthnRequestsSigned="true"`)
	b := c.browser()
	c.signIn(b, "/")
	assert.Contains(t, requestTo(c.idp, b), "SigAlg&Signature")
}

// An IdP signs the assertion, the Response, or both.
func TestSigningOptions(t *testing.T) {
	for _, test := range []struct{ response, assertion bool }{{true, true}, {true, false}, {false, true}} {
		o := idpOfAda()
		o.UnsignedResponses = !test.response
		c := start(t, o)
		metadata := c.onboard()
		if !test.assertion {
			c.idp.RegisterServiceProvider(bytes.Replace(metadata, []byte(`WantAssertionsSigned="true"`), []byte(`WantAssertionsSigned="false"`), 1))
		}
		c.signIn(c.browser(), "/")

		type signed struct {
			Signature *struct{} `xml:"http://www.w3.org/2000/09/xmldsig# Signature"`
		}
		var response struct {
			signed
			Assertion signed `xml:"urn:oasis:names:tc:SAML:2.0:assertion Assertion"`
		}
		require.NoError(t, xml.Unmarshal([]byte(c.responses.last(t)), &response))
		assert.Equal(t, test.response, response.Signature != nil, "the Response is signed")
		assert.Equal(t, test.assertion, response.Assertion.Signature != nil, "the assertion is signed")
	}
}

func TestEncryptedAssertion(t *testing.T) {
	o := idpOfAda()
	o.EncryptAssertions = true
	c := start(t, o)
	c.onboard()
	c.signIn(c.browser(), "/")

	response := c.responses.last(t)
	assert.Contains(t, response, "EncryptedAssertion")
	assert.NotContains(t, response, ada().Attributes["Group"][0])
	seen := c.app.take()
	require.Len(t, seen, 1)
	assert.Equal(t, ada().Attributes["Group"], seen[0].Groups)
}

func TestSingleLogoutFromHere(t *testing.T) {
	c := start(t, idpOfAda())
	c.onboard()
	b := c.browser()
	c.signIn(b, "/")

	page, err := b.Open(t.Context(), c.url("/saml/logout"))
	require.NoError(t, err)
	require.Equal(t, "Sign out?", page.Title)
	page, err = b.FillAndSubmit(t.Context(), nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, page.Status, string(page.Body))
	assert.Equal(t, c.tenant.Status.ServiceProvider.SLOURL, strings.Split(page.URL.String(), "?")[0])
	assert.Contains(t, string(page.Body), "and at your organization", "the IdP's signed answer says so")
	c.assertSignedOut(b)
}

func TestSingleLogoutFromTheIDP(t *testing.T) {
	c := start(t, idpOfAda())
	c.onboard()
	b := c.browser()
	c.signIn(b, "/")

	page, err := b.Open(t.Context(), c.idp.LogoutURL())
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, page.Status, string(page.Body))
	assert.True(t, strings.HasPrefix(c.idp.EntityID(), "https://"+page.URL.Host+"/"), "the IdP has taken our answer")
	c.assertSignedOut(b)
}

// assertSignedOut holds that the browser has a session neither here nor at the
// IdP, which would sign it in again without a question.
func (c *chain) assertSignedOut(b *testbrowser.Browser) {
	c.t.Helper()
	page, err := b.Open(c.t.Context(), c.url("/saml/session"))
	require.NoError(c.t, err)
	assert.Equal(c.t, http.StatusUnauthorized, page.Status)
	page, err = b.Open(c.t.Context(), c.url("/"))
	require.NoError(c.t, err)
	assert.True(c.t, strings.HasPrefix(c.idp.EntityID(), "https://"+page.URL.Host+"/"), "the IdP asks: %s", page.URL)
	c.signIn(b, "/")
}

// whoami returns what the application's scripts learn of the user.
func (c *chain) whoami(b *testbrowser.Browser) string {
	c.t.Helper()
	page, err := b.Open(c.t.Context(), c.url("/saml/session"))
	require.NoError(c.t, err)
	require.Equal(c.t, http.StatusOK, page.Status)
	var body struct {
		Tenant string
		User   json.RawMessage
	}
	require.NoError(c.t, json.Unmarshal(page.Body, &body))
	assert.Equal(c.t, tenantName, body.Tenant)
	return string(body.User)
}

// requestTo returns the step in which the browser brought a request to the
// IdP, with the names of the query's parameters.
func requestTo(idp *simplesamlphp.IDP, b *testbrowser.Browser) string {
	sso := strings.Replace(idp.EntityID(), "metadata.php", "SSOService.php", 1)
	for _, step := range b.Steps() {
		if strings.HasPrefix(step.URL, sso+"?SAMLRequest") {
			return step.URL
		}
	}
	return ""
}
