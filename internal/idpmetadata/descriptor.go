package idpmetadata

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"slices"
	"time"

	"github.com/crewjam/saml"
)

// Endpoint is a place where the IdP takes messages. Binding is
// [saml.HTTPRedirectBinding] or [saml.HTTPPostBinding]. ResponseLocation is
// where responses go if not to Location; it may be empty. [SAMLMeta 2.2.2]
type Endpoint struct {
	Binding          string
	Location         string
	ResponseLocation string
}

// DroppedCertificate is a signing certificate of the metadata that is of no
// use for checking signatures.
type DroppedCertificate struct {
	// Reason is a phrase such as "its RSA key has 1024 bits, at least 2048 are needed".
	Reason string
	// Subject is as [Subject] returns it, empty when unreadable.
	Subject string
	// FingerprintSHA256 is lower-case hex over the DER bytes, empty when
	// there are none.
	FingerprintSHA256 string
}

// Descriptor is what a service provider needs to know of one IdP.
type Descriptor struct {
	EntityID string
	// SSO and SLO are the single sign-on and single logout endpoints with the
	// Redirect or the POST binding, in document order.
	SSO, SLO []Endpoint
	// SigningCertificates are distinct and in document order. They may be
	// expired or not valid yet.
	SigningCertificates []*x509.Certificate
	// DroppedCertificates are neither marshalled nor part of the digest.
	DroppedCertificates     []DroppedCertificate
	NameIDFormats           []string
	WantAuthnRequestsSigned bool
	// ValidUntil is the earliest of those that apply to the entity, in UTC
	// and whole milliseconds; zero when the metadata does not expire.
	ValidUntil time.Time
	// CacheDuration is the shortest of those that apply to the entity, in
	// whole seconds; zero when there is no usable one.
	CacheDuration time.Duration
}

// Fingerprint returns the SHA-256 of the certificate's DER bytes in
// lower-case hex.
func Fingerprint(certificate *x509.Certificate) string { return fingerprint(certificate.Raw) }

func fingerprint(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// Digest identifies the meaning of the descriptor as "sha256:" and hex: the
// entity ID, endpoints, certificates whatever their order, name ID formats
// and the wish for signed requests. Documents that differ only in signature,
// validity, layout or parts that a service provider does not use have the
// same digest.
func (d *Descriptor) Digest() string {
	fingerprints := make([]string, len(d.SigningCertificates))
	for i, certificate := range d.SigningCertificates {
		fingerprints[i] = Fingerprint(certificate)
	}
	slices.Sort(fingerprints)

	// Strings, flags and slices of them always encode.
	meaning, _ := json.Marshal(struct {
		EntityID                string
		SSO, SLO                []Endpoint `json:",omitempty"`
		SigningCertificates     []string   `json:",omitempty"`
		NameIDFormats           []string   `json:",omitempty"`
		WantAuthnRequestsSigned bool
	}{d.EntityID, d.SSO, d.SLO, fingerprints, d.NameIDFormats, d.WantAuthnRequestsSigned})
	return "sha256:" + fingerprint(meaning)
}

// marshalled is crewjam's type of that name reduced to what is
// rendered: the original cannot leave validUntil out.
type marshalled struct {
	XMLName       xml.Name          `xml:"urn:oasis:names:tc:SAML:2.0:metadata EntityDescriptor"`
	EntityID      string            `xml:"entityID,attr"`
	ValidUntil    *saml.RelaxedTime `xml:"validUntil,attr,omitempty"`
	CacheDuration saml.Duration     `xml:"cacheDuration,attr,omitempty"`
	Role          saml.IDPSSODescriptor
}

// Marshal renders the descriptor as an EntityDescriptor document. Equal
// descriptors give equal bytes, and [Parse] reads back what was marshalled.
func (d *Descriptor) Marshal() ([]byte, error) {
	var role saml.IDPSSODescriptor
	role.ProtocolSupportEnumeration = protocolSAML2
	if d.WantAuthnRequestsSigned {
		role.WantAuthnRequestsSigned = &d.WantAuthnRequestsSigned
	}
	for _, certificate := range d.SigningCertificates {
		data := base64.StdEncoding.EncodeToString(certificate.Raw)
		role.KeyDescriptors = append(role.KeyDescriptors, saml.KeyDescriptor{
			Use:     "signing",
			KeyInfo: saml.KeyInfo{X509Data: saml.X509Data{X509Certificates: []saml.X509Certificate{{Data: data}}}},
		})
	}
	for _, format := range d.NameIDFormats {
		role.NameIDFormats = append(role.NameIDFormats, saml.NameIDFormat(format))
	}
	for _, e := range d.SLO {
		role.SingleLogoutServices = append(role.SingleLogoutServices, saml.Endpoint(e))
	}
	for _, e := range d.SSO {
		role.SingleSignOnServices = append(role.SingleSignOnServices, saml.Endpoint(e))
	}

	document := marshalled{
		EntityID:      d.EntityID,
		CacheDuration: saml.Duration(d.CacheDuration),
		Role:          role,
	}
	if !d.ValidUntil.IsZero() {
		document.ValidUntil = (*saml.RelaxedTime)(&d.ValidUntil)
	}
	body, err := xml.MarshalIndent(document, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("marshal metadata of %s: %w", quote(d.EntityID), err)
	}
	return slices.Concat([]byte(xml.Header), body, []byte("\n")), nil
}
