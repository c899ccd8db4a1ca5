package testidp_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/testidp"
)

const (
	spEntityID = "https://acme.s.example.test:443/saml/metadata"
	spACS      = "https://acme.s.example.test/saml/acs"
)

// Keys cost a tenth of a second each: the tests share these.
var (
	idpKey     = sync.OnceValue(func() *testidp.Key { return newKey(testidp.KeyOptions{}) })
	spKey      = sync.OnceValue(func() *testidp.Key { return newKey(testidp.KeyOptions{CommonName: "sp"}) })
	foreignKey = sync.OnceValue(func() *testidp.Key { return newKey(testidp.KeyOptions{CommonName: "foreign"}) })
)

func newKey(o testidp.KeyOptions) *testidp.Key {
	key, err := testidp.NewKey(o)
	if err != nil {
		panic(err)
	}
	return key
}

func ada() testidp.User {
	return testidp.User{
		Name: "ada@acme.example", Password: "correct horse", GivenName: "Ada", Surname: "Lovelace",
		Email: "ada.lovelace@acme.example", DisplayName: "Ada Lovelace", Groups: []string{"engineers", "admins"},
	}
}

func newIDP(t *testing.T, o testidp.Options) *testidp.IDP {
	t.Helper()
	if o.Users == nil {
		o.Users = []testidp.User{ada()}
	}
	if o.Keys == nil {
		o.Keys = []*testidp.Key{idpKey()}
	}
	idp, err := testidp.New(o)
	require.NoError(t, err)
	return idp
}

func serve(t *testing.T, idp *testidp.IDP) *http.Client {
	t.Helper()
	server := httptest.NewTLSServer(idp)
	t.Cleanup(server.Close)
	idp.SetBaseURL(server.URL)
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client
}

// serviceProvider is the independent judge of what the IdP issues.
func serviceProvider(t *testing.T, idp *testidp.IDP) *saml.ServiceProvider {
	t.Helper()
	acs, err := url.Parse(spACS)
	require.NoError(t, err)
	document, err := idp.Metadata()
	require.NoError(t, err)
	var metadata saml.EntityDescriptor
	require.NoError(t, xml.Unmarshal(document, &metadata))
	return &saml.ServiceProvider{
		EntityID: spEntityID, AcsURL: *acs, IDPMetadata: &metadata,
		Key: spKey().Signer.(*rsa.PrivateKey), Certificate: spKey().Certificate,
		AuthnNameIDFormat: saml.UnspecifiedNameIDFormat,
		SignatureMethod:   dsig.RSASHA256SignatureMethod,
	}
}

func issue(t *testing.T, idp *testidp.IDP, alter func(*testidp.ResponseOptions)) []byte {
	t.Helper()
	o := testidp.ResponseOptions{UserName: ada().Name, Audience: spEntityID, ACSURL: spACS, InResponseTo: "id-1"}
	if alter != nil {
		alter(&o)
	}
	response, err := idp.IssueResponse(o)
	require.NoError(t, err)
	return response
}

func parse(t *testing.T, sp *saml.ServiceProvider, response []byte) (*saml.Assertion, error) {
	t.Helper()
	assertion, err := sp.ParseXMLResponse(response, []string{"id-1"}, sp.AcsURL)
	if invalid := (*saml.InvalidResponseError)(nil); errors.As(err, &invalid) {
		return nil, invalid.PrivateErr
	}
	return assertion, err
}

func attributes(a *saml.Assertion) map[string][]string {
	values := map[string][]string{}
	for _, attribute := range a.AttributeStatements[0].Attributes {
		for _, value := range attribute.Values {
			values[attribute.Name] = append(values[attribute.Name], value.Value)
		}
	}
	return values
}

func TestServiceProviderAcceptsEverySigning(t *testing.T) {
	idp := newIDP(t, testidp.Options{BaseURL: "https://idp.example.test"})
	sp := serviceProvider(t, idp)
	for name, signing := range map[string]testidp.Signing{
		"default": testidp.SignDefault, "assertion": testidp.SignAssertion, "response": testidp.SignResponse, "both": testidp.SignBoth,
	} {
		t.Run(name, func(t *testing.T) {
			response := issue(t, idp, func(o *testidp.ResponseOptions) { o.Signing = signing })
			got, err := parse(t, sp, response)
			require.NoError(t, err)
			assert.Equal(t, "ada@acme.example", got.Subject.NameID.Value)
			assert.Equal(t, "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress", got.Subject.NameID.Format)
			assert.Equal(t, map[string][]string{
				testidp.ClaimTenantID:    {testidp.DefaultTenantID},
				testidp.ClaimObjectID:    {"2a132241-5fff-1b1a-ceae-be7855b2c5bd"},
				testidp.ClaimDisplayName: {"Ada Lovelace"},
				testidp.ClaimIDP:         {idp.EntityID()},
				testidp.ClaimMethods:     {"http://schemas.microsoft.com/ws/2008/06/identity/authenticationmethod/password"},
				testidp.ClaimGivenName:   {"Ada"},
				testidp.ClaimSurname:     {"Lovelace"},
				testidp.ClaimEmail:       {"ada.lovelace@acme.example"},
				testidp.ClaimName:        {"ada@acme.example"},
				testidp.ClaimGroup:       {"engineers", "admins"},
			}, attributes(got))
		})
	}
}

func TestServiceProviderRefuses(t *testing.T) {
	idp := newIDP(t, testidp.Options{BaseURL: "https://idp.example.test"})
	sp := serviceProvider(t, idp)
	for name, tc := range map[string]struct {
		alter func(*testidp.ResponseOptions)
		want  string
	}{
		"no signature": {func(o *testidp.ResponseOptions) { o.Signing = testidp.SignNothing }, "signature element not present"},
		"foreign key":  {func(o *testidp.ResponseOptions) { o.Key = foreignKey() }, "cannot validate signature on Assertion"},
		"altered after signing": {func(o *testidp.ResponseOptions) {
			o.AlterSigned = func(response *etree.Element) { response.FindElement(".//NameID").SetText("root@acme.example") }
		}, "cannot validate signature on Assertion"},
		"other audience": {func(o *testidp.ResponseOptions) { o.Audience = "https://other.example.test" }, "Conditions AudienceRestriction"},
		"other request":  {func(o *testidp.ResponseOptions) { o.InResponseTo = "id-2" }, "InResponseTo"},
		"expired": {func(o *testidp.ResponseOptions) {
			o.AlterAssertion = func(a *saml.Assertion) { a.Conditions.NotOnOrAfter = time.Now().Add(-time.Hour) }
		}, "Conditions is expired"},
		"status": {func(o *testidp.ResponseOptions) {
			o.Status = &saml.Status{StatusCode: saml.StatusCode{Value: saml.StatusRequester}}
		}, saml.StatusRequester},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, sp, issue(t, idp, tc.alter))
			assert.ErrorContains(t, err, tc.want)
		})
	}
}

func TestAlterations(t *testing.T) {
	idp := newIDP(t, testidp.Options{BaseURL: "https://idp.example.test"})
	sp := serviceProvider(t, idp)
	response := issue(t, idp, func(o *testidp.ResponseOptions) {
		o.Signing = testidp.SignBoth
		o.OmitKeyInfo = true
		o.AlterAssertion = func(a *saml.Assertion) { a.Subject.NameID.Value = "changed" }
		o.AlterAssertionXML = func(el *etree.Element) { el.CreateAttr("ID", "chosen") }
		o.AlterResponse = func(r *saml.Response) { r.Consent = "urn:consent" }
	})
	got, err := parse(t, sp, response)
	require.NoError(t, err, "all that was altered before signing is signed")
	assert.Equal(t, "changed", got.Subject.NameID.Value)
	assert.Equal(t, "chosen", got.ID)
	assert.Contains(t, string(response), `Consent="urn:consent"`)
	assert.NotContains(t, string(response), "KeyInfo")
}

func TestEncryptedAssertion(t *testing.T) {
	idp := newIDP(t, testidp.Options{BaseURL: "https://idp.example.test"})
	response := issue(t, idp, func(o *testidp.ResponseOptions) { o.EncryptionCertificate = spKey().Certificate })
	assert.NotContains(t, string(response), "ada@acme.example")
	got, err := parse(t, serviceProvider(t, idp), response)
	require.NoError(t, err)
	assert.Equal(t, "ada@acme.example", got.Subject.NameID.Value)
}

func TestValidityIsEntraIDs(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	idp := newIDP(t, testidp.Options{Clock: func() time.Time { return now }})
	var got saml.Assertion
	issue(t, idp, func(o *testidp.ResponseOptions) { o.AlterAssertion = func(a *saml.Assertion) { got = *a } })
	assert.Equal(t, now, got.IssueInstant)
	assert.Equal(t, now.Add(-5*time.Minute), got.Conditions.NotBefore)
	assert.Equal(t, now.Add(65*time.Minute), got.Conditions.NotOnOrAfter)
	data := got.Subject.SubjectConfirmations[0].SubjectConfirmationData
	assert.Equal(t, saml.SubjectConfirmationData{InResponseTo: "id-1", Recipient: spACS, NotOnOrAfter: now.Add(65 * time.Minute)}, *data)
}

func TestNameIDFollowsTheRequestedFormat(t *testing.T) {
	idp := newIDP(t, testidp.Options{})
	nameID := func(format saml.NameIDFormat, audience string) string {
		var got saml.NameID
		issue(t, idp, func(o *testidp.ResponseOptions) {
			o.NameIDFormat, o.Audience = string(format), audience
			o.AlterAssertion = func(a *saml.Assertion) { got = *a.Subject.NameID }
		})
		assert.Equal(t, string(format), got.Format)
		return got.Value
	}
	assert.Equal(t, "ada@acme.example", nameID(saml.UnspecifiedNameIDFormat, "a"))
	assert.Equal(t, nameID(saml.PersistentNameIDFormat, "a"), nameID(saml.PersistentNameIDFormat, "a"))
	assert.NotEqual(t, nameID(saml.PersistentNameIDFormat, "a"), nameID(saml.PersistentNameIDFormat, "b"), "pairwise")
	assert.NotEqual(t, nameID(saml.TransientNameIDFormat, "a"), nameID(saml.TransientNameIDFormat, "a"), "new each time")
}

func TestAttributesOfAUserReplaceClaims(t *testing.T) {
	u := ada()
	u.Attributes = map[string][]string{
		testidp.ClaimGroup: {"one"}, testidp.ClaimSurname: nil, "department": {"a", "b"},
	}
	idp := newIDP(t, testidp.Options{Users: []testidp.User{u}})
	var got map[string][]string
	issue(t, idp, func(o *testidp.ResponseOptions) {
		o.AlterAssertion = func(a *saml.Assertion) { got = attributes(a) }
	})
	assert.Equal(t, []string{"one"}, got[testidp.ClaimGroup])
	assert.Equal(t, []string{"a", "b"}, got["department"])
	assert.NotContains(t, got, testidp.ClaimSurname)
}

func TestGroupOverage(t *testing.T) {
	for n, want := range map[int]string{150: testidp.ClaimGroup, 151: testidp.ClaimGroupsLink} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			idp := newIDP(t, testidp.Options{})
			u := ada()
			u.Groups = slices.Repeat([]string{"group"}, n)
			idp.SetUser(u)
			var got map[string][]string
			issue(t, idp, func(o *testidp.ResponseOptions) {
				o.AlterAssertion = func(a *saml.Assertion) { got = attributes(a) }
			})
			for _, name := range []string{testidp.ClaimGroup, testidp.ClaimGroupsLink} {
				_, has := got[name]
				assert.Equal(t, name == want, has, name)
			}
		})
	}
}

func TestIssueResponseForNobody(t *testing.T) {
	_, err := newIDP(t, testidp.Options{}).IssueResponse(testidp.ResponseOptions{UserName: "nobody"})
	assert.ErrorContains(t, err, `no user "nobody"`)
}

// --- metadata ---

func get(t *testing.T, client *http.Client, u string, header ...string) (*http.Response, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	require.NoError(t, err)
	return response, body
}

func metadataCertificates(t *testing.T, document []byte) []string {
	t.Helper()
	var metadata saml.EntityDescriptor
	require.NoError(t, xml.Unmarshal(document, &metadata))
	var certificates []string
	for _, key := range metadata.IDPSSODescriptors[0].KeyDescriptors {
		assert.Equal(t, "signing", key.Use)
		certificates = append(certificates, key.KeyInfo.X509Data.X509Certificates[0].Data)
	}
	return certificates
}

func encoded(certificates ...*x509.Certificate) []string {
	var all []string
	for _, certificate := range certificates {
		all = append(all, base64.StdEncoding.EncodeToString(certificate.Raw))
	}
	return all
}

func TestMetadata(t *testing.T) {
	idp := newIDP(t, testidp.Options{})
	client := serve(t, idp)
	response, body := get(t, client, idp.MetadataURL())
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Equal(t, "application/samlmetadata+xml", response.Header.Get("Content-Type"))
	assert.True(t, bytes.HasPrefix(body, []byte("\xEF\xBB\xBF<?xml")), "byte order mark")

	var metadata saml.EntityDescriptor
	require.NoError(t, xml.Unmarshal(body, &metadata))
	assert.Equal(t, "https://sts.windows.net/"+testidp.DefaultTenantID+"/", metadata.EntityID)
	endpoints := map[string]string{}
	for _, sso := range metadata.IDPSSODescriptors[0].SingleSignOnServices {
		endpoints[sso.Binding] = sso.Location
	}
	assert.Equal(t, map[string]string{saml.HTTPRedirectBinding: idp.SSOURL(), saml.HTTPPostBinding: idp.SSOURL()}, endpoints)
	assert.Equal(t, encoded(idpKey().Certificate), metadataCertificates(t, body))
}

func TestConditionalGet(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	idp := newIDP(t, testidp.Options{Clock: func() time.Time { return now }})
	client := serve(t, idp)
	first, _ := get(t, client, idp.MetadataURL())

	for _, header := range [][]string{
		{"If-None-Match", first.Header.Get("ETag")},
		{"If-Modified-Since", first.Header.Get("Last-Modified")},
	} {
		response, body := get(t, client, idp.MetadataURL(), header...)
		assert.Equal(t, http.StatusNotModified, response.StatusCode, header)
		assert.Empty(t, body)
	}
	now = now.Add(time.Minute)
	idp.AddExistingKey(foreignKey())
	for _, header := range [][]string{
		{"If-None-Match", first.Header.Get("ETag")},
		{"If-Modified-Since", first.Header.Get("Last-Modified")},
	} {
		response, _ := get(t, client, idp.MetadataURL(), header...)
		assert.Equal(t, http.StatusOK, response.StatusCode, header)
	}
	assert.Equal(t, testidp.Counts{MetadataFetches: 5, NotModified: 2}, idp.Counts())
}

func TestKeyRollover(t *testing.T) {
	idp := newIDP(t, testidp.Options{BaseURL: "https://idp.example.test"})
	before := serviceProvider(t, idp)

	next, err := idp.AddKey()
	require.NoError(t, err)
	during := serviceProvider(t, idp)
	assert.Len(t, idp.Certificates(), 2)
	_, err = parse(t, before, issue(t, idp, nil))
	require.NoError(t, err, "the new key does not sign yet")

	require.NoError(t, idp.ActivateKey(next))
	response := issue(t, idp, nil)
	_, err = parse(t, before, response)
	require.Error(t, err, "the old metadata do not know the new key")
	_, err = parse(t, during, response)
	require.NoError(t, err)

	require.ErrorContains(t, idp.RemoveKey(next), "active")
	require.ErrorContains(t, idp.RemoveKey(99), "no key 99")
	require.ErrorContains(t, idp.ActivateKey(99), "no key 99")
	require.NoError(t, idp.RemoveKey(0))
	assert.Len(t, idp.Certificates(), 1)
	assert.Equal(t, next, idp.ActiveKey())

	require.NoError(t, idp.RotateAbruptly())
	response = issue(t, idp, nil)
	_, err = parse(t, during, response)
	require.Error(t, err)
	_, err = parse(t, serviceProvider(t, idp), response)
	require.NoError(t, err)
}

func TestMisbehaviours(t *testing.T) {
	idp := newIDP(t, testidp.Options{})
	client := serve(t, idp)
	for m, check := range map[testidp.Misbehaviour]func(*testing.T, *http.Response, []byte){
		testidp.NotFound: func(t *testing.T, r *http.Response, _ []byte) {
			assert.Equal(t, http.StatusNotFound, r.StatusCode)
		},
		testidp.Unavailable: func(t *testing.T, r *http.Response, _ []byte) {
			assert.Equal(t, http.StatusServiceUnavailable, r.StatusCode)
			assert.Equal(t, "120", r.Header.Get("Retry-After"))
		},
		testidp.HTMLPage: func(t *testing.T, r *http.Response, body []byte) {
			assert.Equal(t, http.StatusOK, r.StatusCode)
			assert.Contains(t, string(body), "<html")
		},
		testidp.Endless: func(t *testing.T, _ *http.Response, body []byte) {
			assert.Len(t, body, 4<<20, "as much as anybody reads")
		},
		testidp.RedirectsToHTTP: func(t *testing.T, r *http.Response, _ []byte) {
			assert.Equal(t, "http"+strings.TrimPrefix(idp.MetadataURL(), "https"), r.Header.Get("Location"))
		},
		testidp.RedirectsInward: func(t *testing.T, r *http.Response, _ []byte) {
			assert.Equal(t, "https://169.254.169.254/latest/meta-data/", r.Header.Get("Location"))
		},
		testidp.ChangedEntityID: func(t *testing.T, _ *http.Response, body []byte) {
			var metadata saml.EntityDescriptor
			require.NoError(t, xml.Unmarshal(body, &metadata))
			assert.NotEqual(t, idp.EntityID(), metadata.EntityID)
		},
		testidp.NoCertificates: func(t *testing.T, _ *http.Response, body []byte) {
			assert.Empty(t, metadataCertificates(t, body))
		},
		testidp.BadCertificate: func(t *testing.T, _ *http.Response, body []byte) {
			certificates := metadataCertificates(t, body)
			require.Len(t, certificates, 2)
			bad, err := base64.StdEncoding.DecodeString(certificates[0])
			require.NoError(t, err)
			_, err = x509.ParseCertificate(bad)
			require.Error(t, err)
			assert.Equal(t, encoded(idpKey().Certificate)[0], certificates[1])
		},
	} {
		t.Run(string(m), func(t *testing.T) {
			require.NoError(t, idp.Misbehave(m))
			response, body := get(t, client, idp.MetadataURL())
			check(t, response, body)
		})
	}
	require.ErrorContains(t, idp.Misbehave("rudely"), `no misbehaviour "rudely"`)
	idp.Behave()
	response, body := get(t, client, idp.MetadataURL())
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Len(t, metadataCertificates(t, body), 1)
}

func TestStalledSendsNothingMore(t *testing.T) {
	idp := newIDP(t, testidp.Options{})
	client := serve(t, idp)
	require.NoError(t, idp.Misbehave(testidp.Stalled))
	response, err := client.Get(idp.MetadataURL())
	require.NoError(t, err)
	read := make(chan error, 1)
	beginning := make(chan struct{})
	go func() {
		_, err := io.ReadFull(response.Body, make([]byte, len(`<?xml`)))
		close(beginning)
		if err == nil {
			_, err = io.Copy(io.Discard, response.Body)
		}
		read <- err
	}()
	<-beginning
	select {
	case err := <-read:
		t.Fatalf("the body ended: %v", err)
	default:
	}
	require.NoError(t, response.Body.Close())
	assert.Error(t, <-read)
}

// --- sign-in ---

var formField = regexp.MustCompile(`name="(\w+)" value="([^"]*)"`)

func fields(page []byte) url.Values {
	values := url.Values{}
	for _, match := range formField.FindAllSubmatch(page, -1) {
		values.Set(string(match[1]), html.UnescapeString(string(match[2])))
	}
	return values
}

func post(t *testing.T, client *http.Client, u string, form url.Values) (int, []byte) {
	t.Helper()
	response, err := client.PostForm(u, form)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, body
}

func redirectURL(t *testing.T, sp *saml.ServiceProvider, request *saml.AuthnRequest, relayState string) string {
	t.Helper()
	u, err := request.Redirect(relayState, sp)
	require.NoError(t, err)
	return u.String()
}

func authnRequest(t *testing.T, sp *saml.ServiceProvider, idp *testidp.IDP, binding string) *saml.AuthnRequest {
	t.Helper()
	request, err := sp.MakeAuthenticationRequest(idp.SSOURL(), binding, saml.HTTPPostBinding)
	require.NoError(t, err)
	request.RequestedAuthnContext = nil
	return request
}

func TestSignIn(t *testing.T) {
	for _, binding := range []string{saml.HTTPRedirectBinding, saml.HTTPPostBinding} {
		t.Run(binding, func(t *testing.T) {
			idp := newIDP(t, testidp.Options{})
			client := serve(t, idp)
			sp := serviceProvider(t, idp)
			request := authnRequest(t, sp, idp, binding)
			var page []byte
			if binding == saml.HTTPRedirectBinding {
				_, page = get(t, client, redirectURL(t, sp, request, `state<">`)+"&login_hint=ada")
				assert.Contains(t, string(page), `value="ada"`, "login_hint")
			} else {
				form := fields(request.Post(`state<">`))
				_, page = post(t, client, idp.SSOURL(), form)
			}
			form := fields(page)
			form.Set("username", "ADA@acme.example")
			form.Set("password", "wrong")
			_, refused := post(t, client, strings.Replace(idp.SSOURL(), "/sso", "/signin", 1), form)
			assert.Contains(t, string(refused), "AADSTS50126")

			form.Set("password", "correct horse")
			_, page = post(t, client, strings.Replace(idp.SSOURL(), "/sso", "/signin", 1), form)
			answer := fields(page)
			assert.Equal(t, `state<">`, answer.Get("RelayState"))
			assert.Contains(t, string(page), `action="`+spACS+`"`)
			xml, err := base64.StdEncoding.DecodeString(answer.Get("SAMLResponse"))
			require.NoError(t, err)
			assertion, err := sp.ParseXMLResponse(xml, []string{request.ID}, sp.AcsURL)
			require.NoError(t, err)
			assert.Equal(t, "ada@acme.example", assertion.Subject.NameID.Value)

			_, again := post(t, client, strings.Replace(idp.SSOURL(), "/sso", "/signin", 1), form)
			assert.Contains(t, string(again), "This sign-in is over")
			assert.Equal(t, 1, idp.Counts().SignIns)
		})
	}
}

func TestPassiveRequest(t *testing.T) {
	idp := newIDP(t, testidp.Options{})
	client := serve(t, idp)
	sp := serviceProvider(t, idp)
	request := authnRequest(t, sp, idp, saml.HTTPRedirectBinding)
	passive := true
	request.IsPassive = &passive
	_, page := get(t, client, redirectURL(t, sp, request, ""))
	response, err := base64.StdEncoding.DecodeString(fields(page).Get("SAMLResponse"))
	require.NoError(t, err)
	assert.Contains(t, string(response), saml.StatusNoPassive)
	assert.NotContains(t, string(response), "Assertion")
}

func TestRequestsThatEntraIDRefuses(t *testing.T) {
	format := "urn:oasis:names:tc:SAML:2.0:nameid-format:kerberos"
	for name, tc := range map[string]struct {
		alter func(*saml.AuthnRequest)
		want  string
	}{
		"unknown issuer": {func(r *saml.AuthnRequest) { r.Issuer.Value = "https://other.example.test" }, "AADSTS700016"},
		"issuer without the port": {func(r *saml.AuthnRequest) {
			r.Issuer.Value = strings.Replace(spEntityID, ":443", "", 1)
		}, "AADSTS700016"},
		"other reply URL": {func(r *saml.AuthnRequest) { r.AssertionConsumerServiceURL = "https://evil.example.test/acs" }, "AADSTS50011"},
		"subject":         {func(r *saml.AuthnRequest) { r.Subject = &saml.Subject{NameID: &saml.NameID{Value: "ada"}} }, "Subject"},
		"NameID format":   {func(r *saml.AuthnRequest) { r.NameIDPolicy = &saml.NameIDPolicy{Format: &format} }, "AADSTS75016"},
		"no ID":           {func(r *saml.AuthnRequest) { r.ID = "" }, "AADSTS75005"},
		"ID with a digit": {func(r *saml.AuthnRequest) { r.ID = "1" + r.ID }, "begins with a digit"},
		"version":         {func(r *saml.AuthnRequest) { r.Version = "1.1" }, "version"},
		"comparison": {func(r *saml.AuthnRequest) {
			r.RequestedAuthnContext = &saml.RequestedAuthnContext{Comparison: "minimum", AuthnContextClassRef: "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"}
		}, "minimum"},
		"other authentication": {func(r *saml.AuthnRequest) {
			r.RequestedAuthnContext = &saml.RequestedAuthnContext{Comparison: "exact", AuthnContextClassRef: "urn:oasis:names:tc:SAML:2.0:ac:classes:X509"}
		}, "AADSTS75011"},
	} {
		t.Run(name, func(t *testing.T) {
			idp := newIDP(t, testidp.Options{ServiceProviders: map[string]testidp.ServiceProvider{spEntityID: {ACSURL: spACS}}})
			client := serve(t, idp)
			sp := serviceProvider(t, idp)
			request := authnRequest(t, sp, idp, saml.HTTPRedirectBinding)
			_, page := get(t, client, redirectURL(t, sp, request, ""))
			require.Contains(t, string(page), `type="password"`, "as it is, the request is fine")

			tc.alter(request)
			response, page := get(t, client, redirectURL(t, sp, request, ""))
			assert.Equal(t, http.StatusBadRequest, response.StatusCode)
			assert.Contains(t, string(page), tc.want)
		})
	}
}

func TestBrokenMessages(t *testing.T) {
	idp := newIDP(t, testidp.Options{})
	client := serve(t, idp)
	for query, want := range map[string]string{
		"":                            "AADSTS750054",
		"SAMLRequest=%25":             "not base64",
		"SAMLRequest=aGVsbG8=":        "DEFLATE",
		"SAMLRequest=a&SAMLRequest=b": "SAMLRequest&#39; twice",
		"SAMLRequest=" + url.QueryEscape("80jNyckHAA=="): "AADSTS75005",
	} {
		response, page := get(t, client, idp.SSOURL()+"?"+query)
		assert.Equal(t, http.StatusBadRequest, response.StatusCode, query)
		assert.Contains(t, string(page), want, query)
	}
	status, page := post(t, client, idp.SSOURL(), url.Values{"RelayState": {"x"}})
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, string(page), "no SAMLRequest")
}

func TestSignedRequests(t *testing.T) {
	registration := func(certificates ...*x509.Certificate) testidp.Options {
		return testidp.Options{ServiceProviders: map[string]testidp.ServiceProvider{
			spEntityID: {ACSURL: spACS, VerificationCertificates: certificates},
		}}
	}
	trusted := registration(foreignKey().Certificate, spKey().Certificate)
	for name, tc := range map[string]struct {
		options  testidp.Options
		unsigned bool
		sha1     bool
		alter    func(string) string
		want     string
	}{
		"signed":                  {options: trusted, want: `type="password"`},
		"not signed":              {options: trusted, unsigned: true, want: "AADSTS76021"},
		"by a key not registered": {options: registration(foreignKey().Certificate), want: "does not verify"},
		"SHA-1":                   {options: trusted, sha1: true, want: "only RSA-SHA256"},
		"other relay state": {options: trusted, want: "does not verify", alter: func(u string) string {
			return strings.Replace(u, "RelayState=one", "RelayState=two", 1)
		}},
		"relay state taken away": {options: trusted, want: "does not verify", alter: func(u string) string {
			return strings.Replace(u, "&RelayState=one", "", 1)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			idp := newIDP(t, tc.options)
			client := serve(t, idp)
			sp := serviceProvider(t, idp)
			if tc.sha1 {
				sp.SignatureMethod = dsig.RSASHA1SignatureMethod
			}
			if tc.unsigned {
				sp.SignatureMethod = ""
			}
			request := authnRequest(t, sp, idp, saml.HTTPRedirectBinding)
			u := redirectURL(t, sp, request, "one")
			if tc.alter != nil {
				altered := tc.alter(u)
				require.NotEqual(t, u, altered)
				u = altered
			}
			_, page := get(t, client, u)
			assert.Contains(t, string(page), tc.want)
		})
	}
	t.Run("POST", func(t *testing.T) {
		idp := newIDP(t, trusted)
		client := serve(t, idp)
		sp := serviceProvider(t, idp)
		request, err := sp.MakeAuthenticationRequest(idp.SSOURL(), saml.HTTPPostBinding, saml.HTTPPostBinding)
		require.NoError(t, err)
		form := fields(request.Post(""))
		_, page := post(t, client, idp.SSOURL(), form)
		assert.Contains(t, string(page), `type="password"`)

		request.Signature = nil
		_, page = post(t, client, idp.SSOURL(), fields(request.Post("")))
		assert.Contains(t, string(page), "AADSTS76021")
	})
}

func TestServiceProviderSetLater(t *testing.T) {
	idp := newIDP(t, testidp.Options{})
	client := serve(t, idp)
	sp := serviceProvider(t, idp)
	request := authnRequest(t, sp, idp, saml.HTTPRedirectBinding)

	idp.SetServiceProvider("https://other.example.test", testidp.ServiceProvider{ACSURL: "https://other.example.test/acs"})
	_, page := get(t, client, redirectURL(t, sp, request, ""))
	assert.Contains(t, string(page), "AADSTS700016", "with one registered, others are strangers")

	idp.SetServiceProvider(spEntityID, testidp.ServiceProvider{ACSURL: spACS})
	_, page = get(t, client, redirectURL(t, sp, request, ""))
	assert.Contains(t, string(page), `type="password"`)
}

func TestPagesEscapeWhatStrangersSend(t *testing.T) {
	idp := newIDP(t, testidp.Options{})
	client := serve(t, idp)
	sp := serviceProvider(t, idp)
	request := authnRequest(t, sp, idp, saml.HTTPRedirectBinding)
	request.Issuer.Value = `<script>alert(1)</script>`
	_, page := get(t, client, redirectURL(t, sp, request, "")+"&login_hint=%22%3E%3Cscript%3Ealert(1)")
	require.Contains(t, string(page), `type="password"`)
	assert.NotContains(t, string(page), "<script>alert(1)")

	request.AssertionConsumerServiceURL = "javascript:alert(1)"
	_, page = get(t, client, redirectURL(t, sp, request, ""))
	assert.Contains(t, string(page), "AADSTS50011")
}

func TestConcurrentUse(t *testing.T) {
	idp := newIDP(t, testidp.Options{})
	client := serve(t, idp)
	client.Transport.(*http.Transport).TLSClientConfig.MinVersion = tls.VersionTLS12
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			response, err := client.Get(idp.MetadataURL())
			if assert.NoError(t, err) {
				_ = response.Body.Close()
			}
			_, err = idp.IssueResponse(testidp.ResponseOptions{UserName: ada().Name})
			assert.NoError(t, err)
			id := idp.AddExistingKey(foreignKey())
			assert.NoError(t, idp.RemoveKey(id))
			idp.SetUser(ada())
		})
	}
	wg.Wait()
	assert.Equal(t, 4, idp.Counts().MetadataFetches)
	assert.Len(t, idp.Certificates(), 1)
}

// TestSignaturesVerifyWithXMLSec: the library that signs also serves the
// service providers here, so another one has the last word.
func TestSignaturesVerifyWithXMLSec(t *testing.T) {
	program, err := exec.LookPath("xmlsec1")
	require.NoError(t, err, "xmlsec1 is missing: install it with `apt-get install xmlsec1`")
	directory := t.TempDir()
	certificate := filepath.Join(directory, "certificate.pem")
	require.NoError(t, os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: idpKey().Certificate.Raw}), 0o600))
	idp := newIDP(t, testidp.Options{})
	const response, assertion = "/*[local-name()='Response']", "/*[local-name()='Response']/*[local-name()='Assertion']"
	for name, tc := range map[string]struct {
		alter  func(*testidp.ResponseOptions)
		signed []string
	}{
		"assertion": {func(o *testidp.ResponseOptions) { o.Signing = testidp.SignAssertion }, []string{assertion}},
		"response":  {func(o *testidp.ResponseOptions) { o.Signing = testidp.SignResponse }, []string{response}},
		"both":      {func(o *testidp.ResponseOptions) { o.Signing = testidp.SignBoth }, []string{assertion, response}},
		"encrypted": {func(o *testidp.ResponseOptions) {
			o.Signing, o.EncryptionCertificate = testidp.SignResponse, spKey().Certificate
		}, []string{response}},
	} {
		file := filepath.Join(directory, name+".xml")
		require.NoError(t, os.WriteFile(file, issue(t, idp, tc.alter), 0o600))
		for _, element := range tc.signed {
			output, err := exec.CommandContext(t.Context(), program, "--verify", "--trusted-pem", certificate,
				"--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:assertion:Assertion",
				"--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:protocol:Response",
				"--node-xpath", element+"/*[local-name()='Signature']", file).CombinedOutput()
			assert.NoError(t, err, "%s: %s: %s", name, element, output)
		}
	}
}
