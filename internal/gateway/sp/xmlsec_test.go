package sp_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/sp"
)

// What xmlsec1 has signed and encrypted, we verify and decrypt.
func TestVerifyAgreesWithXMLSec(t *testing.T) {
	want := expectations()
	for _, path := range []string{"testdata/xmlsec/rsa.crt", "testdata/xmlsec/ec.crt"} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		block, _ := pem.Decode(text)
		certificate, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		want.SigningCertificates = append(want.SigningCertificates, certificate)
		// The certificates are as old as the day on which they were made.
		want.Now = now
		certificate.NotBefore = now.Add(-time.Hour)
	}
	want.DecryptionKeys = []*rsa.PrivateKey{privateKey(t, "testdata/sp-test.key")}
	for _, name := range []string{"assertion", "response", "both-ec-rsa", "prefixlist-sha512", "encrypted-cbc", "encrypted-gcm"} {
		t.Run(name, func(t *testing.T) {
			document, err := os.ReadFile("testdata/xmlsec/" + name + ".xml")
			require.NoError(t, err)
			got, err := sp.Verify(document, want)
			require.NoError(t, err)
			assert.Equal(t, "zoë&co@acme.example", got.NameID.Value)
			assert.Equal(t, "https://sp.example/?a=1&b=\"2\"\t", got.NameID.SPNameQualifier)
			assert.Equal(t, []string{"a > b", "<漢字>"}, got.Attributes[0].Values)

			// Windows line ends are the same document, another space is not.
			_, err = sp.Verify([]byte(strings.ReplaceAll(string(document), "\n", "\r\n")), want)
			assert.NoError(t, err)
			if !strings.HasPrefix(name, "encrypted") {
				refused(t, strings.Replace(string(document), "<saml:Subject>", "<saml:Subject> ", 1), want, sp.CodeSignatureInvalid)
			}
		})
	}
}
