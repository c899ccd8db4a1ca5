package sp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"cequence.cloud/saml-operator/internal/xmldsig"
	"cequence.cloud/saml-operator/internal/xmltree"
)

const minRSABits = 2048

// signer verifies the signature of a Response or Assertion and returns whose
// it is, nil when there is none.
func (v verifier) signer(signed *xmltree.Element) (*x509.Certificate, error) {
	s, err := xmldsig.Of(signed)
	if err != nil {
		return nil, signatureRefusal(err)
	}
	if s == nil {
		return nil, nil
	}
	if _, err := s.Content(); err != nil {
		return nil, signatureRefusal(err)
	}
	return v.trusted(s.Value, s.KeyInfo)
}

func signatureRefusal(err error) error {
	code := CodeSignatureStructure
	switch {
	case errors.Is(err, xmldsig.ErrAlgorithm):
		code = CodeAlgorithmNotAllowed
	case errors.Is(err, xmldsig.ErrDigest):
		code = CodeSignatureInvalid
	case errors.Is(err, xmldsig.ErrLimit):
		code = CodeXMLLimit
	}
	return refuse(code, "%v", err)
}

// trusted returns the trusted certificate whose key made the signature, of
// several one that is valid. KeyInfo, nil if absent, only decides how a failure
// is called.
func (v verifier) trusted(value xmldsig.Value, keyInfo *xmltree.Element) (*x509.Certificate, error) {
	certificates := v.want.SigningCertificates
	var expired *x509.Certificate
	var refusal error
	for _, certificate := range certificates {
		if !value.MadeBy(certificate.PublicKey) {
			continue
		}
		err := checkCertificate(certificate, v.want.Now)
		if err == nil {
			return certificate, nil
		}
		if CodeOf(err) == CodeCertificateExpired && v.want.AcceptExpired {
			expired = certificate
		}
		if refusal == nil {
			refusal = err // another certificate of the same key may be valid
		}
	}
	switch {
	case expired != nil:
		return expired, nil
	case refusal != nil:
		return nil, refusal
	case names(keyInfo, certificates):
		return nil, refuse(CodeSignatureInvalid, "the signature is not by the trusted key that it names")
	}
	return nil, renewable(refuse(CodeUnknownSigningKey, "the signature is by none of the %d trusted keys", len(certificates)))
}

// checkCertificate is the policy for a certificate that we trust otherwise.
func checkCertificate(certificate *x509.Certificate, now time.Time) error {
	switch key := certificate.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSABits {
			return refuse(CodeSigningKeyWeak, "RSA key of %d bits", key.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, key.Curve) {
			return refuse(CodeSigningKeyWeak, "curve %s", key.Params().Name)
		}
	}
	if now.After(certificate.NotAfter) {
		return refuse(CodeCertificateExpired, "the IdP signs with a certificate that expired on %s",
			certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	if now.Before(certificate.NotBefore) {
		return refuse(CodeCertificateNotYetValid, "the IdP signs with a certificate that is valid from %s",
			certificate.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// names tells whether the KeyInfo, which may be nil, holds one of the
// certificates.
func names(keyInfo *xmltree.Element, certificates []*x509.Certificate) bool {
	if keyInfo == nil {
		return false
	}
	for e := range keyInfo.All() {
		if !e.Is(xmldsig.Namespace, "X509Certificate") {
			continue
		}
		raw, err := xmldsig.Base64Text(e)
		if err == nil && slices.ContainsFunc(certificates, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, raw) }) {
			return true
		}
	}
	return false
}
