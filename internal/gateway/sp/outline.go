package sp

import (
	"crypto/x509"
	"time"

	"cequence.cloud/saml-operator/internal/xmldsig"
	"cequence.cloud/saml-operator/internal/xmltree"
)

// Bounds of an Outline.
const (
	maxOutlineBytes  = 1024
	maxOutlineValues = 4
)

// Outline is what a Response says where it was meant to go and who made it.
// Nobody has vouched for any of it: it is for an administrator who compares it
// with what was expected. The texts are bounded and printable. What is encrypted
// is not opened, and of the user it says nothing.
type Outline struct {
	Destination  string
	InResponseTo string
	IssueInstant time.Time
	// Issuers are of the Response and of the assertion.
	Issuers []string
	// Audiences and Recipients are of the assertion.
	Audiences, Recipients []string

	ResponseSigned, AssertionSigned, Encrypted bool
	// SigningCertificates came along with the signatures.
	SigningCertificates []*x509.Certificate
}

// OutlineOf reads an Outline, as far as there is one.
func OutlineOf(response []byte) (o Outline) {
	defer func() {
		if recover() != nil {
			o = Outline{}
		}
	}()
	root, err := xmltree.Parse(response, messageLimits)
	if err != nil || !root.Is(nsProtocol, "Response") {
		return Outline{}
	}
	attribute := func(e *xmltree.Element, name string) string {
		value, _ := e.Attribute(name)
		return printable(value, maxOutlineBytes)
	}
	o.Destination, o.InResponseTo = attribute(root, "Destination"), attribute(root, "InResponseTo")
	o.IssueInstant, _ = timeAttribute(root, "IssueInstant")
	for e := range root.All() {
		switch {
		case e.Is(nsAssertion, "EncryptedAssertion"):
			o.Encrypted = true
		case e.Is(xmldsig.Namespace, "Signature") && e.Parent == root:
			o.ResponseSigned = true
		case e.Is(xmldsig.Namespace, "Signature") && e.Parent.Is(nsAssertion, "Assertion"):
			o.AssertionSigned = true
		case e.Is(xmldsig.Namespace, "X509Certificate") && len(o.SigningCertificates) < maxOutlineValues:
			if raw, err := xmldsig.Base64Text(e); err == nil {
				if certificate, err := x509.ParseCertificate(raw); err == nil {
					o.SigningCertificates = append(o.SigningCertificates, certificate)
				}
			}
		case e.Is(nsAssertion, "Issuer"):
			note(&o.Issuers, e.DeepText())
		case e.Is(nsAssertion, "Audience"):
			note(&o.Audiences, e.DeepText())
		case e.Is(nsAssertion, "SubjectConfirmationData"):
			if recipient, ok := e.Attribute("Recipient"); ok {
				note(&o.Recipients, recipient)
			}
		}
	}
	return o
}

// note adds a value that is not there yet, up to a bound.
func note(values *[]string, value string) {
	value = printable(value, maxOutlineBytes)
	for _, known := range *values {
		if known == value {
			return
		}
	}
	if len(*values) < maxOutlineValues {
		*values = append(*values, value)
	}
}
