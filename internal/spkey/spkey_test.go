package spkey_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/spkey"
)

func TestGenerateMakesAPairThatReads(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	key, certificate, err := spkey.Generate("acme.s.cequence.cloud", now)
	if err != nil {
		t.Fatal(err)
	}
	got, err := spkey.Certificate(key, certificate)
	if err != nil {
		t.Fatal(err)
	}
	if got.Subject.CommonName != "acme.s.cequence.cloud" || !got.NotBefore.Before(now) || !got.NotAfter.After(now.AddDate(9, 0, 0)) {
		t.Errorf("certificate: %s, %s to %s", got.Subject, got.NotBefore, got.NotAfter)
	}
}

// cert-manager and openssl write other forms, and chains.
func TestCertificateReadsWhatOthersWrite(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	leaf, want := selfSigned(t, key)
	_, issuer, err := spkey.Generate("issuer.example.test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	for name, certificate := range map[string][]byte{
		"alone": leaf, "a chain": slices.Concat(leaf, issuer), "after a comment": slices.Concat([]byte("subject=CN = acme\n"), leaf),
	} {
		if got, err := spkey.Certificate(pkcs1, certificate); err != nil || !got.Equal(want) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

func selfSigned(t *testing.T, key crypto.Signer) ([]byte, *x509.Certificate) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), certificate
}

func certificateOf(t *testing.T, key *rsa.PublicKey, issuer crypto.Signer) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key, issuer)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func pkcs8(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestCertificateRefusesWhatIsOfNoUse(t *testing.T) {
	key1, certificate1, err := spkey.Generate("a.example.test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, certificate2, err := spkey.Generate("b.example.test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	elliptic, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ellipticCertificate, _ := selfSigned(t, elliptic)
	shortCertificate, _ := selfSigned(t, short)
	// No key of this length has to be made for the length to be refused.
	long := certificateOf(t, &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8192, 1), E: 65537}, elliptic)
	for name, test := range map[string]struct {
		key, certificate []byte
		want             string
	}{
		"another pair's certificate": {key1, certificate2, "not that of the certificate"},
		"no key":                     {nil, certificate1, "SP key cannot be read"},
		"no certificate":             {key1, nil, "certificate of the SP key cannot be read"},
		"not PEM":                    {[]byte("x"), []byte("y"), "certificate of the SP key cannot be read"},
		"swapped":                    {certificate1, key1, "certificate of the SP key cannot be read"},
		"elliptic":                   {pkcs8(t, elliptic), ellipticCertificate, "not an RSA key"},
		"8193 bits":                  {key1, long, "has 8193 bits, not 2048 to 8192"},
		"1024 bits":                  {pkcs8(t, short), shortCertificate, "has 1024 bits, not 2048 to 8192"},
	} {
		if _, err := spkey.Certificate(test.key, test.certificate); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestSigner(t *testing.T) {
	key, certificate, err := spkey.Generate("a.example.test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := spkey.Certificate(key, certificate)
	if err != nil {
		t.Fatal(err)
	}
	if signer, err := spkey.Signer(key, certificate); err != nil || !leaf.PublicKey.(*rsa.PublicKey).Equal(signer.Public()) {
		t.Errorf("got %v", err)
	}
	if _, err := spkey.Signer([]byte("secret"), certificate); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}
