package sp_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/sp"
)

// The tests are named after the rows of the attack list that they prove:
// A for signatures and XML, B for what an assertion says.

// signatureOf returns the first Signature of a document.
func signatureOf(document string) string {
	end := strings.Index(document, "</ds:Signature>") + len("</ds:Signature>")
	return document[strings.Index(document, "<ds:Signature "):end]
}

// wrappings are the eight variants of signature wrapping, for a signed
// assertion and for a signed Response, by Somorovsky and others (2012).
func wrappings(t *testing.T, signed string) map[string]string {
	assertion := assertionOf(signed)
	signature := signatureOf(signed)
	bare := strings.ReplaceAll(assertion, signature, "")
	evil := edit(t, bare, "alice@", "evil@", "_assertion", "_evil")
	wrap := func(body string) string { return strings.Replace(signed, assertion, body, 1) }
	inside := func(outer, inner string) string {
		return strings.Replace(outer, "</ds:KeyInfo></ds:Signature>", "</ds:KeyInfo><ds:Object>"+inner+"</ds:Object></ds:Signature>", 1)
	}
	withSignature := strings.Replace(evil, "</Issuer>", "</Issuer>"+signature, 1)
	evilResponse := edit(t, strings.ReplaceAll(signed, signature, ""), "alice@", "evil@", `ID="_response"`, `ID="_evil2"`, `ID="_assertion"`, `ID="_evil"`)
	header := "</Issuer><samlp:Status>"
	return map[string]string{
		"XSW1": strings.Replace(evilResponse, header, "</Issuer>"+inside(signature, strings.ReplaceAll(signed, signature, ""))+"<samlp:Status>", 1),
		"XSW2": strings.Replace(evilResponse, header, "</Issuer>"+strings.ReplaceAll(signed, signature, "")+signature+"<samlp:Status>", 1),
		"XSW3": wrap(evil + assertion),
		"XSW4": wrap(strings.Replace(evil, "</Assertion>", assertion+"</Assertion>", 1)),
		"XSW5": wrap(withSignature + bare),
		"XSW6": wrap(inside(withSignature, bare)),
		"XSW7": strings.Replace(signed, "<samlp:Status>", "<samlp:Extensions>"+evil+"</samlp:Extensions><samlp:Status>", 1),
		"XSW8": wrap(strings.Replace(evil, "</Issuer>", "</Issuer>"+inside(signature, bare), 1)),
	}
}

func TestA1_SignatureWrapping(t *testing.T) {
	i, others := validIDP(t, idpKey()), []idp{validIDP(t, idpKey2()), validIDP(t, ecKey(t, elliptic.P256()))}
	signed := map[string]string{
		"assertion": i.signAssertion(t, good),
		"response":  i.signResponse(t, good),
		"both":      i.signResponse(t, i.signAssertion(t, good)),
	}
	for what, document := range signed {
		for name, attack := range wrappings(t, document) {
			for _, idps := range [][]idp{{i}, {others[0], i, others[1]}} {
				t.Run(fmt.Sprintf("%s/%s/%d", name, what, len(idps)), func(t *testing.T) {
					require.Contains(t, attack, "evil@")
					got, err := sp.Verify([]byte(attack), expectations(idps...))
					require.Nil(t, got)
					assert.Contains(t, []sp.Code{sp.CodeAssertionCount, sp.CodeXMLForbidden, sp.CodeStructureInvalid}, sp.CodeOf(err), "%v", err)
				})
			}
		}
	}
}

func TestA2_SeveralAssertions(t *testing.T) {
	i := validIDP(t, idpKey())
	unsigned := edit(t, goodAssertion, "_assertion", "_second", "alice@", "evil@")
	second := assertionOf(i.sign(t, edit(t, good, "_assertion", "_second"), "_second", signing{}))
	signed := i.signAssertion(t, good)
	first := assertionOf(signed)
	tests := map[string]string{
		"unsigned, signed":     edit(t, signed, first, unsigned+first),
		"signed, unsigned":     edit(t, signed, first, first+unsigned),
		"signed, signed":       edit(t, signed, first, first+second),
		"in Extensions":        edit(t, signed, `<samlp:Status>`, `<samlp:Extensions>`+unsigned+`</samlp:Extensions><samlp:Status>`),
		"in Status":            edit(t, signed, `</samlp:Status>`, `<samlp:StatusDetail>`+unsigned+`</samlp:StatusDetail></samlp:Status>`),
		"in Advice":            i.signAssertion(t, edit(t, good, `<AttributeStatement>`, `<Advice>`+unsigned+`</Advice><AttributeStatement>`)),
		"in a value":           i.signAssertion(t, edit(t, good, `<AttributeValue>staff`, `<AttributeValue>`+unsigned)),
		"only in Extensions":   edit(t, signed, first, "", `<samlp:Status>`, `<samlp:Extensions>`+first+`</samlp:Extensions><samlp:Status>`),
		"encrypted beside it":  edit(t, signed, first, first+encrypted(t, unsigned, encryption{})),
		"encrypted in Advice":  i.signAssertion(t, edit(t, good, `<AttributeStatement>`, `<Advice>`+encrypted(t, unsigned, encryption{})+`</Advice><AttributeStatement>`)),
		"none":                 i.signResponse(t, edit(t, good, goodAssertion, "")),
		"two, Response signed": i.signResponse(t, edit(t, good, goodAssertion, goodAssertion+unsigned)),
	}
	for name, document := range tests {
		t.Run(name, func(t *testing.T) {
			refused(t, document, expectations(i), sp.CodeAssertionCount)
		})
	}

	// The same, hidden by encryption.
	want := expectations(i)
	want.DecryptionKeys = []*rsa.PrivateKey{spKey()}
	nested := i.signAssertion(t, edit(t, good, `<AttributeStatement>`, `<Advice>`+unsigned+`</Advice><AttributeStatement>`))
	refused(t, encrypt(t, nested, encryption{}), want, sp.CodeDecryptionFailed)
}

func TestA3_SignatureExclusion(t *testing.T) {
	i := validIDP(t, idpKey())
	signed := i.signAssertion(t, good)
	signature := signatureOf(signed)
	both := i.signResponse(t, signed)

	refused(t, good, expectations(i), sp.CodeSignatureMissing)
	refused(t, edit(t, signed, signature, ""), expectations(i), sp.CodeSignatureMissing)
	refused(t, edit(t, signed, signature, `<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/>`), expectations(i), sp.CodeSignatureStructure)
	refused(t, edit(t, signed, signature, `<Signature/>`), expectations(i), sp.CodeSignatureMissing)
	refused(t, edit(t, signed, signature, signature+signature), expectations(i), sp.CodeSignatureStructure)
	refused(t, edit(t, both, signature, ""), expectations(i), sp.CodeSignatureInvalid)
	// Signatures of parts of the message.
	refused(t, edit(t, signed, signature, "", `<Subject>`, `<Subject>`+signature), expectations(i), sp.CodeSignatureStructure)
	refused(t, edit(t, signed, signature, "", `<samlp:StatusCode`, signature+`<samlp:StatusCode`), expectations(i), sp.CodeSignatureStructure)
	// The assertion's signature as that of the Response, and the other way.
	refused(t, edit(t, signed, signature, "", `</Issuer><samlp:Status>`, `</Issuer>`+signature+`<samlp:Status>`), expectations(i), sp.CodeSignatureStructure)

	// No trusted certificate is no trust.
	refused(t, signed, expectations(), sp.CodeNoTrustedCertificate)
	refused(t, good, expectations(), sp.CodeNoTrustedCertificate)

	// SignatureValue is checked, not only the digest.
	value := signed[strings.Index(signed, "<ds:SignatureValue>")+len("<ds:SignatureValue>") : strings.Index(signed, "</ds:SignatureValue>")]
	refused(t, edit(t, signed, value, base64.StdEncoding.EncodeToString(make([]byte, 256))), expectations(i), sp.CodeSignatureInvalid)
}

func TestA4_KeyInfoIsNoSourceOfTrust(t *testing.T) {
	i, attacker := validIDP(t, idpKey()), validIDP(t, attackerKey())
	modulus := base64.StdEncoding.EncodeToString(attackerKey().N.Bytes())
	tests := map[string]struct {
		keyInfo string
		code    sp.Code
	}{
		"the attacker's certificate": {`<ds:X509Data><ds:X509Certificate>` + base64.StdEncoding.EncodeToString(attacker.certificate.Raw) + `</ds:X509Certificate></ds:X509Data>`, sp.CodeUnknownSigningKey},
		"the real certificate":       {`<ds:X509Data><ds:X509Certificate>` + base64.StdEncoding.EncodeToString(i.certificate.Raw) + `</ds:X509Certificate></ds:X509Data>`, sp.CodeSignatureInvalid},
		"both": {`<ds:X509Data><ds:X509Certificate>` + base64.StdEncoding.EncodeToString(attacker.certificate.Raw) + `</ds:X509Certificate><ds:X509Certificate>` +
			base64.StdEncoding.EncodeToString(i.certificate.Raw) + `</ds:X509Certificate></ds:X509Data>`, sp.CodeSignatureInvalid},
		"the attacker's key": {`<ds:KeyValue><ds:RSAKeyValue><ds:Modulus>` + modulus + `</ds:Modulus><ds:Exponent>AQAB</ds:Exponent></ds:RSAKeyValue></ds:KeyValue>`, sp.CodeUnknownSigningKey},
		"a key identifier":   {`<ds:X509Data><ds:X509SKI>AAAA</ds:X509SKI></ds:X509Data>`, sp.CodeUnknownSigningKey},
		"no certificate":     {`<ds:X509Data><ds:X509Certificate>!</ds:X509Certificate></ds:X509Data>`, sp.CodeUnknownSigningKey},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			keyInfo := `<ds:KeyInfo>` + test.keyInfo + `</ds:KeyInfo>`
			refused(t, attacker.sign(t, good, "_assertion", signing{keyInfo: &keyInfo}), expectations(i), test.code)
			_, err := sp.Verify([]byte(i.sign(t, good, "_assertion", signing{keyInfo: &keyInfo})), expectations(i))
			assert.NoError(t, err, "KeyInfo does not matter for a good signature either")
		})
	}
}

func TestA5_ParserDifferentials(t *testing.T) {
	i := validIDP(t, idpKey())
	signed := i.signAssertion(t, good)
	tests := map[string]struct {
		document string
		code     sp.Code
	}{
		"other namespace of the assertion":  {edit(t, signed, `<Assertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion"`, `<Assertion xmlns="urn:evil"`), sp.CodeStructureInvalid},
		"namespace redefined inside":        {edit(t, signed, `<NameID `, `<NameID xmlns="urn:evil" `), sp.CodeSignatureInvalid},
		"twin NameID in another namespace":  {i.signAssertion(t, edit(t, good, `<NameID `, `<NameID xmlns="urn:evil">evil@acme.example</NameID><NameID `)), sp.CodeStructureInvalid},
		"prefixed twin of an attribute":     {i.signAssertion(t, edit(t, good, ` Recipient="`, ` xmlns:e="urn:evil" e:Recipient="`)), sp.CodeRecipientMismatch},
		"prefixed twin of the ID":           {edit(t, signed, `ID="_assertion"`, `xmlns:e="urn:evil" ID="_evil" e:ID="_assertion"`), sp.CodeSignatureStructure},
		"Id for ID":                         {edit(t, signed, `ID="_assertion"`, `ID="_evil" Id="_assertion"`), sp.CodeSignatureStructure},
		"xml:id for ID":                     {edit(t, signed, `ID="_assertion"`, `ID="_evil" xml:id="_assertion"`), sp.CodeSignatureStructure},
		"ID twice":                          {edit(t, signed, `ID="_assertion"`, `ID="_assertion" ID="_evil"`), sp.CodeXMLMalformed},
		"ID twice in the document":          {edit(t, signed, `ID="_response"`, `ID="_assertion"`), sp.CodeXMLForbidden},
		"relative namespace URI":            {edit(t, signed, `<samlp:Status>`, `<samlp:Status xmlns:e="1">`), sp.CodeXMLForbidden},
		"prefix of the Response redefined":  {edit(t, signed, `<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"`, `<samlp:Response xmlns:samlp="urn:evil"`), sp.CodeStructureInvalid},
		"entity in a signed value":          {edit(t, signed, `>alice@`, `>&evil;alice@`), sp.CodeXMLMalformed},
		"character reference added":         {edit(t, signed, `>alice@`, `>alice&#64;x@`), sp.CodeSignatureInvalid},
		"text added":                        {edit(t, signed, `<Subject>`, `x<Subject>`), sp.CodeSignatureInvalid},
		"processing instruction in a value": {edit(t, signed, `acme.example</NameID>`, `acme<?x?>.example</NameID>`), sp.CodeXMLForbidden},
		"NUL in a value":                    {edit(t, signed, `acme.example</NameID>`, "acme\x00.example</NameID>"), sp.CodeXMLMalformed},
		"digest and signature of nothing": {i.sign(t, good, "_assertion", signing{edit: func(s string) string {
			empty := sha256.Sum256(nil)
			at := strings.Index(s, "<ds:DigestValue>") + len("<ds:DigestValue>")
			return s[:at] + base64.StdEncoding.EncodeToString(empty[:]) + s[at+strings.Index(s[at:], "<"):]
		}}), sp.CodeSignatureInvalid},
		"two SignedInfo": {i.sign(t, good, "_assertion", signing{edit: func(s string) string {
			info := s[strings.Index(s, "<ds:SignedInfo"):strings.Index(s, "<ds:SignatureValue>")]
			return edit(t, s, info, info+info)
		}}), sp.CodeSignatureStructure},
		"element in DigestValue": {i.sign(t, good, "_assertion", signing{edit: func(s string) string {
			return edit(t, s, "<ds:DigestValue>", "<ds:DigestValue><x/>")
		}}), sp.CodeSignatureStructure},
		"Object in Signature": {i.sign(t, good, "_assertion", signing{edit: func(s string) string {
			return edit(t, s, "</ds:Signature>", "<ds:Object/></ds:Signature>")
		}}), sp.CodeSignatureStructure},
		"not a Response":       {edit(t, signed, "samlp:Response", "samlp:LogoutResponse"), sp.CodeStructureInvalid},
		"SAML 1.1":             {i.signAssertion(t, edit(t, good, `Version="2.0"`, `Version="1.1"`)), sp.CodeStructureInvalid},
		"assertion of no ID":   {i.signResponse(t, edit(t, good, `ID="_assertion" `, "")), sp.CodeStructureInvalid},
		"Response of no ID":    {i.signAssertion(t, edit(t, good, `ID="_response" `, "")), sp.CodeStructureInvalid},
		"unknown child":        {i.signAssertion(t, edit(t, good, `<Subject>`, `<Evil/><Subject>`)), sp.CodeStructureInvalid},
		"two Issuers":          {i.signAssertion(t, edit(t, good, `<Subject>`, `<Issuer>https://idp.example.test/</Issuer><Subject>`)), sp.CodeStructureInvalid},
		"two Statuses":         {edit(t, signed, `<samlp:Status>`, `<samlp:Status/><samlp:Status>`), sp.CodeStructureInvalid},
		"no Status":            {edit(t, signed, `<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>`, ""), sp.CodeStructureInvalid},
		"attribute of no name": {i.signAssertion(t, edit(t, good, `<Attribute Name="Group"`, `<Attribute`)), sp.CodeStructureInvalid},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			refused(t, test.document, expectations(i), test.code)
		})
	}
}

func TestA6_CommentsInValues(t *testing.T) {
	i := validIDP(t, idpKey())
	for name, value := range map[string]string{
		"NameID":   `alice@acme.example</NameID>`,
		"Group":    `staff</AttributeValue>`,
		"Audience": `metadata</Audience>`,
		"Issuer":   `idp.example.test/</Issuer><Subject>`,
	} {
		t.Run(name, func(t *testing.T) {
			// Comments are not signed, so they can be put in afterwards.
			refused(t, edit(t, i.signResponse(t, good), value, value[:2]+"<!-- -->"+value[2:]), expectations(i), sp.CodeXMLForbidden)
		})
	}
}

// A7 (two References) and A8: only the enveloped-signature transform and
// exclusive canonicalization, over the parent, and nothing else; each of these
// is signed by the real key.
func TestA7_TwoReferences(t *testing.T) {
	i := validIDP(t, idpKey())
	for _, uri := range []string{"#_assertion", "#_response", ""} {
		second := `<ds:Reference URI="` + uri + `"><ds:DigestMethod Algorithm="` + sha256URI + `"></ds:DigestMethod><ds:DigestValue>AAAA</ds:DigestValue></ds:Reference>`
		refused(t, i.sign(t, good, "_assertion", signing{reference: second}), expectations(i), sp.CodeSignatureStructure)
	}
}

func TestA8_TransformsAndCanonicalization(t *testing.T) {
	i := validIDP(t, idpKey())
	transforms := func(algorithms ...string) string {
		s := `<ds:Transforms>`
		for _, algorithm := range algorithms {
			s += `<ds:Transform Algorithm="` + algorithm + `"></ds:Transform>`
		}
		return s + `</ds:Transforms>`
	}
	inside := func(content string) string {
		return `<ds:Transforms><ds:Transform Algorithm="` + enveloped + `"></ds:Transform><ds:Transform Algorithm="` + excC14N + `">` + content + `</ds:Transform></ds:Transforms>`
	}
	method := func(algorithm string) string {
		return `<ds:CanonicalizationMethod Algorithm="` + algorithm + `"></ds:CanonicalizationMethod>`
	}
	const (
		inclusive = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
		xpath     = "http://www.w3.org/TR/1999/REC-xpath-19991116"
		xslt      = "http://www.w3.org/TR/1999/REC-xslt-19991116"
	)
	empty, other, pointer := "", "#_response", "#xpointer(id('_assertion'))"
	tests := map[string]struct {
		signing
		code sp.Code
	}{
		"exclusive with comments":         {signing{transform: transforms(enveloped, excC14N+"WithComments")}, sp.CodeAlgorithmNotAllowed},
		"inclusive":                       {signing{transform: transforms(enveloped, inclusive)}, sp.CodeAlgorithmNotAllowed},
		"XPath":                           {signing{transform: transforms(enveloped, xpath)}, sp.CodeAlgorithmNotAllowed},
		"XPath besides":                   {signing{transform: transforms(enveloped, xpath, excC14N)}, sp.CodeSignatureStructure},
		"XSLT":                            {signing{transform: transforms(xslt, excC14N)}, sp.CodeAlgorithmNotAllowed},
		"base64":                          {signing{transform: transforms("http://www.w3.org/2000/09/xmldsig#base64", excC14N)}, sp.CodeAlgorithmNotAllowed},
		"not enveloped":                   {signing{transform: transforms(excC14N)}, sp.CodeSignatureStructure},
		"not canonicalized":               {signing{transform: transforms(enveloped)}, sp.CodeSignatureStructure},
		"the other way round":             {signing{transform: transforms(excC14N, enveloped)}, sp.CodeAlgorithmNotAllowed},
		"no transforms":                   {signing{transform: transforms()}, sp.CodeSignatureStructure},
		"no Transforms":                   {signing{transform: " "}, sp.CodeSignatureStructure},
		"unknown parameter":               {signing{transform: inside(`<x xmlns="urn:x" PrefixList="a"></x>`)}, sp.CodeSignatureStructure},
		"two prefix lists":                {signing{transform: inside(strings.Repeat(`<InclusiveNamespaces xmlns="`+excC14N+`" PrefixList="a"></InclusiveNamespaces>`, 2))}, sp.CodeSignatureStructure},
		"long prefix list":                {signing{prefixes: strings.Repeat("a ", 17)}, sp.CodeXMLLimit},
		"SignedInfo exclusive, comments":  {signing{method: method(excC14N + "WithComments")}, sp.CodeAlgorithmNotAllowed},
		"SignedInfo inclusive":            {signing{method: method(inclusive)}, sp.CodeAlgorithmNotAllowed},
		"SignedInfo by an unknown method": {signing{method: method("urn:x")}, sp.CodeAlgorithmNotAllowed},
		"reference to everything":         {signing{uri: &empty}, sp.CodeSignatureStructure},
		"reference to another element":    {signing{uri: &other}, sp.CodeSignatureStructure},
		"reference by XPointer":           {signing{uri: &pointer}, sp.CodeSignatureStructure},
		"parameter of the signature method": {signing{edit: func(s string) string {
			return edit(t, s, `</ds:SignatureMethod>`, `<ds:HMACOutputLength>0</ds:HMACOutputLength></ds:SignatureMethod>`)
		}}, sp.CodeSignatureStructure},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			refused(t, i.sign(t, good, "_assertion", test.signing), expectations(i), test.code)
		})
	}

	t.Run("prefix list", func(t *testing.T) {
		document := edit(t, good, `<Assertion `, `<Assertion xmlns:xs="urn:xs" `)
		_, err := sp.Verify([]byte(i.sign(t, document, "_assertion", signing{prefixes: "xs #default unknown"})), expectations(i))
		assert.NoError(t, err)
	})
}

// hmacKey signs by HMAC with the public key, as an attacker can.
type hmacKey struct{ *rsa.PrivateKey }

func (k hmacKey) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	mac := hmac.New(sha256.New, x509.MarshalPKCS1PublicKey(&k.PublicKey))
	mac.Write(digest)
	return mac.Sum(nil), nil
}

func TestA9_Algorithms(t *testing.T) {
	p224, p256, p384, p521 := ecKey(t, elliptic.P224()), ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384()), ecKey(t, elliptic.P521())
	const sha1RSA, sha1Digest = "http://www.w3.org/2000/09/xmldsig#rsa-sha1", "http://www.w3.org/2000/09/xmldsig#sha1"
	tests := []struct {
		key  crypto.Signer
		s    signing
		code sp.Code
	}{
		{idpKey(), signing{algorithm: moreURI + "rsa-sha256"}, ""},
		{idpKey(), signing{algorithm: moreURI + "rsa-sha384"}, ""},
		{idpKey(), signing{algorithm: moreURI + "rsa-sha512"}, ""},
		{idpKey(), signing{digest: moreURI + "sha384"}, ""},
		{idpKey(), signing{digest: "http://www.w3.org/2001/04/xmlenc#sha512"}, ""},
		{p256, signing{algorithm: moreURI + "ecdsa-sha256"}, ""},
		{p256, signing{algorithm: moreURI + "ecdsa-sha512"}, ""},
		{p384, signing{algorithm: moreURI + "ecdsa-sha384"}, ""},
		{p521, signing{algorithm: moreURI + "ecdsa-sha512"}, ""},

		{idpKey(), signing{algorithm: sha1RSA}, sp.CodeAlgorithmNotAllowed},
		{idpKey(), signing{digest: sha1Digest}, sp.CodeAlgorithmNotAllowed},
		{idpKey(), signing{digest: moreURI + "sha224"}, sp.CodeAlgorithmNotAllowed},
		{idpKey(), signing{digest: moreURI + "md5"}, sp.CodeAlgorithmNotAllowed},
		{idpKey(), signing{algorithm: moreURI + "rsa-sha224"}, sp.CodeAlgorithmNotAllowed},
		{idpKey(), signing{algorithm: moreURI + "rsa-md5"}, sp.CodeAlgorithmNotAllowed},
		{idpKey(), signing{algorithm: "http://www.w3.org/2000/09/xmldsig#dsa-sha1"}, sp.CodeAlgorithmNotAllowed},
		{idpKey(), signing{algorithm: "http://www.w3.org/2009/xmldsig11#dsa-sha256"}, sp.CodeAlgorithmNotAllowed},
		{idpKey(), signing{algorithm: "none"}, sp.CodeAlgorithmNotAllowed},
		{hmacKey{idpKey()}, signing{algorithm: moreURI + "hmac-sha256"}, sp.CodeAlgorithmNotAllowed},
		{p256, signing{algorithm: moreURI + "ecdsa-sha1"}, sp.CodeAlgorithmNotAllowed},

		{idpKey(), signing{algorithm: moreURI + "ecdsa-sha256"}, sp.CodeSignatureInvalid},
		{p256, signing{algorithm: moreURI + "rsa-sha256"}, sp.CodeSignatureInvalid},
		{p256, signing{algorithm: moreURI + "ecdsa-sha256", der: true}, sp.CodeSignatureInvalid},
		{p224, signing{algorithm: moreURI + "ecdsa-sha256"}, sp.CodeSigningKeyWeak},
		{weakKey(), signing{}, sp.CodeSigningKeyWeak},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%T %s %s der=%t", test.key, test.s.algorithm, test.s.digest, test.s.der), func(t *testing.T) {
			certified := test.key
			if mac, ok := certified.(hmacKey); ok {
				certified = mac.PrivateKey
			}
			i := idp{test.key, validIDP(t, certified).certificate}
			document := i.sign(t, good, "_assertion", test.s)
			if test.code != "" {
				refused(t, document, expectations(i), test.code)
				return
			}
			_, err := sp.Verify([]byte(document), expectations(i))
			assert.NoError(t, err)
			refused(t, edit(t, document, "alice@acme", "evil@acme"), expectations(i), sp.CodeSignatureInvalid)
		})
	}
}

// ECDSA signatures of zeros and of the order (the "psychic" ones).
func TestA9_PsychicSignature(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	i := validIDP(t, key)
	document := i.sign(t, good, "_assertion", signing{algorithm: moreURI + "ecdsa-sha256"})
	value := document[strings.Index(document, "<ds:SignatureValue>")+len("<ds:SignatureValue>") : strings.Index(document, "</ds:SignatureValue>")]
	order := key.Params().N.FillBytes(make([]byte, 32))
	for _, forged := range [][]byte{make([]byte, 64), append(slices.Clone(order), order...), make([]byte, 63), make([]byte, 66), bytes.Repeat([]byte{1}, 64)} {
		refused(t, edit(t, document, value, base64.StdEncoding.EncodeToString(forged)), expectations(i), sp.CodeSignatureInvalid)
	}
}

func TestA10_ExternalEntities(t *testing.T) {
	i := validIDP(t, idpKey())
	signed := i.signAssertion(t, good)
	utf16 := []byte{0xff, 0xfe}
	for _, r := range `<!DOCTYPE a>` + signed {
		utf16 = append(utf16, byte(r), 0)
	}
	for name, document := range map[string]string{
		"external":        `<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>` + signed,
		"parameter":       `<!DOCTYPE a [<!ENTITY % x SYSTEM "https://evil.example/"> %x;]>` + signed,
		"billion laughs":  `<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>` + signed,
		"attribute":       `<!DOCTYPE a [<!ATTLIST Assertion Id ID #IMPLIED>]>` + signed,
		"after the root":  signed + `<!DOCTYPE a>`,
		"after a comment": `<!-- --><!DOCTYPE a>` + signed,
		"UTF-16":          string(utf16),
		"stylesheet":      `<?xml-stylesheet href="https://evil.example/"?>` + signed,
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, document, expectations(i), sp.CodeXMLForbidden)
		})
	}
}

// Large but honest responses are no flood.
func TestA11_ManyGroups(t *testing.T) {
	i := validIDP(t, idpKey())
	var groups strings.Builder
	for n := range 2000 {
		fmt.Fprintf(&groups, "<AttributeValue>aaaaaaaa-0000-0000-0000-%012d</AttributeValue>", n)
	}
	got, err := sp.Verify([]byte(i.signResponse(t, i.signAssertion(t, edit(t, good, "<AttributeValue>staff</AttributeValue>", groups.String())))), expectations(i))
	require.NoError(t, err)
	assert.Len(t, got.Attributes[1].Values, 2001)
}

func TestA12_EncryptedAssertionNeedsASignature(t *testing.T) {
	i, attacker := validIDP(t, idpKey()), validIDP(t, attackerKey())
	want := expectations(i)
	want.DecryptionKeys = []*rsa.PrivateKey{spKey()}
	evil := edit(t, good, "alice@", "evil@")

	// Accepted: one of both signatures, made before or after encrypting.
	for _, document := range []string{
		encrypt(t, i.signAssertion(t, good), encryption{}),
		i.signResponse(t, encrypt(t, good, encryption{})),
		i.signResponse(t, encrypt(t, i.signAssertion(t, good), encryption{})),
	} {
		_, err := sp.Verify([]byte(document), want)
		assert.NoError(t, err)
	}

	refused(t, encrypt(t, evil, encryption{}), want, sp.CodeDecryptionFailed)
	refused(t, encrypt(t, edit(t, i.signAssertion(t, good), "alice@", "evil@"), encryption{}), want, sp.CodeDecryptionFailed)
	refused(t, attacker.signResponse(t, encrypt(t, evil, encryption{})), want, sp.CodeUnknownSigningKey)
	refused(t, encrypt(t, attacker.signAssertion(t, evil), encryption{}), want, sp.CodeUnknownSigningKey)
	refused(t, i.signResponse(t, encrypt(t, attacker.signAssertion(t, evil), encryption{})), want, sp.CodeUnknownSigningKey)
	refused(t, edit(t, i.signResponse(t, encrypt(t, good, encryption{})), "<EncryptedAssertion ", "<EncryptedAssertion x='' "), want, sp.CodeSignatureInvalid)
	// Only an Assertion is one, whoever has signed the ciphertext.
	refused(t, i.signResponse(t, edit(t, good, goodAssertion, encrypted(t, edit(t, goodAssertion, "<Assertion ", "<Evil ", "</Assertion>", "</Evil>"), encryption{}))), want, sp.CodeDecryptionFailed)
	// A signature made over the plain assertion does not survive encrypting.
	refused(t, encrypt(t, i.signResponse(t, good), encryption{}), want, sp.CodeSignatureInvalid)
	// A signature beside the ciphertext vouches for nothing.
	signature := signatureOf(i.signAssertion(t, good))
	refused(t, edit(t, encrypt(t, evil, encryption{}), "</EncryptedAssertion>", signature+"</EncryptedAssertion>"), want, sp.CodeSignatureStructure)

	// The contents go through the same checks.
	refused(t, encrypt(t, i.signAssertion(t, edit(t, good, "<Audience>", "<Audience>x")), encryption{}), want, sp.CodeAudienceMismatch)
	refused(t, i.signResponse(t, encrypt(t, edit(t, good, "alice@acme.example</NameID>", "</NameID>"), encryption{})), want, sp.CodeNameIDMissing)

	expired := newIDP(t, idpKey(), now.AddDate(-3, 0, 0), now.Add(-time.Second))
	expiredWant := expectations(expired)
	expiredWant.DecryptionKeys = want.DecryptionKeys
	refused(t, encrypt(t, expired.signAssertion(t, good), encryption{}), expiredWant, sp.CodeCertificateExpired)
}

// Whatever is wrong with a ciphertext, the answer is the same.
func TestA12_DecryptionIsNoOracle(t *testing.T) {
	i := validIDP(t, idpKey())
	want := expectations(i)
	want.DecryptionKeys = []*rsa.PrivateKey{spKey()}
	signed := i.signAssertion(t, good)
	const gcm = "http://www.w3.org/2009/xmlenc11#aes256-gcm"
	flip := func(at int) func([]byte) []byte {
		return func(c []byte) []byte {
			c = slices.Clone(c)
			c[(at+len(c))%len(c)] ^= 0x80
			return c
		}
	}
	cut := func(n int) func([]byte) []byte { return func(c []byte) []byte { return c[:n] } }
	documents := map[string]string{
		"IV":                     encrypt(t, signed, encryption{tamper: flip(0)}),
		"first block":            encrypt(t, signed, encryption{tamper: flip(16)}),
		"middle block":           encrypt(t, signed, encryption{tamper: flip(1600)}),
		"last but one block":     encrypt(t, signed, encryption{tamper: flip(-17)}),
		"last block":             encrypt(t, signed, encryption{tamper: flip(-1)}),
		"no block":               encrypt(t, signed, encryption{tamper: cut(16)}),
		"part of a block":        encrypt(t, signed, encryption{tamper: cut(40)}),
		"one byte":               encrypt(t, signed, encryption{tamper: cut(1)}),
		"GCM nonce":              encrypt(t, signed, encryption{cipher: gcm, tamper: flip(0)}),
		"GCM text":               encrypt(t, signed, encryption{cipher: gcm, tamper: flip(100)}),
		"GCM tag":                encrypt(t, signed, encryption{cipher: gcm, tamper: flip(-1)}),
		"GCM too short":          encrypt(t, signed, encryption{cipher: gcm, tamper: cut(11)}),
		"GCM without a text":     encrypt(t, signed, encryption{cipher: gcm, tamper: cut(28)}),
		"unsigned":               encrypt(t, good, encryption{}),
		"changed":                encrypt(t, edit(t, signed, "alice@", "evil@"), encryption{}),
		"damaged SignatureValue": encrypt(t, edit(t, signed, "<ds:SignatureValue>", "<ds:SignatureValue>AAAA"), encryption{}),
		"empty":                  edit(t, good, goodAssertion, encrypted(t, "", encryption{cipher: gcm})),
		"comment":                edit(t, good, goodAssertion, encrypted(t, "<!-- -->", encryption{})),
		"text":                   edit(t, good, goodAssertion, encrypted(t, "text", encryption{})),
		"another element":        edit(t, good, goodAssertion, encrypted(t, "<a/>", encryption{})),
		"two elements":           edit(t, good, goodAssertion, encrypted(t, assertionOf(signed)+"<a/>", encryption{})),
		"DOCTYPE":                edit(t, good, goodAssertion, encrypted(t, "<!DOCTYPE a>"+assertionOf(signed), encryption{})),
		"encrypted twice":        edit(t, good, goodAssertion, encrypted(t, encrypted(t, assertionOf(signed), encryption{}), encryption{})),
		"wrapped in a Response":  edit(t, good, goodAssertion, encrypted(t, signed, encryption{})),
		"too deep":               edit(t, good, goodAssertion, encrypted(t, strings.Repeat("<a>", 64)+strings.Repeat("</a>", 64), encryption{})),
		"of type Content":        edit(t, encrypt(t, signed, encryption{}), "xmlenc#Element", "xmlenc#Content"),
		"no EncryptedData":       edit(t, good, goodAssertion, `<EncryptedAssertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion"/>`),
		"no key":                 edit(t, encrypt(t, signed, encryption{sibling: true}), `URI="#_ek"`, `URI="#_other"`),
		"no CipherValue":         edit(t, encrypt(t, signed, encryption{}), `xenc:CipherValue>`, `xenc:CipherReference>`),
		"five keys":              edit(t, encrypt(t, signed, encryption{}), "<xenc:EncryptedKey", strings.Repeat("<xenc:EncryptedKey/>", 4)+"<xenc:EncryptedKey"),
	}
	var answer *sp.Error
	for name, document := range documents {
		t.Run(name, func(t *testing.T) {
			refusal := refusalOf(t, document, want, sp.CodeDecryptionFailed)
			if answer == nil {
				answer = refusal
			}
			assert.Equal(t, answer, refusal)
		})
	}
}

func TestB1_Audience(t *testing.T) {
	i := validIDP(t, idpKey())
	for _, audience := range []string{
		"https://other.example/", "https://acme.s.example.test/saml/metadata", "https://ACME.s.example.test:443/saml/metadata",
		"https://acme.s.example.test:443/saml/metadata/", entityID + "\u00a0", "\u2003" + entityID, entityID[:8] + " " + entityID[8:], "https:// " + entityID,
		"spn:" + entityID, entityID + "x", entityID[1:], "http://acme.s.example.test:443/saml/metadata", "",
	} {
		refusal := refusalOf(t, i.signAssertion(t, edit(t, good, entityID+"</Audience>", audience+"</Audience>")), expectations(i), sp.CodeAudienceMismatch)
		assert.Contains(t, refusal.Detail, entityID, "the administrator sees what was expected")
	}
	restriction := `<AudienceRestriction><Audience>` + entityID + `</Audience></AudienceRestriction>`
	refused(t, i.signAssertion(t, edit(t, good, restriction, "")), expectations(i), sp.CodeAudienceMissing)
	refused(t, i.signAssertion(t, edit(t, good, restriction, "<AudienceRestriction/>")), expectations(i), sp.CodeAudienceMismatch)
	refused(t, i.signAssertion(t, edit(t, good, restriction, restriction+edit(t, restriction, entityID, "https://other.example/"))), expectations(i), sp.CodeAudienceMismatch)
	refused(t, i.signAssertion(t, edit(t, good, restriction, edit(t, restriction, entityID, "https://other.example/")+restriction)), expectations(i), sp.CodeAudienceMismatch)
	refused(t, i.signAssertion(t, edit(t, good, `<Audience>`+entityID+`</Audience>`, `<x xmlns="urn:x">`+entityID+`</x>`)), expectations(i), sp.CodeAudienceMismatch)
	refused(t, i.signAssertion(t, edit(t, good, restriction, restriction+`<Condition/>`)), expectations(i), sp.CodeConditionUnknown)
}

func TestB2_RecipientDestinationAndExpiry(t *testing.T) {
	i := validIDP(t, idpKey())
	const (
		recipient   = `Recipient="` + acsURL + `"`
		destination = `Destination="` + acsURL + `"`
		end         = ` NotOnOrAfter="2026-11-24T13:00:00Z"`
	)
	tests := []struct {
		edits []string
		code  sp.Code
	}{
		{[]string{recipient, ``}, sp.CodeRecipientMismatch},
		{[]string{recipient, `Recipient=""`}, sp.CodeRecipientMismatch},
		{[]string{recipient, `Recipient="https://other.s.example.test/saml/acs"`}, sp.CodeRecipientMismatch},
		{[]string{recipient, `Recipient="https://acme.s.example.test:443/saml/acs"`}, sp.CodeRecipientMismatch},
		{[]string{recipient, `Recipient="` + acsURL + `/"`}, sp.CodeRecipientMismatch},
		{[]string{destination, `Destination="https://other.s.example.test/saml/acs"`}, sp.CodeDestinationMismatch},
		{[]string{destination, `Destination=""`}, sp.CodeDestinationMismatch},
		{[]string{destination, `Destination="` + acsURL + `?x"`}, sp.CodeDestinationMismatch},
		{[]string{end, ``}, sp.CodeConfirmationExpired},
		{[]string{end, ` NotOnOrAfter="2026-11-24T11:00:00Z"`}, sp.CodeConfirmationExpired},
		{[]string{end, end + ` NotBefore="2026-11-24T12:30:00Z"`}, sp.CodeConfirmationNotYetValid},
		{[]string{end, ` NotOnOrAfter="tomorrow"`}, sp.CodeStructureInvalid},
		{[]string{end, ` NotOnOrAfter="2026-11-24T11:00:00"`}, sp.CodeConfirmationExpired},
		{[]string{end, ` NotOnOrAfter="2026-11-24"`}, sp.CodeStructureInvalid},
		{[]string{end, ` NotOnOrAfter=""`}, sp.CodeStructureInvalid},
		{[]string{`cm:bearer`, `cm:holder-of-key`}, sp.CodeConfirmationMissing},
		{[]string{`cm:bearer`, `cm:sender-vouches`}, sp.CodeConfirmationMissing},
		{[]string{`NotOnOrAfter="2026-11-24T13:05:00Z"`, `NotOnOrAfter="2026-11-24T11:05:00Z"`}, sp.CodeExpired},
		{[]string{`NotBefore="2026-11-24T11:55:00Z"`, `NotBefore="2026-11-24T12:55:00Z"`}, sp.CodeNotYetValid},
		{[]string{`https://idp.example.test/`, `https://other-idp.example/`}, sp.CodeIssuerMismatch},
		{[]string{`<Issuer>https://idp.example.test/`, `<Issuer>https://other-idp.example/`}, sp.CodeIssuerMismatch},
		{[]string{`<Issuer>`, `<Issuer> `}, sp.CodeIssuerMismatch},
		{[]string{`<Issuer>`, `<Issuer Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">`}, sp.CodeIssuerMismatch},
		{[]string{`assertion">https://idp.example.test/`, `assertion">https://other-idp.example/`}, sp.CodeIssuerMismatch},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.edits, " to "), func(t *testing.T) {
			document := edit(t, good, test.edits...)
			refused(t, i.signAssertion(t, document), expectations(i), test.code)
			refused(t, i.signResponse(t, document), expectations(i), test.code)
		})
	}
	refused(t, i.signResponse(t, edit(t, good, ` `+destination, ``)), expectations(i), sp.CodeDestinationMissing)
}

func TestB3_InResponseTo(t *testing.T) {
	i := validIDP(t, idpKey())
	const inConfirmation, inResponse = `<SubjectConfirmationData InResponseTo="` + request + `" `, ` InResponseTo="` + request + `">`
	signed := i.signAssertion(t, good)

	want := expectations(i)
	want.RequestIDs = []string{"id-of-another-browser"}
	refused(t, signed, want, sp.CodeInResponseToMismatch)

	// The Response is not signed here, so its InResponseTo can be forged; the
	// assertion's own one has the last word.
	refused(t, edit(t, signed, inResponse, ` InResponseTo="id-other-tab">`), expectations(i), sp.CodeConfirmationInResponseTo)
	refused(t, i.signAssertion(t, edit(t, good, inConfirmation, `<SubjectConfirmationData `)), expectations(i), sp.CodeConfirmationInResponseTo)
	refused(t, i.signAssertion(t, edit(t, good, inConfirmation, `<SubjectConfirmationData InResponseTo="" `)), expectations(i), sp.CodeConfirmationInResponseTo)
	refused(t, i.signResponse(t, edit(t, good, inConfirmation, `<SubjectConfirmationData InResponseTo="id-other-tab" `)), expectations(i), sp.CodeConfirmationInResponseTo)
}

// What a replay store has to remember, and until when.
func TestB4_Replay(t *testing.T) {
	i := validIDP(t, idpKey())
	for name, document := range map[string]string{
		"bounded by MaxAge":         good,
		"bounded by the conditions": edit(t, good, `NotOnOrAfter="2026-11-24T13:05:00Z"`, `NotOnOrAfter="2026-11-24T12:01:00Z"`),
		"no end of the conditions":  edit(t, good, ` NotOnOrAfter="2026-11-24T13:05:00Z"`, ``),
	} {
		t.Run(name, func(t *testing.T) {
			document := []byte(i.signAssertion(t, document))
			want := expectations(i)
			first, err := sp.Verify(document, want)
			require.NoError(t, err)
			assert.Equal(t, "_assertion", first.ID)
			assert.LessOrEqual(t, first.NotOnOrAfter.Sub(want.Now), sp.MaxAge+2*want.ClockSkew)

			want.Now = first.NotOnOrAfter.Add(-time.Nanosecond)
			_, err = sp.Verify(document, want)
			require.NoError(t, err)
			want.Now = first.NotOnOrAfter
			_, err = sp.Verify(document, want)
			assert.Error(t, err)
		})
	}
}

func TestB5_StolenAssertion(t *testing.T) {
	i := validIDP(t, idpKey())
	document := i.signAssertion(t, good)
	want := expectations(i)
	want.ClockSkew = 0
	for age, code := range map[time.Duration]sp.Code{time.Minute: "", 4 * time.Minute: "", 6 * time.Minute: sp.CodeIssueInstantInvalid, 69 * time.Minute: sp.CodeIssueInstantInvalid} {
		want.Now = now.Add(age)
		_, err := sp.Verify([]byte(document), want)
		assert.Equal(t, code, sp.CodeOf(err), "after %s", age)
	}
	want.Now = now.Add(6 * time.Minute)
	young := edit(t, document, `Version="2.0" IssueInstant="2026-11-24T12:00:00.123Z"`, `Version="2.0" IssueInstant="2026-11-24T12:06:00Z"`)
	refusal := refusalOf(t, young, want, sp.CodeIssueInstantInvalid)
	assert.Contains(t, refusal.Detail, "Assertion", "a Response that is made to look young does not help")
	refused(t, i.signResponse(t, edit(t, good, ` IssueInstant="2026-11-24T12:00:00.123Z"`, ``)), expectations(i), sp.CodeIssueInstantInvalid)
}

func TestB6_ClockSkew(t *testing.T) {
	i := validIDP(t, idpKey())
	instants := edit(t, good, "2026-11-24T12:00:00.123Z", "ISSUED", "2026-11-24T11:59:58Z", "ISSUED", "2026-11-24T11:55:00Z", "START", "2026-11-24T13:05:00Z", "END", "2026-11-24T13:00:00Z", "CONFIRMED")
	at := func(issued, start, end, confirmed time.Duration) string {
		stamp := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }
		return i.signAssertion(t, edit(t, instants, "ISSUED", stamp(issued), "START", stamp(start), "END", stamp(end), "CONFIRMED", stamp(confirmed)))
	}
	tests := []struct {
		issued, start, end, confirmed time.Duration // in seconds from now
		code                          sp.Code
	}{
		{180, 0, 60, 60, ""},
		{181, 0, 60, 60, sp.CodeIssueInstantInvalid},
		{-479, 0, 60, 60, ""},
		{-480, 0, 60, 60, sp.CodeIssueInstantInvalid},
		{0, 180, 360, 360, ""},
		{0, 181, 360, 360, sp.CodeNotYetValid},
		{0, -360, -179, 60, ""},
		{0, -360, -180, 60, sp.CodeExpired},
		{0, -360, 60, -179, ""},
		{0, -360, 60, -180, sp.CodeConfirmationExpired},
	}
	want := expectations(i)
	want.Now = now
	for _, test := range tests {
		_, err := sp.Verify([]byte(at(test.issued*time.Second, test.start*time.Second, test.end*time.Second, test.confirmed*time.Second)), want)
		assert.Equal(t, test.code, sp.CodeOf(err), "%+v", test)
	}

	want.ClockSkew = 0
	_, err := sp.Verify([]byte(at(0, 0, time.Second, time.Second)), want)
	require.NoError(t, err)
	refused(t, at(0, time.Second, 2*time.Second, time.Second), want, sp.CodeNotYetValid)
}

func TestB7_Status(t *testing.T) {
	i := validIDP(t, idpKey())
	const success = `<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/>`
	status := func(content string) string { return edit(t, good, success, content) }

	document := status(`<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Requester"><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:NoAuthnContext"/></samlp:StatusCode>` +
		"<samlp:StatusMessage>AADSTS75011: does not match.\r\n<b>Trace ID</b>: 1\u202e</samlp:StatusMessage>")
	for name, document := range map[string]string{
		"with an assertion": i.signResponse(t, document),
		"signed":            i.signResponse(t, edit(t, document, goodAssertion, "")),
		"as Entra ID sends": edit(t, document, goodAssertion, ""),
	} {
		t.Run(name, func(t *testing.T) {
			refusal := refusalOf(t, document, expectations(i), sp.CodeStatusNotSuccess)
			assert.Equal(t, []string{"urn:oasis:names:tc:SAML:2.0:status:Requester", "urn:oasis:names:tc:SAML:2.0:status:NoAuthnContext"}, refusal.StatusCodes)
			assert.Contains(t, refusal.StatusMessage, "AADSTS75011: does not match. ")
			assert.NotContains(t, refusal.StatusMessage, "\n")
			assert.NotContains(t, refusal.StatusMessage, "\u202e")
			assert.NotContains(t, refusal.Error(), "AADSTS", "only who asks for it sees it")
		})
	}

	// Success further in is no success.
	refused(t, i.signResponse(t, status(`<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Responder">`+success+`</samlp:StatusCode>`)), expectations(i), sp.CodeStatusNotSuccess)
	refused(t, i.signResponse(t, status(`<samlp:StatusCode/>`)), expectations(i), sp.CodeStatusNotSuccess)
	refused(t, i.signResponse(t, status(success+success)), expectations(i), sp.CodeStructureInvalid)
	refused(t, i.signResponse(t, status(``)), expectations(i), sp.CodeStructureInvalid)

	long := refusalOf(t, status(strings.Repeat(`<samlp:StatusCode Value="`+strings.Repeat("ä", 300)+`">`, 20)+strings.Repeat(`</samlp:StatusCode>`, 20)+
		`<samlp:StatusMessage>`+strings.Repeat("ä", 2000)+`</samlp:StatusMessage>`), expectations(i), sp.CodeStatusNotSuccess)
	assert.Len(t, long.StatusCodes, 4)
	assert.Less(t, len(long.StatusCodes[0]), 210)
	assert.Less(t, len(long.StatusMessage), 510)
}

func TestB8_Unsolicited(t *testing.T) {
	i := validIDP(t, idpKey())
	unsolicited := edit(t, good, ` InResponseTo="`+request+`"`, ``)
	refused(t, i.signAssertion(t, unsolicited), expectations(i), sp.CodeUnsolicited)
	refused(t, i.signAssertion(t, edit(t, good, ` InResponseTo="`+request+`">`, ` InResponseTo="">`)), expectations(i), sp.CodeUnsolicited)

	// A forged InResponseTo of the unsigned Response does not make it solicited.
	forged := edit(t, i.signAssertion(t, unsolicited), `ID="_response"`, `ID="_response" InResponseTo="`+request+`"`)
	refused(t, forged, expectations(i), sp.CodeConfirmationInResponseTo)

	want := expectations(i)
	want.RequestIDs = nil
	refused(t, i.signAssertion(t, good), want, sp.CodeUnsolicited)
	want.RequestIDs = []string{""}
	refused(t, i.signAssertion(t, unsolicited), want, sp.CodeUnsolicited)
}

// Where unsolicited Responses are allowed all else holds for them, and an answer
// to a request does not become one.
func TestB8_UnsolicitedWhereItIsAllowed(t *testing.T) {
	const inConfirmation, inResponse = `<SubjectConfirmationData InResponseTo="` + request + `" `, ` InResponseTo="` + request + `">`
	i := validIDP(t, idpKey())
	unsolicited := edit(t, good, ` InResponseTo="`+request+`"`, ``)
	want := expectations(i)
	want.AllowUnsolicited = true
	for _, requests := range [][]string{nil, {request}} {
		want.RequestIDs = requests
		for _, document := range []string{i.signAssertion(t, unsolicited), i.signResponse(t, unsolicited)} {
			got, err := sp.Verify([]byte(document), want)
			require.NoError(t, err)
			assert.Empty(t, got.InResponseTo)
			assert.Equal(t, now.Add(123*time.Millisecond+sp.MaxAge+want.ClockSkew), got.NotOnOrAfter, "a replay is remembered as long as it could be used")
		}
	}
	got, err := sp.Verify([]byte(i.signAssertion(t, good)), want)
	require.NoError(t, err)
	assert.Equal(t, request, got.InResponseTo)

	want.RequestIDs = nil
	secondConfirmation := edit(t, unsolicited, `</SubjectConfirmation>`, `</SubjectConfirmation><SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">`+
		inConfirmation+`NotOnOrAfter="2026-11-24T13:00:00Z" Recipient="`+acsURL+`"/></SubjectConfirmation>`)
	for name, test := range map[string]struct {
		document string
		code     sp.Code
	}{
		"an answer to a request":                    {good, sp.CodeUnsolicited},
		"an answer to no request in particular":     {edit(t, good, inResponse, ` InResponseTo="">`), sp.CodeUnsolicited},
		"the assertion answers a request":           {edit(t, good, inResponse, `>`), sp.CodeConfirmationInResponseTo},
		"the assertion answers an empty one":        {edit(t, unsolicited, `<SubjectConfirmationData `, `<SubjectConfirmationData InResponseTo="" `), sp.CodeConfirmationInResponseTo},
		"a second confirmation answers one":         {secondConfirmation, sp.CodeConfirmationInResponseTo},
		"for another audience":                      {edit(t, unsolicited, `<Audience>https://acme`, `<Audience>https://globex`), sp.CodeAudienceMismatch},
		"for another recipient":                     {edit(t, unsolicited, `Recipient="https://acme`, `Recipient="https://globex`), sp.CodeRecipientMismatch},
		"for another destination":                   {edit(t, unsolicited, `Destination="https://acme`, `Destination="https://globex`), sp.CodeDestinationMismatch},
		"of another IdP":                            {edit(t, unsolicited, `<Issuer>`+idpID, `<Issuer>https://other.example.test/`), sp.CodeIssuerMismatch},
		"long ago":                                  {edit(t, unsolicited, `IssueInstant="2026-11-24T12:00`, `IssueInstant="2026-11-24T11:00`), sp.CodeIssueInstantInvalid},
		"by a confirmation that has expired":        {edit(t, unsolicited, `NotOnOrAfter="2026-11-24T13:00:00Z"`, `NotOnOrAfter="2026-11-24T11:00:00Z"`), sp.CodeConfirmationExpired},
		"by a confirmation of another kind":         {edit(t, unsolicited, `cm:bearer`, `cm:sender-vouches`), sp.CodeConfirmationMissing},
		"beside another assertion that is unsigned": {edit(t, unsolicited, `</samlp:Response>`, `<Assertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion"/></samlp:Response>`), sp.CodeAssertionCount},
	} {
		t.Run(name, func(t *testing.T) { refused(t, i.signAssertion(t, test.document), want, test.code) })
	}
	// The Response around the assertion is not signed: what is taken from it or
	// added to it must not help.
	signed := i.signAssertion(t, good)
	refused(t, edit(t, signed, `Destination="`+acsURL+`" InResponseTo="`+request+`"`, `Destination="`+acsURL+`"`), want, sp.CodeConfirmationInResponseTo)
	want.RequestIDs = []string{request}
	refused(t, edit(t, i.signAssertion(t, unsolicited), `ID="_response"`, `ID="_response" InResponseTo="`+request+`"`), want, sp.CodeConfirmationInResponseTo)
	refused(t, unsolicited, want, sp.CodeSignatureMissing)
	refused(t, validIDP(t, attackerKey()).signAssertion(t, unsolicited), want, sp.CodeUnknownSigningKey)
}

func TestB9_Shape(t *testing.T) {
	i := validIDP(t, idpKey())
	between := func(from, to string) string {
		_, rest, _ := strings.Cut(good, from)
		inner, _, _ := strings.Cut(rest, to)
		return from + inner + to
	}
	const nameID = `alice@acme.example</NameID>`
	tests := map[string]struct {
		edits []string
		code  sp.Code
	}{
		"no Subject":                 {[]string{between("<Subject>", "</Subject>"), ""}, sp.CodeSubjectMissing},
		"empty Subject":              {[]string{between("<Subject>", "</Subject>"), "<Subject/>"}, sp.CodeConfirmationMissing},
		"two NameIDs":                {[]string{between("<NameID ", "</NameID>"), strings.Repeat(between("<NameID ", "</NameID>"), 2)}, sp.CodeStructureInvalid},
		"EncryptedID":                {[]string{between("<NameID ", "</NameID>"), "<EncryptedID/>"}, sp.CodeStructureInvalid},
		"empty NameID":               {[]string{nameID, `</NameID>`}, sp.CodeNameIDMissing},
		"blank NameID":               {[]string{nameID, " \n\u00a0</NameID>"}, sp.CodeNameIDMissing},
		"trailing space":             {[]string{nameID, `alice@acme.example </NameID>`}, sp.CodeNameIDInvalid},
		"leading line break":         {[]string{nameID, "\nalice@acme.example</NameID>"}, sp.CodeNameIDInvalid},
		"right-to-left override":     {[]string{nameID, "alice\u202e@acme.example</NameID>"}, sp.CodeNameIDInvalid},
		"zero-width space":           {[]string{nameID, "alice\u200b@acme.example</NameID>"}, sp.CodeNameIDInvalid},
		"tab":                        {[]string{nameID, "alice\t@acme.example</NameID>"}, sp.CodeNameIDInvalid},
		"line separator":             {[]string{nameID, "alice\u2028@acme.example</NameID>"}, sp.CodeNameIDInvalid},
		"element in NameID":          {[]string{nameID, "alice@acme.example<x/></NameID>"}, sp.CodeNameIDMissing},
		"long NameID":                {[]string{nameID, strings.Repeat("a", 1025) + "</NameID>"}, sp.CodeNameIDInvalid},
		"no Conditions":              {[]string{between("<Conditions ", "</Conditions>"), ""}, sp.CodeConditionsMissing},
		"no SubjectConfirmation":     {[]string{between("<SubjectConfirmation ", "</SubjectConfirmation>"), ""}, sp.CodeConfirmationMissing},
		"no SubjectConfirmationData": {[]string{between("<SubjectConfirmationData ", "/>"), ""}, sp.CodeConfirmationMissing},
		"no AuthnStatement":          {[]string{between("<AuthnStatement ", "</AuthnStatement>"), ""}, sp.CodeAuthnStatementMissing},
		"no AuthnInstant":            {[]string{` AuthnInstant="2026-11-24T11:59:58Z"`, ""}, sp.CodeAuthnStatementInvalid},
		"AuthnInstant to come":       {[]string{`AuthnInstant="2026-11-24T11:59:58Z"`, `AuthnInstant="2026-11-25T11:59:58Z"`}, sp.CodeAuthnStatementInvalid},
		"session at its end":         {[]string{`SessionNotOnOrAfter="2026-11-24T20:00:00Z"`, `SessionNotOnOrAfter="2026-11-24T11:00:00Z"`}, sp.CodeSessionExpired},
		"10,000 attributes":          {[]string{`<AttributeStatement>`, `<AttributeStatement>` + strings.Repeat(`<Attribute Name="a"/>`, 10_000)}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			document := edit(t, good, test.edits...)
			if test.code == "" {
				refused(t, document, expectations(i), sp.CodeXMLLimit)
				return
			}
			refused(t, i.signAssertion(t, document), expectations(i), test.code)
		})
	}
	refused(t, good+strings.Repeat(" ", sp.MaxResponseBytes), expectations(i), sp.CodeTooLarge)
	refused(t, "", expectations(i), sp.CodeXMLMalformed)
}

// A key of a kind that never signs assertions is no reason to panic.
func TestVerifyWithAnOddTrustedKey(t *testing.T) {
	i := validIDP(t, idpKey())
	odd := idp{certificate: &x509.Certificate{PublicKey: "no key", NotAfter: now.AddDate(1, 0, 0)}}
	huge := idp{certificate: &x509.Certificate{PublicKey: &rsa.PublicKey{N: big.NewInt(0), E: 1}, NotAfter: now.AddDate(1, 0, 0)}}
	_, err := sp.Verify([]byte(i.signAssertion(t, good)), expectations(odd, huge, i))
	assert.NoError(t, err)
}
