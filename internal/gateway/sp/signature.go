package sp

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // registers the hashes that algorithms names
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"slices"
	"strings"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/sp/xmltree"
)

const (
	nsSignature = "http://www.w3.org/2000/09/xmldsig#"

	// exclusiveC14N is an algorithm, and the namespace of its parameter.
	exclusiveC14N      = "http://www.w3.org/2001/10/xml-exc-c14n#"
	envelopedTransform = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
	rsaSHA256          = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
	digestSHA256       = "http://www.w3.org/2001/04/xmlenc#sha256"

	minRSABits           = 2048
	maxInclusivePrefixes = 16
)

type signatureAlgorithm struct {
	hash  crypto.Hash
	ecdsa bool
}

// signatureAlgorithms and digestAlgorithms are all that is allowed [RFC 9231].
var (
	signatureAlgorithms = map[string]signatureAlgorithm{
		rsaSHA256: {hash: crypto.SHA256},
		"http://www.w3.org/2001/04/xmldsig-more#rsa-sha384":   {hash: crypto.SHA384},
		"http://www.w3.org/2001/04/xmldsig-more#rsa-sha512":   {hash: crypto.SHA512},
		"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256": {hash: crypto.SHA256, ecdsa: true},
		"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384": {hash: crypto.SHA384, ecdsa: true},
		"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512": {hash: crypto.SHA512, ecdsa: true},
	}
	digestAlgorithms = map[string]crypto.Hash{
		digestSHA256: crypto.SHA256,
		"http://www.w3.org/2001/04/xmldsig-more#sha384": crypto.SHA384,
		"http://www.w3.org/2001/04/xmlenc#sha512":       crypto.SHA512,
	}
)

// signature is a ds:Signature of the one allowed shape whose digest fits the
// element it is in. Whose signature it is, trustedBy says.
type signature struct {
	algorithm  signatureAlgorithm
	signedInfo []byte // the hash of SignedInfo
	value      []byte
	keyInfo    *xmltree.Element // nil when absent
}

// readSignature reads the enveloped signature in element, a child of signed,
// and compares its digest. There is no look-up by ID: the signature has to
// refer to its own parent [SAMLCore 5.4.2].
func readSignature(element, signed *xmltree.Element) (*signature, error) {
	parts := sequence(element, "SignedInfo", "SignatureValue", "KeyInfo")
	if len(parts) < 3 {
		parts = sequence(element, "SignedInfo", "SignatureValue")
	}
	if parts == nil {
		return nil, refuse(CodeSignatureStructure, "Signature must hold SignedInfo, SignatureValue and at most KeyInfo")
	}
	s := &signature{}
	if len(parts) == 3 {
		s.keyInfo = parts[2]
	}
	signedInfo := parts[0]
	value := parts[1]

	parts = sequence(signedInfo, "CanonicalizationMethod", "SignatureMethod", "Reference")
	if parts == nil {
		return nil, refuse(CodeSignatureStructure, "SignedInfo must hold exactly one Reference")
	}
	inclusive, err := canonicalization(parts[0])
	if err != nil {
		return nil, err
	}
	name, err := plainAlgorithm(parts[1])
	if err != nil {
		return nil, err
	}
	var ok bool
	if s.algorithm, ok = signatureAlgorithms[name]; !ok {
		return nil, refuse(CodeAlgorithmNotAllowed, "signature algorithm %s", quote(name))
	}
	if s.value, err = base64Text(value); err != nil {
		return nil, err
	}
	if err := checkReference(parts[2], element, signed); err != nil {
		return nil, err
	}
	h := s.algorithm.hash.New()
	h.Write(signedInfo.Canonicalize(nil, nil, inclusive))
	s.signedInfo = h.Sum(nil)
	return s, nil
}

func checkReference(reference, signature, signed *xmltree.Element) error {
	id, _ := signed.Attribute("ID")
	if uri, _ := reference.Attribute("URI"); id == "" || uri != "#"+id {
		return refuse(CodeSignatureStructure, "Reference is not to the ID of the signed element")
	}
	parts := sequence(reference, "Transforms", "DigestMethod", "DigestValue")
	if parts == nil {
		return refuse(CodeSignatureStructure, "Reference must hold Transforms, DigestMethod and DigestValue")
	}
	transforms := sequence(parts[0], "Transform", "Transform")
	if transforms == nil {
		return refuse(CodeSignatureStructure, "Transforms must be enveloped-signature and exclusive canonicalization")
	}
	name, err := plainAlgorithm(transforms[0])
	if err != nil {
		return err
	}
	if name != envelopedTransform {
		return refuse(CodeAlgorithmNotAllowed, "first transform %s", quote(name))
	}
	inclusive, err := canonicalization(transforms[1])
	if err != nil {
		return err
	}
	if name, err = plainAlgorithm(parts[1]); err != nil {
		return err
	}
	hash, ok := digestAlgorithms[name]
	if !ok {
		return refuse(CodeAlgorithmNotAllowed, "digest algorithm %s", quote(name))
	}
	want, err := base64Text(parts[2])
	if err != nil {
		return err
	}
	h := hash.New()
	h.Write(signed.Canonicalize(nil, signature, inclusive))
	if !bytes.Equal(h.Sum(nil), want) {
		return refuse(CodeSignatureInvalid, "content was changed after signing: the digest of %s does not fit", signed.Local)
	}
	return nil
}

// canonicalization checks that method is exclusive canonicalization without
// comments, and returns its inclusive prefixes.
func canonicalization(method *xmltree.Element) ([]string, error) {
	if name, _ := method.Attribute("Algorithm"); name != exclusiveC14N {
		return nil, refuse(CodeAlgorithmNotAllowed, "canonicalization or transform %s", quote(name))
	}
	var inclusive []string
	parameters := 0
	for parameter := range method.Children() {
		list, ok := parameter.Attribute("PrefixList")
		if parameters++; parameters > 1 || !ok || !parameter.Is(exclusiveC14N, "InclusiveNamespaces") {
			return nil, refuse(CodeSignatureStructure, "unknown parameter of canonicalization")
		}
		inclusive = strings.Fields(list)
	}
	if len(inclusive) > maxInclusivePrefixes {
		return nil, refuse(CodeXMLLimit, "more than %d inclusive prefixes", maxInclusivePrefixes)
	}
	return inclusive, nil
}

// plainAlgorithm returns the Algorithm of an element without parameters.
func plainAlgorithm(e *xmltree.Element) (string, error) {
	for range e.Children() {
		return "", refuse(CodeSignatureStructure, "%s must have no parameters", e.Local)
	}
	name, _ := e.Attribute("Algorithm")
	return name, nil
}

// trustedBy returns the certificate, of those given, whose key made s. KeyInfo
// only decides how a failure is called.
func (s *signature) trustedBy(certificates []*x509.Certificate, now time.Time) (*x509.Certificate, error) {
	var refusal error
	for _, certificate := range certificates {
		if !s.madeBy(certificate.PublicKey) {
			continue
		}
		err := checkCertificate(certificate, now)
		if err == nil {
			return certificate, nil
		}
		if refusal == nil {
			refusal = err // another certificate of the same key may be valid
		}
	}
	switch {
	case refusal != nil:
		return nil, refusal
	case s.names(certificates):
		return nil, refuse(CodeSignatureInvalid, "the signature is not by the trusted key that it names")
	}
	return nil, refuse(CodeUnknownSigningKey, "the signature is by none of the %d trusted keys", len(certificates))
}

func (s *signature) madeBy(key crypto.PublicKey) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return !s.algorithm.ecdsa && rsa.VerifyPKCS1v15(key, s.algorithm.hash, s.signedInfo, s.value) == nil
	case *ecdsa.PublicKey:
		// The value is r and s side by side, each as long as the order of
		// the curve [XMLDSig 6.4.3].
		size := (key.Params().N.BitLen() + 7) / 8
		if !s.algorithm.ecdsa || len(s.value) != 2*size {
			return false
		}
		r, t := new(big.Int).SetBytes(s.value[:size]), new(big.Int).SetBytes(s.value[size:])
		return ecdsa.Verify(key, s.signedInfo, r, t)
	}
	return false
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

// names tells whether KeyInfo holds one of the certificates.
func (s *signature) names(certificates []*x509.Certificate) bool {
	if s.keyInfo == nil {
		return false
	}
	for e := range s.keyInfo.All() {
		if !e.Is(nsSignature, "X509Certificate") {
			continue
		}
		raw, err := base64Text(e)
		if err == nil && slices.ContainsFunc(certificates, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, raw) }) {
			return true
		}
	}
	return false
}

// sequence returns the child elements of e when they are exactly the named
// ones of XML Signature in that order, else nil.
func sequence(e *xmltree.Element, names ...string) []*xmltree.Element {
	children := make([]*xmltree.Element, 0, len(names))
	for child := range e.Children() {
		if len(children) == len(names) || !child.Is(nsSignature, names[len(children)]) {
			return nil
		}
		children = append(children, child)
	}
	if len(children) != len(names) {
		return nil
	}
	return children
}

var withoutBlanks = strings.NewReplacer(" ", "", "\t", "")

// base64Text decodes an element of type xs:base64Binary.
func base64Text(e *xmltree.Element) ([]byte, error) {
	text, ok := e.Text()
	if ok {
		// The decoder itself skips line feeds.
		raw, err := base64.StdEncoding.DecodeString(withoutBlanks.Replace(text))
		if err == nil && len(raw) > 0 {
			return raw, nil
		}
	}
	return nil, refuse(CodeSignatureStructure, "%s is not base64", quote(e.Local))
}
