package xmldsig_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/xmldsig"
	"cequence.cloud/saml-operator/internal/xmltree"
)

// The attacks and the interoperability with other implementations are tested
// where signatures count: in gateway/sp and idpmetadata.

const folder = "../idpmetadata/testdata/hostile/"

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(folder + name)
	require.NoError(t, err)
	return string(content)
}

func signatureOf(t *testing.T, document string) (*xmldsig.Signature, error) {
	t.Helper()
	root, err := xmltree.Parse([]byte(document), xmltree.Limits{Bytes: 1 << 20, Elements: 1000, Parts: 1000})
	require.NoError(t, err)
	return xmldsig.Of(root)
}

func TestOf(t *testing.T) {
	block, _ := pem.Decode([]byte(read(t, "metadata-signer.crt")))
	certificate, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	signed := read(t, "signed-good.xml")

	s, err := signatureOf(t, signed)
	require.NoError(t, err)
	assert.True(t, s.MadeBy(certificate.PublicKey))
	content, err := s.Content()
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(content), "<EntityDescriptor "))
	assert.NotContains(t, string(content), "SignatureValue")

	s, err = signatureOf(t, read(t, "signed-by-other-key-same-subject.xml"))
	require.NoError(t, err)
	assert.False(t, s.MadeBy(certificate.PublicKey))

	s, err = signatureOf(t, read(t, "signed-tampered-sso.xml"))
	require.NoError(t, err)
	assert.True(t, s.MadeBy(certificate.PublicKey), "only SignedInfo is looked at")
	content, err = s.Content()
	require.ErrorIs(t, err, xmldsig.ErrDigest)
	assert.Nil(t, content)

	s, err = signatureOf(t, read(t, "signed-stripped.xml"))
	require.NoError(t, err)
	assert.Nil(t, s)
}

func TestOfRefuses(t *testing.T) {
	signed := read(t, "signed-good.xml")
	for name, tc := range map[string]struct {
		old, new string
		want     error
	}{
		"another element's":     {`URI="#`, `URI="#x`, xmldsig.ErrStructure},
		"the whole document's":  {`URI="#_m1"`, `URI=""`, xmldsig.ErrStructure},
		"two":                   {"<ds:Signature>", "<ds:Signature></ds:Signature><ds:Signature>", xmldsig.ErrStructure},
		"an Object":             {"</ds:Signature>", "<ds:Object></ds:Object></ds:Signature>", xmldsig.ErrStructure},
		"SHA-1":                 {"2001/04/xmldsig-more#rsa-sha256", "2000/09/xmldsig#rsa-sha1", xmldsig.ErrAlgorithm},
		"a digest by SHA-1":     {"2001/04/xmlenc#sha256", "2000/09/xmldsig#sha1", xmldsig.ErrAlgorithm},
		"another transform":     {"2000/09/xmldsig#enveloped-signature", "TR/1999/REC-xslt-19991116", xmldsig.ErrAlgorithm},
		"a list of prefixes":    {`<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>`, `<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"><e:InclusiveNamespaces xmlns:e="http://www.w3.org/2001/10/xml-exc-c14n#" PrefixList="a b c d e f g h i j k l m n o p q"/></ds:Transform>`, xmldsig.ErrLimit},
		"a value that is none":  {"<ds:SignatureValue>", "<ds:SignatureValue>!", xmldsig.ErrStructure},
		"a digest that is none": {"<ds:DigestValue>", "<ds:DigestValue>!", xmldsig.ErrStructure},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, signed, tc.old)
			s, err := signatureOf(t, strings.Replace(signed, tc.old, tc.new, 1))
			require.ErrorIs(t, err, tc.want)
			assert.Nil(t, s)
		})
	}
}

// Who else reads what is signed is tested where it is: in gateway/sp and render.
func TestEnveloped(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	const document = `<a xmlns="urn:a" ID="_1&amp;"><b xmlns:c="urn:c" c:d=" x "/> text</a>`
	sign := func(document string, key crypto.Signer) (string, error) {
		root, err := xmltree.Parse([]byte(document), xmltree.Limits{Bytes: 1 << 20, Elements: 1000, Parts: 1000})
		require.NoError(t, err)
		return xmldsig.Enveloped(root, key, nil)
	}
	signature, err := sign(document, key)
	require.NoError(t, err)
	again, err := sign(document, key)
	require.NoError(t, err)
	assert.Equal(t, signature, again, "there is no randomness in it")

	s, err := signatureOf(t, strings.Replace(document, "<b", signature+"<b", 1))
	require.NoError(t, err)
	assert.True(t, s.MadeBy(&key.PublicKey))
	assert.Nil(t, s.KeyInfo)
	_, err = s.Content()
	require.NoError(t, err)

	_, err = sign(strings.Replace(document, " ID=", " id=", 1), key)
	require.ErrorContains(t, err, "no ID")
	elliptic, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	_, err = sign(document, elliptic)
	require.ErrorContains(t, err, "not of RSA")
}
