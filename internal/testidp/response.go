package testidp

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
	"github.com/crewjam/saml/xmlenc"
	dsig "github.com/russellhaering/goxmldsig"
)

// Names of the attributes in an assertion.
const (
	ClaimGivenName   = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/givenname"
	ClaimSurname     = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/surname"
	ClaimEmail       = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"
	ClaimName        = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"
	ClaimTenantID    = "http://schemas.microsoft.com/identity/claims/tenantid"
	ClaimObjectID    = "http://schemas.microsoft.com/identity/claims/objectidentifier"
	ClaimDisplayName = "http://schemas.microsoft.com/identity/claims/displayname"
	ClaimIDP         = "http://schemas.microsoft.com/identity/claims/identityprovider"
	ClaimMethods     = "http://schemas.microsoft.com/claims/authnmethodsreferences"
	ClaimGroup       = "Group"
	ClaimGroupsLink  = "http://schemas.microsoft.com/claims/groups.link"
)

const (
	// GroupLimit is how many groups Entra ID puts into an assertion. A user
	// with more gets ClaimGroupsLink instead.
	GroupLimit = 150
	// Validity of an assertion from its NotBefore, which lies notBeforeSlack
	// before it is issued.
	Validity       = 70 * time.Minute
	notBeforeSlack = 5 * time.Minute
)

// Signing says which elements of a response are signed.
type Signing int

// What to sign. SignDefault is the assertion for an IDP, and what the IDP does
// for one response.
const (
	SignDefault Signing = iota
	SignAssertion
	SignResponse
	SignBoth
	SignNothing
)

// ResponseOptions say what to issue. The hooks are called in the order in
// which they stand here.
type ResponseOptions struct {
	// UserName is the name of a user of the IdP.
	UserName string
	// Audience is the entity ID of the service provider.
	Audience string
	// ACSURL becomes Destination and Recipient.
	ACSURL string
	// InResponseTo is the ID of the request, empty for an unsolicited response.
	InResponseTo string
	// NameIDFormat that the request asked for, or empty.
	NameIDFormat string
	// Status, if not nil, replaces success. Then there is no assertion.
	Status *saml.Status
	// Signing replaces the IdP's.
	Signing Signing
	// SignatureMethod is RSA-SHA256 if empty.
	SignatureMethod string
	// Key replaces the active one. It need not be published.
	Key *Key
	// OmitKeyInfo leaves the certificate out of signatures.
	OmitKeyInfo bool
	// EncryptionCertificate, if any, makes the assertion encrypted for its
	// owner, with AES-256-CBC and RSA-OAEP.
	EncryptionCertificate *x509.Certificate

	// AlterAssertion and AlterResponse change the content before it becomes
	// XML. The response does not contain the assertion yet.
	AlterAssertion func(*saml.Assertion)
	AlterResponse  func(*saml.Response)
	// AlterAssertionXML changes the assertion before it is signed.
	AlterAssertionXML func(assertion *etree.Element)
	// AlterSigned changes the whole response when all is signed.
	AlterSigned func(response *etree.Element)
}

// IssueResponse returns the XML of a response. The POST binding wants it in
// base64.
func (p *IDP) IssueResponse(o ResponseOptions) ([]byte, error) {
	o.Signing = cmp.Or(o.Signing, p.signing)
	if o.Key == nil {
		o.Key = p.signingKey()
	}
	now := p.now()
	response := saml.Response{
		ID:           randomID(),
		Version:      "2.0",
		IssueInstant: now,
		Destination:  o.ACSURL,
		InResponseTo: o.InResponseTo,
		Issuer:       &saml.Issuer{Value: p.entityID},
		Status:       saml.Status{StatusCode: saml.StatusCode{Value: saml.StatusSuccess}},
	}
	var assertion *etree.Element
	if o.Status != nil {
		response.Status = *o.Status
	} else {
		u, err := p.user(o.UserName)
		if err != nil {
			return nil, err
		}
		if assertion, err = p.assertionElement(u, o, now); err != nil {
			return nil, err
		}
	}
	if o.AlterResponse != nil {
		o.AlterResponse(&response)
	}
	root := response.Element()
	if assertion != nil {
		root.AddChild(assertion)
	}
	if o.Signing == SignResponse || o.Signing == SignBoth {
		if err := sign(root, o); err != nil {
			return nil, fmt.Errorf("sign the response: %w", err)
		}
	}
	if o.AlterSigned != nil {
		o.AlterSigned(root)
	}
	doc := etree.NewDocument()
	doc.SetRoot(root)
	xml, err := doc.WriteToBytes()
	if err != nil {
		return nil, fmt.Errorf("write the response: %w", err)
	}
	return xml, nil
}

// assertionElement returns the assertion as it goes into the response: signed
// and encrypted, where that is asked for.
func (p *IDP) assertionElement(u User, o ResponseOptions, now time.Time) (*etree.Element, error) {
	assertion := p.assertion(u, o, now)
	if o.AlterAssertion != nil {
		o.AlterAssertion(&assertion)
	}
	el := assertion.Element()
	dropValueTypes(el)
	if o.AlterAssertionXML != nil {
		o.AlterAssertionXML(el)
	}
	if o.Signing == SignAssertion || o.Signing == SignBoth {
		if err := sign(el, o); err != nil {
			return nil, fmt.Errorf("sign the assertion: %w", err)
		}
	}
	if o.EncryptionCertificate != nil {
		return encrypt(el, o.EncryptionCertificate)
	}
	return el, nil
}

func (p *IDP) assertion(u User, o ResponseOptions, now time.Time) saml.Assertion {
	notOnOrAfter := now.Add(Validity - notBeforeSlack)
	id := randomID()
	return saml.Assertion{
		ID:           id,
		Version:      "2.0",
		IssueInstant: now,
		Issuer:       saml.Issuer{Value: p.entityID},
		Subject: &saml.Subject{
			NameID: p.nameID(u, o),
			SubjectConfirmations: []saml.SubjectConfirmation{{
				Method: "urn:oasis:names:tc:SAML:2.0:cm:bearer",
				SubjectConfirmationData: &saml.SubjectConfirmationData{
					InResponseTo: o.InResponseTo,
					NotOnOrAfter: notOnOrAfter,
					Recipient:    o.ACSURL,
				},
			}},
		},
		Conditions: &saml.Conditions{
			NotBefore:            now.Add(-notBeforeSlack),
			NotOnOrAfter:         notOnOrAfter,
			AudienceRestrictions: []saml.AudienceRestriction{{Audience: saml.Audience{Value: o.Audience}}},
		},
		AttributeStatements: []saml.AttributeStatement{{Attributes: p.attributes(u)}},
		AuthnStatements: []saml.AuthnStatement{{
			AuthnInstant: now,
			SessionIndex: id,
			AuthnContext: saml.AuthnContext{AuthnContextClassRef: &saml.AuthnContextClassRef{Value: acPassword}},
		}},
	}
}

// nameID: a persistent one is pairwise, a transient one is new each time.
func (p *IDP) nameID(u User, o ResponseOptions) *saml.NameID {
	format := cmp.Or(o.NameIDFormat, p.nameIDFormat)
	value := u.nameID()
	switch format {
	case nameIDPersistent:
		h := sha256.Sum256([]byte(u.objectID() + " " + o.Audience))
		value = hex.EncodeToString(h[:])
	case nameIDTransient:
		value = randomID()
	}
	return &saml.NameID{Format: format, Value: value}
}

func (p *IDP) attributes(u User) []saml.Attribute {
	var attributes []saml.Attribute
	add := func(name string, values ...string) {
		if _, replaced := u.Attributes[name]; !replaced {
			attributes = append(attributes, attribute(name, values))
		}
	}
	add(ClaimTenantID, p.tenantID)
	add(ClaimObjectID, u.objectID())
	for _, claim := range []struct{ name, value string }{
		{ClaimDisplayName, u.DisplayName},
		{ClaimIDP, p.entityID},
		{ClaimMethods, "http://schemas.microsoft.com/ws/2008/06/identity/authenticationmethod/password"},
		{ClaimGivenName, u.GivenName},
		{ClaimSurname, u.Surname},
		{ClaimEmail, u.Email},
		{ClaimName, u.Name},
	} {
		if claim.value != "" {
			add(claim.name, claim.value)
		}
	}
	switch n := len(u.Groups); {
	case n > GroupLimit:
		add(ClaimGroupsLink, "https://graph.windows.net/"+p.tenantID+"/users/"+u.objectID()+"/getMemberObjects")
	case n > 0:
		add(ClaimGroup, u.Groups...)
	}
	for _, name := range slices.Sorted(maps.Keys(u.Attributes)) {
		if values := u.Attributes[name]; len(values) > 0 {
			attributes = append(attributes, attribute(name, values))
		}
	}
	return attributes
}

func attribute(name string, values []string) saml.Attribute {
	a := saml.Attribute{Name: name}
	for _, value := range values {
		a.Values = append(a.Values, saml.AttributeValue{Value: value})
	}
	return a
}

// dropValueTypes: values of Entra ID have no xsi:type, and the library writes
// an empty one.
func dropValueTypes(assertion *etree.Element) {
	for _, value := range assertion.FindElements(".//AttributeValue") {
		if value.SelectAttrValue("type", "") == "" {
			value.Attr = nil
		}
	}
}

// sign puts an enveloped signature behind the Issuer [SAMLCore 5.4].
func sign(el *etree.Element, o ResponseOptions) error {
	ctx, err := dsig.NewSigningContext(o.Key.Signer, [][]byte{o.Key.Certificate.Raw})
	if err != nil {
		return err
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	if err := ctx.SetSignatureMethod(cmp.Or(o.SignatureMethod, algRSASHA256)); err != nil {
		return err
	}
	signature, err := ctx.ConstructSignature(el, true)
	if err != nil {
		return err
	}
	if o.OmitKeyInfo {
		signature.RemoveChild(signature.SelectElement("KeyInfo"))
	}
	issuer := el.SelectElement("Issuer")
	if issuer == nil {
		return errors.New("no Issuer to put the signature behind")
	}
	el.InsertChildAt(issuer.Index()+1, signature)
	return nil
}

func encrypt(assertion *etree.Element, certificate *x509.Certificate) (*etree.Element, error) {
	doc := etree.NewDocument()
	doc.SetRoot(assertion)
	plaintext, err := doc.WriteToBytes()
	if err != nil {
		return nil, fmt.Errorf("write the assertion: %w", err)
	}
	oaep := xmlenc.OAEP()
	oaep.BlockCipher = xmlenc.AES256CBC
	oaep.DigestMethod = &xmlenc.SHA1
	data, err := oaep.Encrypt(certificate, plaintext, nil)
	if err != nil {
		return nil, fmt.Errorf("encrypt the assertion: %w", err)
	}
	data.CreateAttr("Type", "http://www.w3.org/2001/04/xmlenc#Element")
	el := etree.NewElement("saml:EncryptedAssertion")
	el.AddChild(data)
	return el, nil
}
