package xmldsig

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"fmt"

	"cequence.cloud/saml-operator/internal/xmltree"
)

// Enveloped returns a ds:Signature to be put into root, which is signed by its
// ID: exclusive canonicalization, RSA-SHA256 by an RSA key. The certificate, nil
// for none, goes into KeyInfo. PKCS #1 v1.5 has no randomness: the same element
// and key are the same signature. [SAMLCore 5.4]
func Enveloped(root *xmltree.Element, key crypto.Signer, certificate *x509.Certificate) (string, error) {
	if _, ok := key.Public().(*rsa.PublicKey); !ok {
		return "", fmt.Errorf("sign %s: a key of type %T, not of RSA", root.Local, key.Public())
	}
	id, ok := root.Attribute("ID")
	if !ok || id == "" {
		return "", fmt.Errorf("sign %s: it has no ID", root.Local)
	}
	digest := sha256.Sum256(root.Canonicalize(nil, nil, nil))
	var reference bytes.Buffer
	_ = xml.EscapeText(&reference, []byte("#"+id)) // a bytes.Buffer returns no error
	signedInfo := `<ds:SignedInfo xmlns:ds="` + Namespace + `">` +
		`<ds:CanonicalizationMethod Algorithm="` + ExclusiveC14N + `"/>` +
		`<ds:SignatureMethod Algorithm="` + RSASHA256 + `"/>` +
		`<ds:Reference URI="` + reference.String() + `"><ds:Transforms>` +
		`<ds:Transform Algorithm="` + EnvelopedSignature + `"/>` +
		`<ds:Transform Algorithm="` + ExclusiveC14N + `"/></ds:Transforms>` +
		`<ds:DigestMethod Algorithm="` + DigestSHA256 + `"/>` +
		`<ds:DigestValue>` + base64.StdEncoding.EncodeToString(digest[:]) + `</ds:DigestValue>` +
		`</ds:Reference></ds:SignedInfo>`
	const limit = 1 << 20
	info, err := xmltree.Parse([]byte(signedInfo), xmltree.Limits{Bytes: limit, Elements: limit, Parts: limit})
	if err != nil {
		return "", fmt.Errorf("sign %s: %w", root.Local, err)
	}
	hash := sha256.Sum256(info.Canonicalize(nil, nil, nil))
	value, err := key.Sign(rand.Reader, hash[:], crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("sign %s: %w", root.Local, err)
	}
	signature := `<ds:Signature xmlns:ds="` + Namespace + `">` + signedInfo +
		`<ds:SignatureValue>` + base64.StdEncoding.EncodeToString(value) + `</ds:SignatureValue>`
	if certificate != nil {
		signature += `<ds:KeyInfo><ds:X509Data><ds:X509Certificate>` + base64.StdEncoding.EncodeToString(certificate.Raw) +
			`</ds:X509Certificate></ds:X509Data></ds:KeyInfo>`
	}
	return signature + `</ds:Signature>`, nil
}
