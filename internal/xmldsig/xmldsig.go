// Package xmldsig reads and makes enveloped XML signatures in the one shape
// that SAML allows [SAMLCore 5.4] and tells what they cover and by whose key
// they are. Signatures over other octets are checked by the same list of
// algorithms. It has no look-ups: a signature counts only for the element that
// it is in, and what it covers is handed out as the very bytes that were hashed.
package xmldsig

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha256" // registers the hashes that the algorithms name
	_ "crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"cequence.cloud/saml-operator/internal/xmltree"
)

// Namespaces and algorithms that writers of signatures need as well.
const (
	Namespace = "http://www.w3.org/2000/09/xmldsig#"

	// ExclusiveC14N is an algorithm, and the namespace of its parameter.
	ExclusiveC14N      = "http://www.w3.org/2001/10/xml-exc-c14n#"
	EnvelopedSignature = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
	RSASHA256          = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
	DigestSHA256       = "http://www.w3.org/2001/04/xmlenc#sha256"
)

const maxInclusivePrefixes = 16

// The kinds of error, wrapped with details that hold no content of the
// document but names of algorithms and elements, printable and bounded.
var (
	ErrStructure = errors.New("signature of another shape than the allowed one")
	ErrAlgorithm = errors.New("algorithm not allowed")
	ErrLimit     = errors.New("signature exceeds a limit")
	ErrDigest    = errors.New("content was changed after signing")
)

type signatureAlgorithm struct {
	hash  crypto.Hash
	ecdsa bool
}

// signatureAlgorithms and digestAlgorithms are all that is allowed [RFC 9231].
var (
	signatureAlgorithms = map[string]signatureAlgorithm{
		RSASHA256: {hash: crypto.SHA256},
		"http://www.w3.org/2001/04/xmldsig-more#rsa-sha384":   {hash: crypto.SHA384},
		"http://www.w3.org/2001/04/xmldsig-more#rsa-sha512":   {hash: crypto.SHA512},
		"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256": {hash: crypto.SHA256, ecdsa: true},
		"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384": {hash: crypto.SHA384, ecdsa: true},
		"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512": {hash: crypto.SHA512, ecdsa: true},
	}
	digestAlgorithms = map[string]crypto.Hash{
		DigestSHA256: crypto.SHA256,
		"http://www.w3.org/2001/04/xmldsig-more#sha384": crypto.SHA384,
		"http://www.w3.org/2001/04/xmlenc#sha512":       crypto.SHA512,
	}
)

// Signature is a ds:Signature of the allowed shape. It vouches for what
// Content returns, and for nothing else, if MadeBy is true of a trusted key.
type Signature struct {
	Value // over SignedInfo
	// KeyInfo is nil when absent. Nobody has signed it.
	KeyInfo *xmltree.Element

	element, signed *xmltree.Element // signed is the parent

	// What SignedInfo says of the signed element.
	inclusive []string
	hash      crypto.Hash
	digest    []byte
}

// Of reads the signature of an element: the one ds:Signature among its
// children, which has to refer to this very element by its ID. It returns nil
// when there is none, and an error when there are several.
func Of(signed *xmltree.Element) (*Signature, error) {
	s := &Signature{signed: signed}
	for e := range signed.Named(Namespace, "Signature") {
		if s.element != nil {
			return nil, structure("%s has more than one Signature", signed.Local)
		}
		s.element = e
	}
	if s.element == nil {
		return nil, nil
	}
	parts := sequence(s.element, "SignedInfo", "SignatureValue", "KeyInfo")
	if parts == nil {
		parts = sequence(s.element, "SignedInfo", "SignatureValue")
	}
	switch len(parts) {
	case 0:
		return nil, structure("Signature must hold SignedInfo, SignatureValue and at most KeyInfo")
	case 3:
		s.KeyInfo = parts[2]
	}
	signedInfo, value := parts[0], parts[1]

	parts = sequence(signedInfo, "CanonicalizationMethod", "SignatureMethod", "Reference")
	if parts == nil {
		return nil, structure("SignedInfo must hold exactly one Reference")
	}
	inclusive, err := canonicalization(parts[0])
	if err != nil {
		return nil, err
	}
	name, err := plainAlgorithm(parts[1])
	if err != nil {
		return nil, err
	}
	if _, ok := signatureAlgorithms[name]; !ok {
		return nil, fmt.Errorf("%w: signature algorithm %s", ErrAlgorithm, quote(name))
	}
	raw, err := Base64Text(value)
	if err != nil {
		return nil, err
	}
	if err := s.reference(parts[2]); err != nil {
		return nil, err
	}
	s.Value, err = NewValue(name, signedInfo.Canonicalize(nil, nil, inclusive), raw)
	return s, err
}

// reference reads what SignedInfo says of the signed element.
func (s *Signature) reference(e *xmltree.Element) error {
	id, _ := s.signed.Attribute("ID")
	if uri, _ := e.Attribute("URI"); id == "" || uri != "#"+id {
		return structure("Reference is not to the ID of the signed element")
	}
	parts := sequence(e, "Transforms", "DigestMethod", "DigestValue")
	if parts == nil {
		return structure("Reference must hold Transforms, DigestMethod and DigestValue")
	}
	transforms := sequence(parts[0], "Transform", "Transform")
	if transforms == nil {
		return structure("Transforms must be enveloped-signature and exclusive canonicalization")
	}
	name, err := plainAlgorithm(transforms[0])
	if err != nil {
		return err
	}
	if name != EnvelopedSignature {
		return fmt.Errorf("%w: first transform %s", ErrAlgorithm, quote(name))
	}
	if s.inclusive, err = canonicalization(transforms[1]); err != nil {
		return err
	}
	if name, err = plainAlgorithm(parts[1]); err != nil {
		return err
	}
	var ok bool
	if s.hash, ok = digestAlgorithms[name]; !ok {
		return fmt.Errorf("%w: digest algorithm %s", ErrAlgorithm, quote(name))
	}
	s.digest, err = Base64Text(parts[2])
	return err
}

// Content returns what the signature covers, if the digest fits: the signed
// element without the signature, in its canonical form.
func (s *Signature) Content() ([]byte, error) {
	content := s.signed.Canonicalize(nil, s.element, s.inclusive)
	h := s.hash.New()
	h.Write(content)
	if !bytes.Equal(h.Sum(nil), s.digest) {
		return nil, fmt.Errorf("%w: the digest of %s does not fit", ErrDigest, s.signed.Local)
	}
	return content, nil
}

// Value is a signature value together with the hash of what it is over.
type Value struct {
	algorithm signatureAlgorithm
	hashed    []byte
	value     []byte
}

// NewValue returns a signature over octets by the algorithm of that URI, or
// ErrAlgorithm.
func NewValue(algorithm string, octets, value []byte) (Value, error) {
	v := Value{value: value}
	var ok bool
	if v.algorithm, ok = signatureAlgorithms[algorithm]; !ok {
		return Value{}, fmt.Errorf("%w: signature algorithm %s", ErrAlgorithm, quote(algorithm))
	}
	h := v.algorithm.hash.New()
	h.Write(octets)
	v.hashed = h.Sum(nil)
	return v, nil
}

// MadeBy tells whether v was made by the key, which is of RSA or ECDSA. How
// strong it has to be, and what its certificate says, is the caller's matter.
func (v Value) MadeBy(key crypto.PublicKey) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return !v.algorithm.ecdsa && rsa.VerifyPKCS1v15(key, v.algorithm.hash, v.hashed, v.value) == nil
	case *ecdsa.PublicKey:
		// The value is r and s side by side, each as long as the order of
		// the curve [XMLDSig 6.4.3].
		size := (key.Params().N.BitLen() + 7) / 8
		if !v.algorithm.ecdsa || len(v.value) != 2*size {
			return false
		}
		r, t := new(big.Int).SetBytes(v.value[:size]), new(big.Int).SetBytes(v.value[size:])
		return ecdsa.Verify(key, v.hashed, r, t)
	}
	return false
}

// canonicalization checks that method is exclusive canonicalization without
// comments, and returns its inclusive prefixes.
func canonicalization(method *xmltree.Element) ([]string, error) {
	if name, _ := method.Attribute("Algorithm"); name != ExclusiveC14N {
		return nil, fmt.Errorf("%w: canonicalization or transform %s", ErrAlgorithm, quote(name))
	}
	var inclusive []string
	parameters := 0
	for parameter := range method.Children() {
		list, ok := parameter.Attribute("PrefixList")
		if parameters++; parameters > 1 || !ok || !parameter.Is(ExclusiveC14N, "InclusiveNamespaces") {
			return nil, structure("unknown parameter of canonicalization")
		}
		inclusive = strings.Fields(list)
	}
	if len(inclusive) > maxInclusivePrefixes {
		return nil, fmt.Errorf("%w: more than %d inclusive prefixes", ErrLimit, maxInclusivePrefixes)
	}
	return inclusive, nil
}

// plainAlgorithm returns the Algorithm of an element without parameters.
func plainAlgorithm(e *xmltree.Element) (string, error) {
	for range e.Children() {
		return "", structure("%s must have no parameters", e.Local)
	}
	name, _ := e.Attribute("Algorithm")
	return name, nil
}

// sequence returns the child elements of e when they are exactly the named
// ones of XML Signature in that order, else nil.
func sequence(e *xmltree.Element, names ...string) []*xmltree.Element {
	children := make([]*xmltree.Element, 0, len(names))
	for child := range e.Children() {
		if len(children) == len(names) || !child.Is(Namespace, names[len(children)]) {
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

// Base64Text decodes an element of type xs:base64Binary.
func Base64Text(e *xmltree.Element) ([]byte, error) {
	text, ok := e.Text()
	if ok {
		// The decoder itself skips line feeds.
		raw, err := base64.StdEncoding.DecodeString(withoutBlanks.Replace(text))
		if err == nil && len(raw) > 0 {
			return raw, nil
		}
	}
	return nil, structure("%s is not base64", quote(e.Local))
}

func structure(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrStructure, fmt.Sprintf(format, args...))
}

// quote makes a name from the document fit for a log line: bounded, and with
// everything unprintable escaped.
func quote(name string) string { return fmt.Sprintf("%+.200q", name) }
