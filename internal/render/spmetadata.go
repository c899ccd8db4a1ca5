package render

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"slices"

	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// The types below are the part of [SAMLMeta 2.4.4] that we publish, in the
// order that its schema wants. Prefixes are written out because some IdPs'
// importers read nothing else.
type (
	entityDescriptor struct {
		XMLName  xml.Name        `xml:"md:EntityDescriptor"`
		XMLNS    string          `xml:"xmlns:md,attr"`
		EntityID string          `xml:"entityID,attr"`
		Role     spSSODescriptor `xml:"md:SPSSODescriptor"`
	}
	spSSODescriptor struct {
		AuthnRequestsSigned        bool             `xml:"AuthnRequestsSigned,attr"`
		WantAssertionsSigned       bool             `xml:"WantAssertionsSigned,attr"`
		ProtocolSupportEnumeration string           `xml:"protocolSupportEnumeration,attr"`
		KeyDescriptors             []keyDescriptor  `xml:"md:KeyDescriptor"`
		SLO                        []logoutEndpoint `xml:"md:SingleLogoutService"`
		NameIDFormat               string           `xml:"md:NameIDFormat,omitempty"`
		ACS                        consumerEndpoint `xml:"md:AssertionConsumerService"`
	}
	keyDescriptor struct {
		Use               string             `xml:"use,attr"`
		KeyInfo           keyInfo            `xml:"ds:KeyInfo"`
		EncryptionMethods []encryptionMethod `xml:"md:EncryptionMethod"`
	}
	keyInfo struct {
		XMLNS       string `xml:"xmlns:ds,attr"`
		Certificate string `xml:"ds:X509Data>ds:X509Certificate"`
	}
	encryptionMethod struct {
		Algorithm string `xml:"Algorithm,attr"`
	}
	logoutEndpoint struct {
		Binding  string `xml:"Binding,attr"`
		Location string `xml:"Location,attr"`
	}
	consumerEndpoint struct {
		Binding   string `xml:"Binding,attr"`
		Location  string `xml:"Location,attr"`
		Index     int    `xml:"index,attr"`
		IsDefault bool   `xml:"isDefault,attr"`
	}
)

// encryptionMethods are what the gateway decrypts, best first. RSA 1.5 and
// 3DES are missing on purpose. [XMLEnc11 5.2, 5.5]
var encryptionMethods = []encryptionMethod{
	{"http://www.w3.org/2009/xmlenc11#aes256-gcm"},
	{"http://www.w3.org/2009/xmlenc11#aes128-gcm"},
	{"http://www.w3.org/2001/04/xmlenc#aes256-cbc"},
	{"http://www.w3.org/2001/04/xmlenc#aes128-cbc"},
	{"http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"},
}

// keyDescriptors publish the pair in use and, while there is one, its
// successor. An IdP that takes only the first certificate for encryption takes
// the one that stays.
func keyDescriptors(certificates []*x509.Certificate) []keyDescriptor {
	var signing, encryption []keyDescriptor
	for _, c := range certificates {
		info := keyInfo{XMLNS: "http://www.w3.org/2000/09/xmldsig#", Certificate: base64.StdEncoding.EncodeToString(c.Raw)}
		signing = append(signing, keyDescriptor{Use: "signing", KeyInfo: info})
		encryption = append(encryption, keyDescriptor{Use: "encryption", KeyInfo: info, EncryptionMethods: encryptionMethods})
	}
	slices.Reverse(encryption)
	return append(signing, encryption...)
}

// spMetadata renders our own metadata for the IdP's administrator.
func spMetadata(config tenantconfig.Config, certificates []*x509.Certificate) ([]byte, error) {
	sp := config.ServiceProvider
	document, err := xml.MarshalIndent(entityDescriptor{
		XMLNS:    "urn:oasis:names:tc:SAML:2.0:metadata",
		EntityID: sp.EntityID,
		Role: spSSODescriptor{
			AuthnRequestsSigned:        sp.SignAuthnRequests,
			WantAssertionsSigned:       true,
			ProtocolSupportEnumeration: "urn:oasis:names:tc:SAML:2.0:protocol",
			KeyDescriptors:             keyDescriptors(certificates),
			SLO: []logoutEndpoint{
				{tenantconfig.BindingRedirect, sp.SLOURL}, {tenantconfig.BindingPOST, sp.SLOURL},
			},
			NameIDFormat: sp.NameIDFormat,
			ACS: consumerEndpoint{
				Binding: tenantconfig.BindingPOST, Location: sp.ACSURL, Index: 0, IsDefault: true,
			},
		},
	}, "", "  ")
	if err != nil {
		return nil, err
	}
	return append([]byte(xml.Header), append(document, '\n')...), nil
}
