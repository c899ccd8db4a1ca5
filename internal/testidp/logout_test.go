package testidp_test

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/testidp"
)

const spSLO = "https://sp.example.test/saml/slo"

// message reads the message of a redirect, which has to be signed by the key.
func message(t *testing.T, target, parameter string, key *x509.Certificate) *etree.Element {
	t.Helper()
	_, query, _ := strings.Cut(target, "?")
	signed, signature, ok := strings.Cut(query, "&Signature=")
	require.True(t, ok, query)
	assert.True(t, strings.HasSuffix(signed, "&SigAlg=http%3a%2f%2fwww.w3.org%2f2001%2f04%2fxmldsig-more%23rsa-sha256"), signed)
	assert.NotRegexp(t, "%[0-9]?[A-F]", query, "escapes are in lower case")
	signature, err := url.QueryUnescape(signature)
	require.NoError(t, err)
	value, err := base64.StdEncoding.DecodeString(signature)
	require.NoError(t, err)
	sum := sha256.Sum256([]byte(signed))
	require.NoError(t, rsa.VerifyPKCS1v15(key.PublicKey.(*rsa.PublicKey), crypto.SHA256, sum[:], value))

	values, err := url.ParseQuery(query)
	require.NoError(t, err)
	compressed, err := base64.StdEncoding.DecodeString(values.Get(parameter))
	require.NoError(t, err)
	content, err := io.ReadAll(flate.NewReader(bytes.NewReader(compressed)))
	require.NoError(t, err)
	doc := etree.NewDocument()
	require.NoError(t, doc.ReadFromBytes(content))
	return doc.Root()
}

// fromSP makes what a service provider would send.
func fromSP(t *testing.T, idp *testidp.IDP, o testidp.LogoutOptions) string {
	t.Helper()
	o.LogoutURL, o.NameID, o.RelayState = idp.SLOURL(), "anything", "a b"
	if o.Key == nil {
		o.Key = spKey()
	}
	alter := o.Alter
	o.Alter = func(e *etree.Element) {
		e.SelectElement("Issuer").SetText(spEntityID)
		if alter != nil {
			alter(e)
		}
	}
	target, err := idp.LogoutRequestURL(o)
	require.NoError(t, err)
	return target
}

func TestE17_LogoutOfTheServiceProvider(t *testing.T) {
	options := testidp.Options{ServiceProviders: map[string]testidp.ServiceProvider{
		spEntityID: {ACSURL: spACS, LogoutURL: spSLO, VerificationCertificates: []*x509.Certificate{spKey().Certificate}},
	}}
	idp := newIDP(t, options)
	client := serve(t, idp)
	id := ""
	response, _ := get(t, client, fromSP(t, idp, testidp.LogoutOptions{Alter: func(e *etree.Element) { id = e.SelectAttrValue("ID", "") }}))
	require.Equal(t, http.StatusFound, response.StatusCode)
	target := response.Header.Get("Location")
	require.True(t, strings.HasPrefix(target, spSLO+"?SAMLResponse="), target)
	assert.Contains(t, target, "&RelayState=a+b&")
	answer := message(t, target, "SAMLResponse", idp.Certificates()[0])
	assert.Equal(t, "LogoutResponse", answer.Tag)
	assert.Equal(t, "https://login.microsoftonline.com/"+testidp.DefaultTenantID+"/", answer.SelectElement("Issuer").Text())
	assert.Equal(t, id, answer.SelectAttrValue("InResponseTo", ""))
	assert.Nil(t, answer.SelectAttr("Destination"))
	assert.Equal(t, 1, idp.Counts().LogoutRequests)

	for name, tc := range map[string]struct {
		options testidp.LogoutOptions
		want    string
	}{
		"unsigned":        {testidp.LogoutOptions{Unsigned: true}, "AADSTS76021"},
		"another's key":   {testidp.LogoutOptions{Key: foreignKey()}, "does not verify"},
		"a digit before":  {testidp.LogoutOptions{Alter: func(e *etree.Element) { e.CreateAttr("ID", "1") }}, "begins with a digit"},
		"no version":      {testidp.LogoutOptions{Alter: func(e *etree.Element) { e.RemoveAttr("Version") }}, "not 2.0"},
		"a stranger":      {testidp.LogoutOptions{Alter: func(e *etree.Element) { e.SelectElement("Issuer").SetText("https://other.example.test") }}, "AADSTS700016"},
		"no NameID":       {testidp.LogoutOptions{Alter: func(e *etree.Element) { e.RemoveChild(e.SelectElement("NameID")) }}, "AADSTS7500530"},
		"another message": {testidp.LogoutOptions{Alter: func(e *etree.Element) { e.Tag = "AuthnRequest" }}, "not a valid SAML 2.0 LogoutRequest"},
	} {
		response, page := get(t, client, fromSP(t, idp, tc.options))
		assert.Equal(t, http.StatusBadRequest, response.StatusCode, name)
		assert.Contains(t, string(page), tc.want, name)
	}
	status, _ := post(t, client, idp.SLOURL(), url.Values{"SAMLRequest": {"x"}})
	assert.Equal(t, http.StatusMethodNotAllowed, status, "there is no POST binding")

	idp.SetServiceProvider(spEntityID, testidp.ServiceProvider{ACSURL: spACS})
	_, page := get(t, client, fromSP(t, idp, testidp.LogoutOptions{}))
	assert.Contains(t, string(page), "You signed out", "without a logout URL it ends here")
}

func TestE17_LogoutOfTheIDP(t *testing.T) {
	idp := newIDP(t, testidp.Options{})
	client := serve(t, idp)
	target, err := idp.LogoutRequestURL(testidp.LogoutOptions{LogoutURL: spSLO, NameID: "ada", SessionIndexes: []string{"_a", "_b"}})
	require.NoError(t, err)
	request := message(t, target, "SAMLRequest", idp.Certificates()[0])
	assert.Equal(t, idp.EntityID(), request.SelectElement("Issuer").Text())
	assert.Equal(t, spSLO, request.SelectAttrValue("Destination", ""))
	assert.Equal(t, "ada", request.SelectElement("NameID").Text())
	assert.Nil(t, request.SelectElement("NameID").SelectAttr("Format"))
	assert.Len(t, request.SelectElements("SessionIndex"), 2)
	issued, err := time.Parse(time.RFC3339, request.SelectAttrValue("IssueInstant", ""))
	require.NoError(t, err)
	assert.Equal(t, issued.Add(time.Hour).Format(time.RFC3339Nano), request.SelectAttrValue("NotOnOrAfter", ""))

	// The answer comes back to it.
	answer, err := idp.LogoutResponseURL(testidp.LogoutOptions{LogoutURL: idp.SLOURL(), InResponseTo: "_x"})
	require.NoError(t, err)
	response, _ := get(t, client, answer)
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Equal(t, 1, idp.Counts().LogoutResponses)
}
