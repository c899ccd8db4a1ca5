package idpmetadata

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode"
)

const (
	minRSABits          = 2048
	maxRSABits          = 8192    // checking a signature gets slow beyond
	maxCertificateBytes = 8 << 10 // DER; one with an RSA-8192 key has 3 KiB
	maxSubject          = 256     // characters
)

// readCertificates decodes the texts of X509Certificate elements and parts
// those that can check signatures from those that cannot. Both lists are
// distinct and in document order.
func readCertificates(texts []string) (usable []*x509.Certificate, dropped []DroppedCertificate) {
	seen := make(map[string]bool)
	for _, text := range texts {
		der, problem := decodeCertificate(text)
		if seen[problem+string(der)] {
			continue
		}
		seen[problem+string(der)] = true
		if problem != "" {
			dropped = append(dropped, DroppedCertificate{Reason: problem})
			continue
		}
		if len(der) > maxCertificateBytes {
			dropped = append(dropped, DroppedCertificate{
				Reason:            "it is far too large for a certificate",
				FingerprintSHA256: fingerprint(der),
			})
			continue
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			dropped = append(dropped, DroppedCertificate{
				Reason:            "it is not a valid X.509 certificate",
				FingerprintSHA256: fingerprint(der),
			})
			continue
		}
		if problem := keyProblem(certificate); problem != "" {
			dropped = append(dropped, DroppedCertificate{
				Reason:            problem,
				Subject:           Subject(certificate),
				FingerprintSHA256: fingerprint(der),
			})
			continue
		}
		usable = append(usable, certificate)
	}
	return usable, dropped
}

// decodeCertificate returns the DER bytes, or a phrase that says why there
// are none. PEM armour is not allowed in metadata but pasted in by hand.
func decodeCertificate(text string) (der []byte, problem string) {
	text = strings.TrimPrefix(text, "-----BEGIN CERTIFICATE-----")
	text = strings.TrimSuffix(text, "-----END CERTIFICATE-----")
	text = strings.Join(strings.Fields(text), "")
	if text == "" {
		return nil, "its element is empty"
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, "it is not valid base64"
	}
	return der, ""
}

// keyProblem says in a phrase why the public key is of no use for checking
// SAML signatures, or nothing.
func keyProblem(certificate *x509.Certificate) string {
	switch key := certificate.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits {
			return fmt.Sprintf("its RSA key has %d bits, at least %d are needed", bits, minRSABits)
		} else if bits > maxRSABits {
			return fmt.Sprintf("its RSA key has more than %d bits", maxRSABits)
		}
		return ""
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return ""
		}
		return fmt.Sprintf("its key is on the curve %s, P-256, P-384 or P-521 is needed", key.Params().Name)
	}
	if certificate.PublicKeyAlgorithm == x509.UnknownPublicKeyAlgorithm {
		return "its key is of an unknown type, RSA or ECDSA is needed"
	}
	return fmt.Sprintf("its key type %s cannot check SAML signatures, RSA or ECDSA is needed", certificate.PublicKeyAlgorithm)
}

// Subject returns the subject's distinguished name [RFC 4514] fit for display:
// without what cannot be printed, such as control characters and marks that
// turn the direction of text, and with at most 256 characters.
func Subject(certificate *x509.Certificate) string {
	return cut(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, certificate.Subject.String()), maxSubject)
}
