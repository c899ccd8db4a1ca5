package sp_test

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // registers SHA-1, for attacks and for OAEP
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/xmltree"
)

const (
	entityID = "https://acme.s.example.test:443/saml/metadata"
	acsURL   = "https://acme.s.example.test/saml/acs"
	idpID    = "https://idp.example.test/"
	request  = "id-5f1d0f3a"

	excC14N   = "http://www.w3.org/2001/10/xml-exc-c14n#"
	enveloped = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
	sha256URI = "http://www.w3.org/2001/04/xmlenc#sha256"
	moreURI   = "http://www.w3.org/2001/04/xmldsig-more#"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// good is an unsigned Response that is right in every other way. Tests change
// it by edits, and then sign it.
const good = `<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_response" Version="2.0" IssueInstant="2026-11-24T12:00:00.123Z" Destination="https://acme.s.example.test/saml/acs" InResponseTo="id-5f1d0f3a">` +
	`<Issuer xmlns="urn:oasis:names:tc:SAML:2.0:assertion">https://idp.example.test/</Issuer>` +
	`<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>` +
	goodAssertion + `</samlp:Response>`

const goodAssertion = `<Assertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion" ID="_assertion" IssueInstant="2026-11-24T12:00:00.123Z" Version="2.0">` +
	`<Issuer>https://idp.example.test/</Issuer>` +
	`<Subject><NameID Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress">alice@acme.example</NameID>` +
	`<SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">` +
	`<SubjectConfirmationData InResponseTo="id-5f1d0f3a" NotOnOrAfter="2026-11-24T13:00:00Z" Recipient="https://acme.s.example.test/saml/acs"/>` +
	`</SubjectConfirmation></Subject>` +
	`<Conditions NotBefore="2026-11-24T11:55:00Z" NotOnOrAfter="2026-11-24T13:05:00Z">` +
	`<AudienceRestriction><Audience>https://acme.s.example.test:443/saml/metadata</Audience></AudienceRestriction></Conditions>` +
	`<AttributeStatement><Attribute Name="http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"><AttributeValue>alice@acme.example</AttributeValue></Attribute>` +
	`<Attribute Name="Group" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic" FriendlyName="groups"><AttributeValue>staff</AttributeValue><AttributeValue>on-call</AttributeValue></Attribute></AttributeStatement>` +
	`<AuthnStatement AuthnInstant="2026-11-24T11:59:58Z" SessionIndex="_session" SessionNotOnOrAfter="2026-11-24T20:00:00Z">` +
	`<AuthnContext><AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</AuthnContextClassRef></AuthnContext></AuthnStatement>` +
	`</Assertion>`

// edit replaces what must be there.
func edit(t testing.TB, document string, oldNew ...string) string {
	t.Helper()
	for i := 0; i < len(oldNew); i += 2 {
		require.Contains(t, document, oldNew[i])
		document = strings.ReplaceAll(document, oldNew[i], oldNew[i+1])
	}
	return document
}

// idp is an identity provider's key with its certificate.
type idp struct {
	key         crypto.Signer
	certificate *x509.Certificate
}

func newIDP(t testing.TB, key crypto.Signer, notBefore, notAfter time.Time) idp {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "IdP"}, NotBefore: notBefore, NotAfter: notAfter}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(raw)
	require.NoError(t, err)
	return idp{key, certificate}
}

func rsaKey(bits int) func() *rsa.PrivateKey {
	return sync.OnceValue(func() *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		return key
	})
}

// RSA keys are slow to make, so tests share them.
var (
	idpKey      = rsaKey(2048)
	idpKey2     = rsaKey(2048)
	attackerKey = rsaKey(2048)
	spKey       = rsaKey(2048)
	spKey2      = rsaKey(2048)
	weakKey     = rsaKey(1024)
)

func validIDP(t testing.TB, key crypto.Signer) idp {
	return newIDP(t, key, now.AddDate(-1, 0, 0), now.AddDate(2, 0, 0))
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return key
}

func expectations(idps ...idp) sp.Expectations {
	want := sp.Expectations{
		EntityID: entityID, ACSURL: acsURL, IDPEntityID: idpID,
		RequestIDs: []string{"id-other-tab", request},
		Now:        now.Add(2 * time.Second), ClockSkew: sp.DefaultClockSkew,
	}
	for _, i := range idps {
		want.SigningCertificates = append(want.SigningCertificates, i.certificate)
	}
	return want
}

// signing says how to sign; the zero value is what most IdPs do.
type signing struct {
	algorithm string // rsa-sha256
	digest    string
	transform string // replaces the Transforms element
	method    string // replaces the CanonicalizationMethod element
	prefixes  string // PrefixList of the transform
	reference string // appended to SignedInfo
	uri       *string
	keyInfo   *string
	der       bool // EC signature in DER
	edit      func(signature string) string
}

// treeLimits are wide enough for what is to be refused.
var treeLimits = xmltree.Limits{Bytes: 16 << 20, Elements: 1 << 20, Parts: 1 << 20}

var hashes = map[string]crypto.Hash{"1": crypto.SHA1, "224": crypto.SHA224, "256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}

// sign inserts an enveloped signature of the element with that ID after its
// first child, the Issuer.
func (i idp) sign(t testing.TB, document, id string, s signing) string {
	t.Helper()
	root, err := xmltree.Parse([]byte(document), treeLimits)
	require.NoError(t, err)
	var signed *xmltree.Element
	for e := range root.All() {
		if value, _ := e.Attribute("ID"); value == id {
			signed = e
		}
	}
	require.NotNil(t, signed)

	if s.algorithm == "" {
		s.algorithm = moreURI + "rsa-sha256"
	}
	if s.digest == "" {
		s.digest = sha256URI
	}
	uri := "#" + id
	if s.uri != nil {
		uri = *s.uri
	}
	if s.method == "" {
		s.method = `<ds:CanonicalizationMethod Algorithm="` + excC14N + `"></ds:CanonicalizationMethod>`
	}
	if s.transform == "" {
		s.transform = `<ds:Transforms><ds:Transform Algorithm="` + enveloped + `"></ds:Transform><ds:Transform Algorithm="` + excC14N + `">`
		if s.prefixes != "" {
			s.transform += `<ec:InclusiveNamespaces xmlns:ec="` + excC14N + `" PrefixList="` + s.prefixes + `"></ec:InclusiveNamespaces>`
		}
		s.transform += `</ds:Transform></ds:Transforms>`
	}
	digest := hashOf(s.digest).New()
	digest.Write(signed.Canonicalize(nil, nil, strings.Fields(s.prefixes)))
	signedInfo := `<ds:SignedInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">` + s.method +
		`<ds:SignatureMethod Algorithm="` + s.algorithm + `"></ds:SignatureMethod>` +
		`<ds:Reference URI="` + uri + `">` + s.transform +
		`<ds:DigestMethod Algorithm="` + s.digest + `"></ds:DigestMethod>` +
		`<ds:DigestValue>` + base64.StdEncoding.EncodeToString(digest.Sum(nil)) + `</ds:DigestValue></ds:Reference>` +
		s.reference + `</ds:SignedInfo>`
	info, err := xmltree.Parse([]byte(signedInfo), treeLimits)
	require.NoError(t, err)

	hash := hashOf(s.algorithm)
	h := hash.New()
	h.Write(info.Canonicalize(nil, nil, nil))
	value, err := i.key.Sign(rand.Reader, h.Sum(nil), hash)
	require.NoError(t, err)
	if public, ok := i.key.Public().(*ecdsa.PublicKey); ok && !s.der {
		var parts struct{ R, S *big.Int }
		_, err := asn1.Unmarshal(value, &parts)
		require.NoError(t, err)
		size := (public.Params().BitSize + 7) / 8
		value = append(parts.R.FillBytes(make([]byte, size)), parts.S.FillBytes(make([]byte, size))...)
	}
	keyInfo := `<ds:KeyInfo><ds:X509Data><ds:X509Certificate>` + base64.StdEncoding.EncodeToString(i.certificate.Raw) + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo>`
	if s.keyInfo != nil {
		keyInfo = *s.keyInfo
	}
	signature := `<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">` + signedInfo +
		`<ds:SignatureValue>` + base64.StdEncoding.EncodeToString(value) + `</ds:SignatureValue>` + keyInfo + `</ds:Signature>`
	if s.edit != nil {
		signature = s.edit(signature)
	}
	at := strings.Index(document, `ID="`+id+`"`)
	at += strings.Index(document[at:], "</Issuer>") + len("</Issuer>")
	return document[:at] + signature + document[at:]
}

func (i idp) signAssertion(t testing.TB, document string) string {
	t.Helper()
	return i.sign(t, document, "_assertion", signing{})
}

func (i idp) signResponse(t testing.TB, document string) string {
	t.Helper()
	return i.sign(t, document, "_response", signing{})
}

func hashOf(algorithm string) crypto.Hash {
	for suffix, hash := range hashes {
		if strings.HasSuffix(algorithm, "sha"+suffix) {
			return hash
		}
	}
	return crypto.SHA256
}

// assertionOf cuts the assertion out of a Response.
func assertionOf(document string) string {
	return document[strings.Index(document, "<Assertion"):strings.LastIndex(document, "</samlp:Response>")]
}

// encryption says how to encrypt; the zero value is what Entra ID does.
type encryption struct {
	cipher  string // aes256-cbc
	oaep    string // rsa-oaep-mgf1p
	digest  string // DigestMethod of OAEP
	mask    string // MGF of OAEP
	label   string // OAEPparams
	key     *rsa.PublicKey
	sibling bool // EncryptedKey beside EncryptedData, with a RetrievalMethod
	fixed   bool // the same content key and IV each time
	tamper  func(ciphertext []byte) []byte
}

// encrypt replaces the assertion of a Response by its encrypted form.
func encrypt(t testing.TB, document string, e encryption) string {
	t.Helper()
	assertion := assertionOf(document)
	return edit(t, document, assertion, encrypted(t, assertion, e))
}

func encrypted(t testing.TB, plaintext string, e encryption) string {
	t.Helper()
	if e.cipher == "" {
		e.cipher = "http://www.w3.org/2001/04/xmlenc#aes256-cbc"
	}
	if e.oaep == "" {
		e.oaep = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"
	}
	if e.key == nil {
		e.key = &spKey().PublicKey
	}
	size := map[bool]int{strings.Contains(e.cipher, "128"): 16, strings.Contains(e.cipher, "192"): 24, strings.Contains(e.cipher, "256"): 32}[true]
	random := rand.Reader
	if e.fixed {
		random = bytes.NewReader(make([]byte, 64))
	}
	key := make([]byte, size)
	_, _ = io.ReadFull(random, key)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)

	var ciphertext []byte
	if strings.HasSuffix(e.cipher, "gcm") {
		gcm, err := cipher.NewGCM(block)
		require.NoError(t, err)
		nonce := make([]byte, gcm.NonceSize())
		_, _ = io.ReadFull(random, nonce)
		ciphertext = gcm.Seal(nonce, nonce, []byte(plaintext), nil)
	} else {
		padding := aes.BlockSize - len(plaintext)%aes.BlockSize
		padded := append([]byte(plaintext), make([]byte, padding)...)
		padded[len(padded)-1] = byte(padding) // the others are arbitrary
		ciphertext = make([]byte, aes.BlockSize+len(padded))
		_, _ = io.ReadFull(random, ciphertext[:aes.BlockSize])
		cipher.NewCBCEncrypter(block, ciphertext[:aes.BlockSize]).CryptBlocks(ciphertext[aes.BlockSize:], padded)
	}
	if e.tamper != nil {
		ciphertext = e.tamper(ciphertext)
	}

	options := &rsa.OAEPOptions{Hash: crypto.SHA1, MGFHash: crypto.SHA1, Label: []byte(e.label)}
	parameters := ""
	if e.label != "" {
		parameters += `<xenc:OAEPparams>` + base64.StdEncoding.EncodeToString([]byte(e.label)) + `</xenc:OAEPparams>`
	}
	if e.digest != "" {
		options.Hash = hashOf(e.digest)
		parameters += `<ds:DigestMethod xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Algorithm="` + e.digest + `"/>`
	}
	if e.mask != "" {
		options.MGFHash = hashOf(e.mask)
		parameters += `<xenc11:MGF xmlns:xenc11="http://www.w3.org/2009/xmlenc11#" Algorithm="` + e.mask + `"/>`
	}
	var wrapped []byte
	if strings.HasSuffix(e.oaep, "rsa-1_5") {
		wrapped, err = rsa.EncryptPKCS1v15(rand.Reader, e.key, key) //nolint:staticcheck // the attack
	} else {
		wrapped, err = rsa.EncryptOAEPWithOptions(rand.Reader, e.key, key, options)
	}
	require.NoError(t, err)

	encryptedKey := `<xenc:EncryptedKey xmlns:xenc="http://www.w3.org/2001/04/xmlenc#" Id="_ek"><xenc:EncryptionMethod Algorithm="` + e.oaep + `">` + parameters + `</xenc:EncryptionMethod>` +
		`<xenc:CipherData><xenc:CipherValue>` + base64.StdEncoding.EncodeToString(wrapped) + `</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey>`
	inside, beside := encryptedKey, ""
	if e.sibling {
		inside, beside = `<ds:RetrievalMethod Type="http://www.w3.org/2001/04/xmlenc#EncryptedKey" URI="#_ek"/>`, encryptedKey
	}
	return fmt.Sprintf(`<EncryptedAssertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion"><xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#" Type="http://www.w3.org/2001/04/xmlenc#Element">`+
		`<xenc:EncryptionMethod Algorithm="%s"/><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">%s</ds:KeyInfo>`+
		`<xenc:CipherData><xenc:CipherValue>%s</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>%s</EncryptedAssertion>`,
		e.cipher, inside, base64.StdEncoding.EncodeToString(ciphertext), beside)
}
