package render

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"slices"
	"strings"

	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/xmldsig"
	"cequence.cloud/saml-operator/internal/xmltree"
)

// The types below are the part of [SAMLMeta 2.4.4] that we publish, in the
// order that its schema wants. Prefixes are written out because some IdPs'
// importers read nothing else.
type (
	entityDescriptor struct {
		XMLName  xml.Name        `xml:"md:EntityDescriptor"`
		XMLNS    string          `xml:"xmlns:md,attr"`
		ID       string          `xml:"ID,attr,omitempty"`
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
		Attributes                 consumingService `xml:"md:AttributeConsumingService"`
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
	consumingService struct {
		Index     int                  `xml:"index,attr"`
		IsDefault bool                 `xml:"isDefault,attr"`
		Name      localizedName        `xml:"md:ServiceName"`
		Requested []requestedAttribute `xml:"md:RequestedAttribute"`
	}
	localizedName struct {
		Language string `xml:"xml:lang,attr"`
		Text     string `xml:",chardata"`
	}
	requestedAttribute struct {
		Name         string `xml:"Name,attr"`
		NameFormat   string `xml:"NameFormat,attr,omitempty"`
		FriendlyName string `xml:"FriendlyName,attr"`
		IsRequired   bool   `xml:"isRequired,attr"`
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

// requestedAttributes are all names that the tenant's mapping knows, with the
// properties of a user as friendly names. None may be missing: an IdP that goes
// by this list sends nothing else. Which it knows of them is for it to say, so
// only one that a sign-in fails without is required. [SAMLMeta 2.4.4.2]
func requestedAttributes(mapping tenantconfig.AttributeMapping) []requestedAttribute {
	const formatURI = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"
	var requested []requestedAttribute
	for _, property := range []struct {
		friendlyName string
		names        []string
		required     bool
	}{
		{"userID", mapping.UserID, mapping.UserIDRequired},
		{"userID", mapping.UserIDWithoutNameID, false},
		{"email", mapping.Email, false},
		{"givenName", mapping.GivenName, false},
		{"surname", mapping.Surname, false},
		{"displayName", mapping.DisplayName, false},
		{"groups", mapping.Groups, false},
	} {
		for _, name := range property.names {
			// One that serves two properties is listed once.
			if slices.ContainsFunc(requested, func(r requestedAttribute) bool { return r.Name == name }) {
				continue
			}
			r := requestedAttribute{Name: name, FriendlyName: property.friendlyName, IsRequired: property.required}
			if strings.Contains(name, ":") {
				r.NameFormat = formatURI
			}
			requested = append(requested, r)
		}
	}
	return requested
}

// spMetadata renders our own metadata for the IdP's administrator, signed by the
// signer unless that is nil. What the IdP sends as NameID is left to its own
// setting unless the tenant has asked for a format: to list what we can take
// would make IdPs choose another one, and so other users of the same people.
func spMetadata(config tenantconfig.Config, certificates []*x509.Certificate, signer crypto.Signer) ([]byte, error) {
	sp := config.ServiceProvider
	entity := entityDescriptor{
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
			Attributes: consumingService{
				Index: 0, IsDefault: true, Name: localizedName{"en", config.Host},
				Requested: requestedAttributes(config.AttributeMapping),
			},
		},
	}
	document, err := write(entity)
	if err != nil || signer == nil {
		return document, err
	}
	// The ID is made of the content, so that what has not changed is not written.
	digest := sha256.Sum256(document)
	entity.ID = "_" + hex.EncodeToString(digest[:])
	if document, err = write(entity); err != nil {
		return nil, err
	}
	root, err := xmltree.Parse(document, xmltree.Limits{Bytes: len(document), Elements: len(document), Parts: len(document)})
	if err != nil {
		return nil, err
	}
	signature, err := xmldsig.Enveloped(root, signer, certificates[0])
	if err != nil {
		return nil, err
	}
	// It comes first [SAMLMeta 2.3.2], without a space that would be signed.
	at := bytes.IndexByte(document[len(xml.Header):], '>') + len(xml.Header) + 1
	return slices.Insert(document, at, []byte(signature)...), nil
}

func write(entity entityDescriptor) ([]byte, error) {
	document, err := xml.MarshalIndent(entity, "", "  ")
	if err != nil {
		return nil, err
	}
	return append([]byte(xml.Header), append(document, '\n')...), nil
}
