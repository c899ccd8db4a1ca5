package idpmetadata

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"strings"

	"cequence.cloud/saml-operator/internal/xmldsig"
	"cequence.cloud/saml-operator/internal/xmltree"
)

// signedLimits are for a document whose signature is checked. Real ones have
// half as many elements and parts in as many bytes. The tree takes up to five
// times their size.
var signedLimits = xmltree.Limits{Bytes: defaultMaxBytes, Elements: 160_000, Parts: 400_000}

// verifying limits how many documents are in a tree at once. It is work for
// the processor alone, so more at once would only take more memory.
var verifying = make(chan struct{}, 2)

// ParseSigners reads the certificates of the keys that may sign a tenant's
// metadata. Each text holds one or more PEM certificates and no other PEM
// block. Their keys are what is trusted: names, issuers and dates of the
// certificates are not looked at. The error is of type [*Error] with the
// reason [SignatureInvalid].
func ParseSigners(texts ...string) ([]*x509.Certificate, error) {
	var signers []*x509.Certificate
	for _, text := range texts {
		rest := []byte(text)
		for found := false; ; found = true {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				if !found || bytes.Contains(rest, []byte("-----BEGIN")) {
					return nil, unusableSigner(nil, "is not a PEM certificate")
				}
				break
			}
			if block.Type != "CERTIFICATE" {
				return nil, unusableSigner(nil, "holds something else than certificates")
			}
			certificate, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, unusableSigner(err, "is not a valid X.509 certificate")
			}
			if problem := keyProblem(certificate); problem != "" {
				return nil, unusableSigner(nil, "cannot be used: "+problem)
			}
			signers = append(signers, certificate)
		}
	}
	return signers, nil
}

func unusableSigner(cause error, problem string) *Error {
	return fail(SignatureInvalid, cause, "an entry of metadataSigningCertificates %s; put the PEM certificate there by whose key the metadata is signed", problem)
}

// covered returns what a signature by one of the signers covers, in canonical
// form: the whole document, or the one EntityDescriptor that is in question,
// if it is signed by itself. What stands around that is not part of it, so
// nothing else of the document may be used. [SAMLMeta 3]
func covered(document []byte, wanted string, signers []*x509.Certificate) ([]byte, error) {
	verifying <- struct{}{}
	defer func() { <-verifying }()

	root, err := xmltree.Parse(document, signedLimits)
	switch {
	case errors.Is(err, xmltree.ErrTooLarge), errors.Is(err, xmltree.ErrLimit):
		return nil, fail(SignatureInvalid, err, "the metadata is too large or too complex for its signature to be checked; use a URL that serves the IdP's own signed metadata instead of an aggregate")
	case err != nil:
		return nil, fail(SignatureInvalid, err, "the metadata's signature cannot be checked, since the document is not the plain XML in UTF-8 in which readers agree; have it published without processing instructions and with comments only between its elements")
	}
	content, refusal := vouchedFor(root, signers)
	if refusal == nil {
		return content, nil
	}
	if entity := inQuestion(root, wanted); entity != nil && entity != root {
		content, own := vouchedFor(entity, signers)
		switch {
		case own == nil:
			return content, nil
		case refusal == errUnsigned:
			refusal = own
		}
	}
	return nil, refusal
}

var errUnsigned = fail(SignatureInvalid, nil, "the metadata is not signed, but metadataSigningCertificates asks for a signature of the document or of the IdP's EntityDescriptor; use a URL that serves it signed, or remove metadataSigningCertificates")

// vouchedFor returns the element without its signature, if that is by one of
// the signers. It is written in canonical form only then, since that can take
// many times the room of the document.
func vouchedFor(element *xmltree.Element, signers []*x509.Certificate) ([]byte, *Error) {
	signature, err := xmldsig.Of(element)
	switch {
	case errors.Is(err, xmldsig.ErrAlgorithm):
		return nil, fail(SignatureInvalid, err, "the metadata is signed by algorithms that are not allowed, such as SHA-1; have its publisher sign with RSA or ECDSA and SHA-256 or better, in exclusive canonicalization")
	case err != nil:
		return nil, fail(SignatureInvalid, err, "the metadata's signature is not of the one form that is allowed; have its publisher sign with one enveloped signature that refers to the ID of the element it is in")
	case signature == nil:
		return nil, errUnsigned
	case !slices.ContainsFunc(signers, func(c *x509.Certificate) bool { return signature.MadeBy(c.PublicKey) }):
		return nil, fail(SignatureInvalid, nil, "the metadata is signed by none of the keys in metadataSigningCertificates, or its signature was damaged afterwards; if its publisher has a new key, add the certificate that the publisher confirms")
	}
	content, err := signature.Content()
	if err != nil {
		return nil, fail(SignatureInvalid, err, "the metadata was changed after it was signed; have it published just as its signer wrote it, and find out who changed it")
	}
	return content, nil
}

// inQuestion returns the one IdP that has the wanted entity ID or, if none
// has, the only one there is; nil when there are several.
func inQuestion(root *xmltree.Element, wanted string) *xmltree.Element {
	var fitting, all []*xmltree.Element
	var walk func(*xmltree.Element)
	walk = func(e *xmltree.Element) {
		switch {
		case e.Is(namespaceMetadata, entitiesDescriptor.Local):
			for child := range e.Children() {
				walk(child)
			}
		case e.Is(namespaceMetadata, entityDescriptor.Local):
			for range e.Named(namespaceMetadata, idpSSODescriptor.Local) {
				all = append(all, e)
				if id, _ := e.Attribute("entityID"); wanted != "" && strings.Trim(id, xmlSpace) == wanted {
					fitting = append(fitting, e)
				}
				break
			}
		}
	}
	walk(root)
	switch {
	case len(fitting) == 1:
		return fitting[0]
	case len(fitting) == 0 && len(all) == 1:
		return all[0]
	}
	return nil
}
