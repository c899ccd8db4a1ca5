package simplesamlphp_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/crewjam/saml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/testbrowser"
	"cequence.cloud/saml-operator/test/interop/simplesamlphp"
)

const claims = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"

func ada() simplesamlphp.User {
	return simplesamlphp.Person("ada", `quote's "and" \slash`, "Ada", "Lovelace", "ada@acme.example", "engineers", "admins")
}

func fetchMetadata(t *testing.T, idp *simplesamlphp.IDP) *saml.EntityDescriptor {
	t.Helper()
	b := testbrowser.New(testbrowser.Options{RootCAs: idp.RootCAs()})
	page, err := b.Open(t.Context(), idp.MetadataURL())
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, page.Status, string(page.Body))
	assert.Equal(t, "application/samlmetadata+xml", page.Header.Get("Content-Type"))
	var metadata saml.EntityDescriptor
	require.NoError(t, xml.Unmarshal(page.Body, &metadata))
	return &metadata
}

func signingCertificates(metadata *saml.EntityDescriptor) []string {
	var certificates []string
	for _, key := range metadata.IDPSSODescriptors[0].KeyDescriptors {
		if key.Use == "signing" {
			certificates = append(certificates, key.KeyInfo.X509Data.X509Certificates[0].Data)
		}
	}
	return certificates
}

func encoded(c *x509.Certificate) string { return base64.StdEncoding.EncodeToString(c.Raw) }

func TestMetadata(t *testing.T) {
	idp := simplesamlphp.Start(t, simplesamlphp.Options{Users: []simplesamlphp.User{ada()}})
	assert.Equal(t, "https://idp.localhost:"+strings.Split(idp.Address(), ":")[1]+"/simplesaml/saml2/idp/metadata.php", idp.MetadataURL())

	metadata := fetchMetadata(t, idp)
	assert.Equal(t, idp.MetadataURL(), metadata.EntityID)
	role := metadata.IDPSSODescriptors[0]
	require.NotEmpty(t, role.SingleSignOnServices)
	assert.Equal(t, saml.HTTPRedirectBinding, role.SingleSignOnServices[0].Binding)
	assert.Equal(t, strings.Replace(idp.MetadataURL(), "metadata.php", "SSOService.php", 1), role.SingleSignOnServices[0].Location)
	require.NotEmpty(t, role.SingleLogoutServices)
	assert.Equal(t, saml.HTTPRedirectBinding, role.SingleLogoutServices[0].Binding)
	assert.Contains(t, role.NameIDFormats, saml.EmailAddressNameIDFormat)
	assert.Equal(t, []string{encoded(idp.Certificate())}, signingCertificates(metadata))
}

// relyingParty is a service provider of another make: crewjam/saml's.
type relyingParty struct {
	sp       saml.ServiceProvider
	url      string
	metadata []byte
}

func startRelyingParty(t *testing.T, idp *simplesamlphp.IDP) *relyingParty {
	t.Helper()
	rp := &relyingParty{}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	acs, err := url.Parse(server.URL + "/saml/acs")
	require.NoError(t, err)
	rp.url = server.URL
	rp.sp = saml.ServiceProvider{
		EntityID: server.URL + "/saml/metadata", AcsURL: *acs, IDPMetadata: fetchMetadata(t, idp),
		AuthnNameIDFormat: saml.UnspecifiedNameIDFormat,
	}
	metadata := rp.sp.Metadata()
	metadata.SPSSODescriptors[0].SingleLogoutServices = nil // an empty Location is refused, rightly
	rp.metadata, err = xml.Marshal(metadata)
	require.NoError(t, err)

	var pending string
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		request, err := rp.sp.MakeAuthenticationRequest(rp.sp.GetSSOBindingLocation(saml.HTTPRedirectBinding), saml.HTTPRedirectBinding, saml.HTTPPostBinding)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		pending = request.ID
		to, err := request.Redirect("state", &rp.sp)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		http.Redirect(w, r, to.String(), http.StatusFound)
	})
	mux.HandleFunc("POST /saml/acs", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		assertion, err := rp.sp.ParseResponse(r, []string{pending})
		if err != nil {
			if invalid := (*saml.InvalidResponseError)(nil); errors.As(err, &invalid) {
				err = invalid.PrivateErr
			}
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		_, _ = fmt.Fprintf(w, "%s=%s\n", assertion.Subject.NameID.Format, assertion.Subject.NameID.Value)
		for _, attribute := range assertion.AttributeStatements[0].Attributes {
			for _, value := range attribute.Values {
				_, _ = fmt.Fprintf(w, "%s=%s\n", attribute.Name, value.Value)
			}
		}
		_, _ = fmt.Fprintf(w, "RelayState=%s\n", r.PostForm.Get("RelayState"))
	})
	return rp
}

func (rp *relyingParty) signIn(t *testing.T, idp *simplesamlphp.IDP, u simplesamlphp.User) (string, error) {
	t.Helper()
	b := testbrowser.New(testbrowser.Options{RootCAs: idp.RootCAs()})
	page, err := b.SignIn(t.Context(), rp.url, u.Name, u.Password)
	if page == nil {
		return "", err
	}
	return string(page.Body), err
}

func TestSignIn(t *testing.T) {
	idp := simplesamlphp.Start(t, simplesamlphp.Options{Users: []simplesamlphp.User{ada()}})
	rp := startRelyingParty(t, idp)

	got, err := rp.signIn(t, idp, ada())
	require.NoError(t, err)
	assert.Contains(t, got, "Metadata not found", "the IdP does not know the service provider yet")

	idp.RegisterServiceProvider(rp.metadata)
	got, err = rp.signIn(t, idp, ada())
	require.NoError(t, err)
	objectID := ada().Attributes["http://schemas.microsoft.com/identity/claims/objectidentifier"][0]
	for _, want := range []string{
		string(saml.UnspecifiedNameIDFormat) + "=ada@acme.example", // the format of the request
		claims + "givenname=Ada", claims + "surname=Lovelace", claims + "emailaddress=ada@acme.example", claims + "name=ada",
		"http://schemas.microsoft.com/identity/claims/objectidentifier=" + objectID,
		"Group=engineers", "Group=admins", "RelayState=state",
	} {
		assert.Contains(t, got, want+"\n")
	}

	wrong := ada()
	wrong.Password = "wrong"
	_, err = rp.signIn(t, idp, wrong)
	require.ErrorIs(t, err, testbrowser.ErrRefused)
}

func TestKeyRollover(t *testing.T) {
	idp := simplesamlphp.Start(t, simplesamlphp.Options{Users: []simplesamlphp.User{ada()}})
	rp := startRelyingParty(t, idp)
	idp.RegisterServiceProvider(rp.metadata)
	first := idp.Certificate()

	next := idp.AnnounceKey()
	both := fetchMetadata(t, idp)
	assert.ElementsMatch(t, []string{encoded(first), encoded(next)}, signingCertificates(both))
	_, err := rp.signIn(t, idp, ada())
	require.NoError(t, err, "the first key goes on signing")

	idp.SwitchKey()
	assert.Equal(t, next, idp.Certificate())
	assert.Equal(t, []string{encoded(next)}, signingCertificates(fetchMetadata(t, idp)))
	_, err = rp.signIn(t, idp, ada())
	require.Error(t, err, "who has the first metadata does not know the key")
	rp.sp.IDPMetadata = both
	_, err = rp.signIn(t, idp, ada())
	require.NoError(t, err, "who has seen the announcement does")

}
