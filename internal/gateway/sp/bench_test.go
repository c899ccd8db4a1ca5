package sp_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/crewjam/saml"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/sp"
)

// typical is a Response as Entra ID sends it: assertion signed by RSA-2048 and
// SHA-256, one certificate in KeyInfo, the default claims and some groups.
func typical(b *testing.B, i idp) []byte {
	var claims strings.Builder
	for _, name := range []string{"tenantid", "objectidentifier", "displayname", "identityprovider"} {
		fmt.Fprintf(&claims, `<Attribute Name="http://schemas.microsoft.com/identity/claims/%s"><AttributeValue>2f82f566-5953-43f4-9251-79c6009bdf24</AttributeValue></Attribute>`, name)
	}
	claims.WriteString(`<Attribute Name="http://schemas.microsoft.com/ws/2008/06/identity/claims/groups">`)
	for n := range 20 {
		fmt.Fprintf(&claims, `<AttributeValue>aaaaaaaa-0000-0000-0000-%012d</AttributeValue>`, n)
	}
	claims.WriteString(`</Attribute>`)
	return []byte(i.signAssertion(b, edit(b, good, `<AttributeStatement>`, `<AttributeStatement>`+claims.String())))
}

func BenchmarkVerify(b *testing.B) {
	i := validIDP(b, idpKey())
	response := typical(b, i)
	want := expectations(validIDP(b, idpKey2()), i)
	b.SetBytes(int64(len(response)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sp.Verify(response, want); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCrewjam is what crewjam/saml takes for the same.
func BenchmarkCrewjam(b *testing.B) {
	i := validIDP(b, idpKey())
	response := typical(b, i)
	saml.TimeNow = func() time.Time { return now }
	acs, err := url.Parse(acsURL)
	require.NoError(b, err)
	provider := saml.ServiceProvider{EntityID: entityID, AcsURL: *acs, IDPMetadata: &saml.EntityDescriptor{EntityID: idpID}}
	role := saml.IDPSSODescriptor{}
	for _, certificate := range []*x509.Certificate{validIDP(b, idpKey2()).certificate, i.certificate} {
		role.KeyDescriptors = append(role.KeyDescriptors, saml.KeyDescriptor{Use: "signing", KeyInfo: saml.KeyInfo{X509Data: saml.X509Data{
			X509Certificates: []saml.X509Certificate{{Data: base64.StdEncoding.EncodeToString(certificate.Raw)}}}}})
	}
	provider.IDPMetadata.IDPSSODescriptors = []saml.IDPSSODescriptor{role}
	b.SetBytes(int64(len(response)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := provider.ParseXMLResponse(response, []string{request}, *acs); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFloor is what no verifier can do without: the hash of the message,
// and one RSA verification.
func BenchmarkFloor(b *testing.B) {
	i := validIDP(b, idpKey())
	response := typical(b, i)
	hash := sha256.Sum256(response)
	signature, err := rsa.SignPKCS1v15(nil, idpKey(), crypto.SHA256, hash[:])
	require.NoError(b, err)
	b.SetBytes(int64(len(response)))
	b.ReportAllocs()
	for b.Loop() {
		hash := sha256.Sum256(response)
		if rsa.VerifyPKCS1v15(&idpKey().PublicKey, crypto.SHA256, hash[:], signature) != nil {
			b.Fatal("signature")
		}
	}
}
