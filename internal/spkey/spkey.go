// Package spkey makes and reads the key pair of a tenant's service provider:
// it signs requests and decrypts assertions.
package spkey

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	// bits: Entra ID takes RSA only, and every IdP takes 2048. Generating one
	// costs about 55 ms of a core.
	bits = 2048
	// maxBits bounds what a signature or a decryption costs the gateway.
	maxBits = 8192
	// lifetime of the certificate. IdPs take it as the wrapping of a key that
	// the administrator trusts, so it must outlive the relation.
	lifetime = 10 * 365 * 24 * time.Hour
)

// Generate makes an RSA key and a self-signed certificate for host, both PEM.
func Generate(host string, now time.Time) (keyPEM, certificatePEM []byte, err error) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, nil, fmt.Errorf("generate SP key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, fmt.Errorf("generate serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: host},
		// Clocks of IdPs may be behind ours.
		NotBefore: now.Add(-time.Hour).UTC(),
		NotAfter:  now.Add(lifetime).UTC(),
		KeyUsage:  x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("create SP certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode SP key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// Certificate reads the certificate of a key pair, the first one of a chain. It
// says what is wrong, without a word of either file, when the two do not belong
// together or the key is not RSA of 2048 to 8192 bits.
func Certificate(keyPEM, certificatePEM []byte) (*x509.Certificate, error) {
	certificate, err := x509.ParseCertificate(firstCertificate(certificatePEM))
	if err != nil {
		return nil, errors.New("the certificate of the SP key cannot be read")
	}
	key, ok := certificate.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("the SP key is not an RSA key")
	}
	if n := key.N.BitLen(); n < bits || n > maxBits {
		return nil, fmt.Errorf("the SP key has %d bits, not %d to %d", n, bits, maxBits)
	}
	if _, err := tls.X509KeyPair(certificatePEM, keyPEM); err != nil {
		return nil, errors.New("the SP key cannot be read or is not that of the certificate")
	}
	return certificate, nil
}

// Signer reads the key of a pair that Certificate has found good.
func Signer(keyPEM, certificatePEM []byte) (crypto.Signer, error) {
	pair, err := tls.X509KeyPair(certificatePEM, keyPEM)
	if err != nil {
		return nil, errors.New("the SP key cannot be read or is not that of the certificate")
	}
	key, ok := pair.PrivateKey.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("the SP key is not an RSA key")
	}
	return key, nil
}

func firstCertificate(text []byte) []byte {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil
		}
		if block.Type == "CERTIFICATE" {
			return block.Bytes
		}
		text = rest
	}
}
