package sp_test

import (
	"compress/flate"
	"crypto"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"io"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/sp"
)

func newRequest() sp.AuthnRequest {
	return sp.AuthnRequest{ID: "id-1", IssueInstant: now, Issuer: entityID, ACSURL: acsURL, Destination: "https://idp.example.test/saml2"}
}

// authnRequest is what an IdP reads.
type authnRequest struct {
	XMLName                     xml.Name `xml:"urn:oasis:names:tc:SAML:2.0:protocol AuthnRequest"`
	ID                          string   `xml:",attr"`
	Version                     string   `xml:",attr"`
	IssueInstant                string   `xml:",attr"`
	Destination                 string   `xml:",attr"`
	AssertionConsumerServiceURL string   `xml:",attr"`
	ProtocolBinding             string   `xml:",attr"`
	ForceAuthn                  string   `xml:",attr"`
	IsPassive                   string   `xml:",attr"`
	Issuer                      string   `xml:"urn:oasis:names:tc:SAML:2.0:assertion Issuer"`
	NameIDPolicy                *struct {
		Format      string `xml:",attr"`
		AllowCreate string `xml:",attr"`
	} `xml:"urn:oasis:names:tc:SAML:2.0:protocol NameIDPolicy"`
	RequestedAuthnContext *struct {
		Comparison           string   `xml:",attr"`
		AuthnContextClassRef []string `xml:"urn:oasis:names:tc:SAML:2.0:assertion AuthnContextClassRef"`
	} `xml:"urn:oasis:names:tc:SAML:2.0:protocol RequestedAuthnContext"`
	Subject *struct{} `xml:"urn:oasis:names:tc:SAML:2.0:assertion Subject"`
}

// received does what an IdP does with the URL of the Redirect binding.
func received(t *testing.T, redirect string) (url.Values, authnRequest) {
	t.Helper()
	u, err := url.Parse(redirect)
	require.NoError(t, err)
	query := u.Query()
	deflated, err := base64.StdEncoding.DecodeString(query.Get("SAMLRequest"))
	require.NoError(t, err)
	document, err := io.ReadAll(flate.NewReader(strings.NewReader(string(deflated))))
	require.NoError(t, err)
	var request authnRequest
	require.NoError(t, xml.Unmarshal(document, &request))
	return query, request
}

// Entra ID's wishes (E10 to E13): nothing that was not asked for.
func TestE10_PlainRequest(t *testing.T) {
	redirect, err := newRequest().RedirectURL("", nil)
	require.NoError(t, err)
	query, request := received(t, redirect)
	assert.Equal(t, authnRequest{
		XMLName: xml.Name{Space: "urn:oasis:names:tc:SAML:2.0:protocol", Local: "AuthnRequest"},
		ID:      "id-1", Version: "2.0", IssueInstant: "2026-11-24T12:00:00Z",
		Destination: "https://idp.example.test/saml2", AssertionConsumerServiceURL: acsURL,
		ProtocolBinding: "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST", Issuer: entityID,
	}, request)
	assert.Len(t, query, 1, "no RelayState, no signature")
}

func TestE12_E13_RequestAsksForMore(t *testing.T) {
	r := newRequest()
	r.ForceAuthn, r.IsPassive = true, true
	r.NameIDFormat = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	r.RequestedAuthnContext = []string{"urn:class:1", "urn:class:2&3"}
	redirect, err := r.RedirectURL("", nil)
	require.NoError(t, err)
	_, request := received(t, redirect)
	assert.Equal(t, "true", request.ForceAuthn)
	assert.Equal(t, "true", request.IsPassive)
	assert.Equal(t, r.NameIDFormat, request.NameIDPolicy.Format)
	assert.Equal(t, "true", request.NameIDPolicy.AllowCreate)
	assert.Equal(t, "exact", request.RequestedAuthnContext.Comparison)
	assert.Equal(t, r.RequestedAuthnContext, request.RequestedAuthnContext.AuthnContextClassRef)
	assert.Nil(t, request.Subject)

	r.AuthnContextComparison = "minimum"
	redirect, err = r.RedirectURL("", nil)
	require.NoError(t, err)
	_, request = received(t, redirect)
	assert.Equal(t, "minimum", request.RequestedAuthnContext.Comparison)
}

// The hint is a parameter of the IdP's address, not of the message: neither the
// signature nor Destination covers it.
func TestE10_LoginHint(t *testing.T) {
	for _, destination := range []string{"https://idp.example.test/saml2", "https://idp.example.test/sso?tenant=a%20b"} {
		r := newRequest()
		r.Destination, r.LoginHint = destination, "ada+x&SAMLRequest=ü@acme.example#"
		redirect, err := r.RedirectURL("state", spKey())
		require.NoError(t, err)
		query, request := received(t, redirect)
		assert.Equal(t, []string{r.LoginHint}, query["login_hint"])
		assert.Equal(t, destination, request.Destination)
		assert.Nil(t, request.Subject)
		assert.Len(t, query["SAMLRequest"], 1)
		_, signed, _ := strings.Cut(redirect, "SAMLRequest=")
		signed, _, _ = strings.Cut("SAMLRequest="+signed, "&Signature=")
		signature, err := base64.StdEncoding.DecodeString(query.Get("Signature"))
		require.NoError(t, err)
		hash := sha256.Sum256([]byte(signed))
		assert.NoError(t, rsa.VerifyPKCS1v15(&spKey().PublicKey, crypto.SHA256, hash[:], signature))

		form, err := r.PostForm("", nil)
		require.NoError(t, err)
		action, err := url.Parse(form.Action)
		require.NoError(t, err)
		assert.Equal(t, []string{r.LoginHint}, action.Query()["login_hint"])
	}
}

func TestE14_SignedRedirect(t *testing.T) {
	for _, relayState := range []string{"", "a&SigAlg=b c+d/é="} {
		redirect, err := newRequest().RedirectURL(relayState, spKey())
		require.NoError(t, err)
		query, _ := received(t, redirect)
		assert.Equal(t, relayState, query.Get("RelayState"))
		assert.Equal(t, []string{"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"}, query["SigAlg"])

		// The receiver verifies the octets as they came.
		_, raw, _ := strings.Cut(redirect, "?")
		signed, encoded, ok := strings.Cut(raw, "&Signature=")
		require.True(t, ok)
		names := regexp.MustCompile(`(\w+)=[^&]*`).ReplaceAllString(signed, "$1")
		if relayState == "" {
			assert.Equal(t, "SAMLRequest&SigAlg", names)
		} else {
			assert.Equal(t, "SAMLRequest&RelayState&SigAlg", names)
		}
		text, err := url.QueryUnescape(encoded)
		require.NoError(t, err)
		signature, err := base64.StdEncoding.DecodeString(text)
		require.NoError(t, err)
		hash := sha256.Sum256([]byte(signed))
		assert.NoError(t, rsa.VerifyPKCS1v15(&spKey().PublicKey, crypto.SHA256, hash[:], signature))
	}
}

func TestRedirectKeepsTheQueryOfTheSSOURL(t *testing.T) {
	r := newRequest()
	r.Destination = "https://idp.example.test/sso?tenant=a%20b&x="
	redirect, err := r.RedirectURL("state", nil)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(redirect, "https://idp.example.test/sso?tenant=a%20b&x=&SAMLRequest="))
	query, request := received(t, redirect)
	assert.Equal(t, "a b", query.Get("tenant"))
	assert.Equal(t, "state", query.Get("RelayState"))
	assert.Equal(t, r.Destination, request.Destination)
}

func TestPostForm(t *testing.T) {
	r := newRequest()
	r.Issuer = `https://sp.example/?a=1&b="2"<`
	form, err := r.PostForm("state", nil)
	require.NoError(t, err)
	assert.Equal(t, r.Destination, form.Action)
	assert.Equal(t, "state", form.RelayState)
	document, err := base64.StdEncoding.DecodeString(form.Message)
	require.NoError(t, err)
	var request authnRequest
	require.NoError(t, xml.Unmarshal(document, &request))
	assert.Equal(t, r.Issuer, request.Issuer)
	assert.NotContains(t, string(document), "Signature")
}

// Another library verifies the signature, and finds it where the schema wants
// it.
func TestSignedPostForm(t *testing.T) {
	r := newRequest()
	r.Issuer = `https://sp.example/?a=1&b="2"<` + "\té"
	r.NameIDFormat = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	form, err := r.PostForm("", spKey())
	require.NoError(t, err)
	raw, err := base64.StdEncoding.DecodeString(form.Message)
	require.NoError(t, err)

	document := etree.NewDocument()
	require.NoError(t, document.ReadFromBytes(raw))
	var children []string
	for _, child := range document.Root().ChildElements() {
		children = append(children, child.Tag)
	}
	assert.Equal(t, []string{"Issuer", "Signature", "NameIDPolicy"}, children)

	certificate := validIDP(t, spKey()).certificate
	context := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: append(expectations().SigningCertificates, certificate)})
	context.Clock = dsig.NewFakeClockAt(now)
	_, err = context.Validate(document.Root())
	require.NoError(t, err)

	document.Root().CreateAttr("ForceAuthn", "true")
	_, err = context.Validate(document.Root())
	assert.Error(t, err)
}

func TestRequestRefuses(t *testing.T) {
	tests := map[string]func(*sp.AuthnRequest) (relayState string, signer crypto.Signer){
		"no ID":      func(r *sp.AuthnRequest) (string, crypto.Signer) { r.ID = ""; return "", nil },
		"no Issuer":  func(r *sp.AuthnRequest) (string, crypto.Signer) { r.Issuer = ""; return "", nil },
		"no ACS URL": func(r *sp.AuthnRequest) (string, crypto.Signer) { r.ACSURL = ""; return "", nil },
		"no time": func(r *sp.AuthnRequest) (string, crypto.Signer) {
			*r = sp.AuthnRequest{ID: r.ID, Issuer: r.Issuer, ACSURL: r.ACSURL, Destination: r.Destination}
			return "", nil
		},
		"no SSO URL": func(r *sp.AuthnRequest) (string, crypto.Signer) { r.Destination = ""; return "", nil },
		"script (A13)": func(r *sp.AuthnRequest) (string, crypto.Signer) {
			r.Destination = "javascript:alert(1)"
			return "", nil
		},
		"data (A13)":       func(r *sp.AuthnRequest) (string, crypto.Signer) { r.Destination = "data:text/html,x"; return "", nil },
		"relative SSO URL": func(r *sp.AuthnRequest) (string, crypto.Signer) { r.Destination = "/sso"; return "", nil },
		"no URL": func(r *sp.AuthnRequest) (string, crypto.Signer) {
			r.Destination = "https://idp\n.example/"
			return "", nil
		},
		"fragment":        func(r *sp.AuthnRequest) (string, crypto.Signer) { r.Destination += "#x"; return "", nil },
		"long RelayState": func(*sp.AuthnRequest) (string, crypto.Signer) { return strings.Repeat("x", 81), nil },
		"EC key":          func(*sp.AuthnRequest) (string, crypto.Signer) { return "", ecKey(t, elliptic.P256()) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRequest()
			relayState, signer := change(&r)
			_, err := r.RedirectURL(relayState, signer)
			assert.Error(t, err)
			_, err = r.PostForm(relayState, signer)
			assert.Error(t, err)
		})
	}
}

func TestNewRequestID(t *testing.T) {
	first, second := sp.NewRequestID(), sp.NewRequestID()
	assert.Regexp(t, `^id-[0-9a-f]{40}$`, first)
	assert.NotEqual(t, first, second)
}
