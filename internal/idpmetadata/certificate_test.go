package idpmetadata_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/idpmetadata"
)

// certify puts a public key into a certificate that another key signs.
func certify(t testing.TB, public crypto.PublicKey, commonName string) []byte {
	t.Helper()
	issuer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: commonName}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, issuer)
	require.NoError(t, err)
	return der
}

func TestSigningKeys(t *testing.T) {
	rsaKey := func(bits uint) crypto.PublicKey {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
	}
	ecKey := func(curve elliptic.Curve) crypto.PublicKey {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		require.NoError(t, err)
		return &key.PublicKey
	}
	edKey, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)

	for name, tc := range map[string]struct {
		key     crypto.PublicKey
		problem string
	}{
		"RSA-1024": {rsaKey(1024), "1024 bits"},
		"RSA-2047": {rsaKey(2047), "2047 bits"},
		"RSA-2048": {rsaKey(2048), ""},
		"RSA-8192": {rsaKey(8192), ""},
		"RSA-8193": {rsaKey(8193), "more than 8192 bits"},
		"P-224":    {ecKey(elliptic.P224()), "P-224"},
		"P-256":    {ecKey(elliptic.P256()), ""},
		"P-384":    {ecKey(elliptic.P384()), ""},
		"P-521":    {ecKey(elliptic.P521()), ""},
		"Ed25519":  {edKey, "Ed25519"},
	} {
		t.Run(name, func(t *testing.T) {
			d := withCertificates(t, base64.StdEncoding.EncodeToString(certify(t, tc.key, "idp")))
			if tc.problem == "" {
				assert.Len(t, d.SigningCertificates, 1)
				assert.Empty(t, d.DroppedCertificates)
				assertReadsBack(t, d)
				return
			}
			assert.Empty(t, d.SigningCertificates)
			require.Len(t, d.DroppedCertificates, 1)
			assert.Contains(t, d.DroppedCertificates[0].Reason, tc.problem)
			assert.Equal(t, "CN=idp", d.DroppedCertificates[0].Subject)
		})
	}
}

// dsaCertificate is one that crypto/x509 reads but cannot make.
const dsaCertificate = "MIIC0zCCAn+gAwIBAgIUa4GcxoBoZu0aUV9/2ecIfjjMFqswCwYJYIZIAWUDBAMCMA4xDDAKBgNVBAMMA2lkcDAeFw0yNjExMjUw" +
	"MzIyNTFaFw0zNjExMjIwMzIyNTFaMA4xDDAKBgNVBAMMA2lkcDCCAb4wggEzBgcqhkjOOAQBMIIBJgKBgQCq7yfgFoMl2MZO4hW5" +
	"RMUb+f5xECko2Ag0wyzxjPAJZp0KxG8DNrz8pdi/7wLj1WgkAvh/UDEEhgJ2TkF3ch+JApRIa4THQTkQ1CKiBd5qFpM58w0sf6XM" +
	"eK9Tp5NuRmabMUBqRJ8kqZUsUQZ6zitvZLcugOuL9MtV+ZOEtzqtRQIdAMbkuA9uq9X49Nc2vFxmVUoYbBf3ggQ1oyw6fwcCgYB/" +
	"sNrOUCQq4mSfZIje8T5F4F/zU5Z+LVRFdymRef8iWXY4op9jB4ITQ8MTYUROhMrRd0RW1h0IiOTcdefbviHBYZVGf0VsOeol8lcP" +
	"rn+Mq09ZPg+9QhD9YZcAw78fZEXwzXg//MAQttRKne6/NaTExRfDhcRN9KRqZMitO7pbdwOBhAACgYASvfxvRXV84sPYGH0J8NEI" +
	"L6FZP04T39JttzbICKtnelrHRqY9JPeZBaahqpr4suZR9/aXyRkmmf+743lmIElk8D8DmutWVv6mi6fF9TaATe6/7pao0kosVV9A" +
	"d8aJxJsRqwsnshMetRAxQuG0zqxRaxj9kyb1wKdfg7jJtWB+lqNTMFEwHQYDVR0OBBYEFBDL2pPjROn5Co4SwYvQeqh4CA8GMB8G" +
	"A1UdIwQYMBaAFBDL2pPjROn5Co4SwYvQeqh4CA8GMA8GA1UdEwEB/wQFMAMBAf8wCwYJYIZIAWUDBAMCA0EAMD4CHQCKwgy09D/p" +
	"BuoRUCpvWMGTos+Q58JUM2a65JXYAh0AqGxN1vAfPI+Im/PrU44WANjE6O552kWRY9syuA=="

func TestSigningKeyOfDSA(t *testing.T) {
	d := withCertificates(t, dsaCertificate)
	assert.Empty(t, d.SigningCertificates)
	require.Len(t, d.DroppedCertificates, 1)
	assert.Equal(t, "its key type DSA cannot check SAML signatures, RSA or ECDSA is needed", d.DroppedCertificates[0].Reason)
}

// A certificate "without a well-defined expiration date" [RFC 5280 4.1.2.5] is
// fine, one without dates is none.
func TestOddDatesOfCertificates(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	never := time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: never}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	d := withCertificates(t, base64.StdEncoding.EncodeToString(der))
	require.Len(t, d.SigningCertificates, 1)
	assert.Equal(t, never, d.SigningCertificates[0].NotAfter)
	assertReadsBack(t, d)

	var certificate struct {
		TBS struct {
			Raw                          asn1.RawContent
			Version                      int `asn1:"optional,explicit,tag:0"`
			Serial                       *big.Int
			Algorithm, Issuer            asn1.RawValue
			Validity                     asn1.RawValue
			Subject, PublicKey           asn1.RawValue
			UniqueID, SubjectUniqueID, X asn1.RawValue `asn1:"optional"`
		}
		Algorithm, Signature asn1.RawValue
	}
	_, err = asn1.Unmarshal(der, &certificate)
	require.NoError(t, err)
	empty := bytes.Replace(der, certificate.TBS.Validity.FullBytes, append([]byte{0x30, byte(len(certificate.TBS.Validity.Bytes))}, bytes.Repeat([]byte{0x05, 0x00}, len(certificate.TBS.Validity.Bytes)/2)...), 1)
	require.Len(t, empty, len(der))
	d = withCertificates(t, base64.StdEncoding.EncodeToString(empty))
	assert.Empty(t, d.SigningCertificates)
	require.Len(t, d.DroppedCertificates, 1)
	assert.Equal(t, "it is not a valid X.509 certificate", d.DroppedCertificates[0].Reason)
}

func TestDroppedCertificates(t *testing.T) {
	edKey, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	odd := base64.StdEncoding.EncodeToString(certify(t, edKey, "a\nb\x1b[31m"+strings.Repeat("x", 500)))
	good := signingCertificate(t)
	der, err := base64.StdEncoding.DecodeString(good)
	require.NoError(t, err)
	joined := base64.StdEncoding.EncodeToString(append(der, der...))

	d := withCertificates(t, "", "!", good, "\n", joined, odd, good, odd, strings.Repeat("A", 40_000))
	assert.Len(t, d.SigningCertificates, 1)
	var reasons []string
	for _, dropped := range d.DroppedCertificates {
		reasons = append(reasons, dropped.Reason)
		assert.NotRegexp(t, `[[:cntrl:]]`, dropped.Subject)
		assert.LessOrEqual(t, len([]rune(dropped.Subject)), 256)
	}
	assert.Equal(t, []string{
		"its element is empty", "it is not valid base64", "it is not a valid X.509 certificate",
		"its key type Ed25519 cannot check SAML signatures, RSA or ECDSA is needed", "it is far too large for a certificate",
	}, reasons, "each once, in document order")
}

func TestLargeCertificates(t *testing.T) {
	key := &rsa.PublicKey{N: new(big.Int).SetBit(new(big.Int).Lsh(big.NewInt(1), 2047), 0, 1), E: 65537}
	large := certify(t, key, strings.Repeat("x", 3_700))
	tooLarge := certify(t, key, strings.Repeat("x", 4_000))
	require.Less(t, len(large), 8<<10)
	require.Greater(t, len(tooLarge), 8<<10)

	var indented strings.Builder
	for text := base64.StdEncoding.EncodeToString(large); text != ""; text = text[min(64, len(text)):] {
		indented.WriteString("\n" + strings.Repeat(" ", 80) + text[:min(64, len(text))])
	}
	d := withCertificates(t, indented.String(), base64.StdEncoding.EncodeToString(tooLarge))
	require.Len(t, d.SigningCertificates, 1)
	assert.Equal(t, large, d.SigningCertificates[0].Raw)
	require.Len(t, d.DroppedCertificates, 1)
	assert.Equal(t, "it is far too large for a certificate", d.DroppedCertificates[0].Reason)
	assert.Len(t, d.DroppedCertificates[0].FingerprintSHA256, 64)
	assertReadsBack(t, d)
}

func TestSubject(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for name, subject := range map[string]string{
		"idp":                              "CN=idp",
		"Müller, Ltd.":                     `CN=Müller\, Ltd.`,
		"a\r\nb\x1b[31m\u202Ec\u200Bd\x00": "CN=ab[31mcd",
		strings.Repeat("ü", 300):           "CN=" + strings.Repeat("ü", 252) + "…",
	} {
		certificate, err := x509.ParseCertificate(certify(t, &key.PublicKey, name))
		require.NoError(t, err)
		assert.Equal(t, subject, idpmetadata.Subject(certificate))
	}
	assert.Empty(t, idpmetadata.Subject(&x509.Certificate{}))
}

func withCertificates(t *testing.T, certificates ...string) *idpmetadata.Descriptor {
	t.Helper()
	var keys strings.Builder
	for _, c := range certificates {
		keys.WriteString(`<KeyDescriptor><ds:KeyInfo><ds:X509Data><ds:X509Certificate>` + c + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>`)
	}
	d, err := idpmetadata.Parse(idp("", keys.String()), "")
	require.NoError(t, err)
	return d
}
