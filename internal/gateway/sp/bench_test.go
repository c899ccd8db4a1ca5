package sp_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
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

// BenchmarkA12_Decryption is what it costs to refuse what decrypts, what does
// not, and what decrypts to something else: whoever sends altered ciphertexts
// learns by the difference. The server answers all of them at the same beat.
func BenchmarkA12_Decryption(b *testing.B) {
	i := validIDP(b, idpKey())
	want := expectations(i)
	want.DecryptionKeys = []*rsa.PrivateKey{spKey()}
	large := edit(b, good, `<AttributeStatement>`, `<AttributeStatement><Attribute Name="x">`+
		strings.Repeat("<AttributeValue>aaaaaaaa-0000-0000-0000-000000000000</AttributeValue>", 2000)+`</Attribute>`)
	flip := func(at int) func([]byte) []byte {
		return func(c []byte) []byte {
			c = slices.Clone(c)
			c[(at+len(c))%len(c)] ^= 0x80
			return c
		}
	}
	for _, c := range []struct {
		name     string
		document string
	}{
		{"good XML", encrypt(b, large, encryption{})},
		{"XML damaged at its start", encrypt(b, large, encryption{tamper: flip(20)})},
		{"XML damaged in the middle", encrypt(b, large, encryption{tamper: flip(60_000)})},
		{"padding damaged", encrypt(b, large, encryption{tamper: flip(-17)})},
		{"tag damaged", encrypt(b, large, encryption{cipher: "http://www.w3.org/2009/xmlenc11#aes256-gcm", tamper: flip(-1)})},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := sp.Verify([]byte(c.document), want); sp.CodeOf(err) != sp.CodeDecryptionFailed {
					b.Fatal(err)
				}
			}
		})
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
