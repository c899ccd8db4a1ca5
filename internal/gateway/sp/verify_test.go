package sp_test

import (
	"crypto/rsa"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/sp"
)

// refused verifies a Response that must be refused with that code.
func refused(t *testing.T, document string, want sp.Expectations, code sp.Code) {
	t.Helper()
	assert.NotNil(t, refusalOf(t, document, want, code))
}

func refusalOf(t *testing.T, document string, want sp.Expectations, code sp.Code) *sp.Error {
	t.Helper()
	got, err := sp.Verify([]byte(document), want)
	require.Nil(t, got)
	var refusal *sp.Error
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, code, refusal.Code, "%v", err)
	return refusal
}

func TestVerifyReadsTheAssertion(t *testing.T) {
	i := validIDP(t, idpKey())
	got, err := sp.Verify([]byte(i.signAssertion(t, good)), expectations(i))
	require.NoError(t, err)
	assert.Equal(t, &sp.Assertion{
		ID: "_assertion", ResponseID: "_response", InResponseTo: request, Issuer: idpID,
		NameID:               sp.NameID{Value: "alice@acme.example", Format: "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"},
		IssueInstant:         time.Date(2026, 11, 24, 12, 0, 0, 123e6, time.UTC),
		NotOnOrAfter:         time.Date(2026, 11, 24, 12, 8, 0, 123e6, time.UTC),
		SessionIndex:         "_session",
		AuthnInstant:         time.Date(2026, 11, 24, 11, 59, 58, 0, time.UTC),
		SessionNotOnOrAfter:  time.Date(2026, 11, 24, 20, 0, 0, 0, time.UTC),
		AuthnContextClassRef: "urn:oasis:names:tc:SAML:2.0:ac:classes:Password",
		Attributes: []sp.Attribute{
			{Name: "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress", Values: []string{"alice@acme.example"}},
			{Name: "Group", NameFormat: "urn:oasis:names:tc:SAML:2.0:attrname-format:basic", FriendlyName: "groups", Values: []string{"staff", "on-call"}},
		},
		SigningCertificate: i.certificate,
	}, got)
}

// The three signing options of Entra ID (E15), by each of several keys, with
// KeyInfo in every form that IdPs use.
func TestVerifyAcceptsEverySigningOption(t *testing.T) {
	none, empty := "", `<ds:KeyInfo><ds:KeyName>key</ds:KeyName></ds:KeyInfo>`
	first, second := validIDP(t, idpKey()), validIDP(t, idpKey2())
	for _, keyInfo := range []*string{nil, &none, &empty} {
		for _, signer := range []idp{first, second} {
			s := signing{keyInfo: keyInfo}
			signedAssertion := signer.sign(t, good, "_assertion", s)
			for _, document := range []string{
				signedAssertion,
				signer.sign(t, good, "_response", s),
				signer.sign(t, signedAssertion, "_response", s),
			} {
				got, err := sp.Verify([]byte(document), expectations(first, second))
				require.NoError(t, err)
				assert.Same(t, signer.certificate, got.SigningCertificate)
			}
		}
	}
}

func TestVerifyPrefersTheAssertionsOwnSigner(t *testing.T) {
	inner, outer := validIDP(t, idpKey()), validIDP(t, idpKey2())
	got, err := sp.Verify([]byte(outer.signResponse(t, inner.signAssertion(t, good))), expectations(outer, inner))
	require.NoError(t, err)
	assert.Same(t, inner.certificate, got.SigningCertificate)
}

func TestVerifyRefusesOneBadSignatureOfTwo(t *testing.T) {
	i, attacker := validIDP(t, idpKey()), validIDP(t, attackerKey())
	refused(t, i.signResponse(t, attacker.signAssertion(t, good)), expectations(i), sp.CodeUnknownSigningKey)
	refused(t, attacker.signResponse(t, i.signAssertion(t, good)), expectations(i), sp.CodeUnknownSigningKey)
}

// What honest IdPs do differently from one another.
func TestVerifyAcceptsHonestVariants(t *testing.T) {
	tests := map[string][]string{
		"no Destination while only the assertion is signed": {` Destination="https://acme.s.example.test/saml/acs"`, ""},
		"no Issuer of the Response":                         {`<Issuer xmlns="urn:oasis:names:tc:SAML:2.0:assertion">https://idp.example.test/</Issuer>`, ""},
		"Issuer with the entity format":                     {`<Issuer>`, `<Issuer Format="urn:oasis:names:tc:SAML:2.0:nameid-format:entity">`},
		"several audiences, ours first":                     {`</Audience>`, `</Audience><Audience>https://other.example/</Audience>`},
		"several audiences, ours last":                      {`<Audience>`, `<Audience>https://other.example/</Audience><Audience>`},
		"two restrictions that both name us":                {`<AudienceRestriction>`, `<AudienceRestriction><Audience>` + entityID + `</Audience></AudienceRestriction><AudienceRestriction>`},
		"one-time use and proxy restriction":                {`<AudienceRestriction>`, `<OneTimeUse/><ProxyRestriction Count="0"/><AudienceRestriction>`},
		"no NotBefore":                                      {`NotBefore="2026-11-24T11:55:00Z" `, ""},
		"no NotOnOrAfter of the conditions":                 {` NotOnOrAfter="2026-11-24T13:05:00Z"`, ""},
		"holder-of-key beside bearer":                       {`<SubjectConfirmation `, `<SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"/><SubjectConfirmation `},
		"a foreign bearer confirmation beside ours":         {`<SubjectConfirmation `, `<SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><SubjectConfirmationData Recipient="https://other.example/"/></SubjectConfirmation><SubjectConfirmation `},
		"times with an offset":                              {`NotBefore="2026-11-24T11:55:00Z"`, `NotBefore="2026-11-24T12:55:00+01:00"`},
		"times without a zone":                              {`NotBefore="2026-11-24T11:55:00Z"`, `NotBefore="2026-11-24T11:55:00"`, `IssueInstant="2026-11-24T12:00:00.123Z" Version`, `IssueInstant="2026-11-24T12:00:00.123" Version`},
		"white space around the audience":                   {`<Audience>` + entityID, "<Audience>\r\n\t " + entityID + " \n"},
		"white space and comments between elements":         {`<Subject>`, "\r\n  <!-- subject -->\r\n<Subject>"},
		"Extensions and Advice":                             {`<samlp:Status>`, `<samlp:Extensions><x xmlns="urn:x">y</x></samlp:Extensions><samlp:Status>`, `<AttributeStatement>`, `<Advice><x xmlns="urn:x">y</x></Advice><AttributeStatement>`},
		"typed values":                                      {`<AttributeValue>staff`, `<AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">staff`},
		"CDATA":                                             {`>staff<`, `><![CDATA[staff]]><`},
		"no SessionIndex":                                   {` SessionIndex="_session"`, ""},
		"no attributes":                                     {good[strings.Index(good, "<AttributeStatement>"):strings.Index(good, "<AuthnStatement")], ""},
		"old session at the IdP":                            {`AuthnInstant="2026-11-24T11:59:58Z"`, `AuthnInstant="2026-11-23T11:59:58Z"`},
	}
	i := validIDP(t, idpKey())
	for name, edits := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := sp.Verify([]byte(i.signAssertion(t, edit(t, good, edits...))), expectations(i))
			require.NoError(t, err)
			assert.Equal(t, "alice@acme.example", got.NameID.Value)
		})
	}
}

// A Subject may be described by attributes alone [SAMLCore 2.4.1].
func TestVerifyReadsASubjectWithoutNameID(t *testing.T) {
	i := validIDP(t, idpKey())
	nameID := good[strings.Index(good, "<NameID "):strings.Index(good, "<SubjectConfirmation ")]
	got, err := sp.Verify([]byte(i.signAssertion(t, edit(t, good, nameID, ""))), expectations(i))
	require.NoError(t, err)
	assert.Zero(t, got.NameID)
	assert.NotEmpty(t, got.Attributes)
}

func TestE13_AuthnContext(t *testing.T) {
	const password, mfa = "urn:oasis:names:tc:SAML:2.0:ac:classes:Password", "https://refeds.org/profile/mfa"
	const class = `<AuthnContextClassRef>` + password + `</AuthnContextClassRef>`
	i := validIDP(t, idpKey())
	document := func(statement string) string { return i.signAssertion(t, edit(t, good, class, statement)) }
	want := expectations(i)
	want.AuthnContextClassRefs = []string{mfa, password}
	for _, statement := range []string{class, `<AuthnContextClassRef>` + mfa + `</AuthnContextClassRef>`, "<AuthnContextClassRef>\n" + password + "\n</AuthnContextClassRef>"} {
		_, err := sp.Verify([]byte(document(statement)), want)
		require.NoError(t, err)
	}

	want.AuthnContextClassRefs = []string{mfa}
	second := `</AuthnContext></AuthnStatement><AuthnStatement AuthnInstant="2026-11-24T11:59:58Z"><AuthnContext>`
	satisfied := `<AuthnContextClassRef>` + mfa + `</AuthnContextClassRef>`
	for _, statement := range []string{
		class, ``, `<AuthnContextClassRef/>`, class + satisfied, satisfied + second + class, class + second + satisfied,
		`<AuthnContextDeclRef>` + mfa + `</AuthnContextDeclRef>`, `<AuthnContextClassRef>` + mfa + `/</AuthnContextClassRef>`,
		`<AuthnContextClassRef><x xmlns="urn:x">` + mfa + `</x></AuthnContextClassRef>`,
	} {
		refused(t, document(statement), want, sp.CodeAuthnContextMismatch)
	}
}

func TestVerifyRefusesAPlainAssertionWhereItIsToBeEncrypted(t *testing.T) {
	i := validIDP(t, idpKey())
	want := expectations(i)
	want.WantEncrypted, want.DecryptionKeys = true, []*rsa.PrivateKey{spKey()}
	signed := i.signAssertion(t, good)
	refused(t, signed, want, sp.CodeNotEncrypted)
	refused(t, i.signResponse(t, signed), want, sp.CodeNotEncrypted)
	refused(t, edit(t, encrypt(t, signed, encryption{}), `</samlp:Response>`, assertionOf(signed)+`</samlp:Response>`), want, sp.CodeAssertionCount)
	_, err := sp.Verify([]byte(encrypt(t, signed, encryption{})), want)
	require.NoError(t, err)
}

// The zone of the machine must not count.
func TestVerifyReadsTimesWithoutAZoneAsUTC(t *testing.T) {
	local := time.Local
	t.Cleanup(func() { time.Local = local })
	time.Local = time.FixedZone("far away", 9*3600)
	i := validIDP(t, idpKey())
	got, err := sp.Verify([]byte(i.signAssertion(t, edit(t, good, `SessionNotOnOrAfter="2026-11-24T20:00:00Z"`, `SessionNotOnOrAfter="2026-11-24T20:00:00"`))), expectations(i))
	require.NoError(t, err)
	assert.Equal(t, time.Date(2026, 11, 24, 20, 0, 0, 0, time.UTC), got.SessionNotOnOrAfter)
}

func TestVerifyReadsStructuredAndOddValues(t *testing.T) {
	i := validIDP(t, idpKey())
	document := edit(t, good, `<AttributeValue>staff</AttributeValue>`,
		`<AttributeValue> two  spaces </AttributeValue><AttributeValue/><AttributeValue>
			<NameID NameQualifier="q">opaque</NameID>
		</AttributeValue>`)
	got, err := sp.Verify([]byte(i.signAssertion(t, document)), expectations(i))
	require.NoError(t, err)
	assert.Equal(t, []string{" two  spaces ", "", "opaque", "on-call"}, got.Attributes[1].Values)
}

// Microsoft's gallery requires that an expired certificate is refused (E9).
func TestE9_ExpiredSigningCertificate(t *testing.T) {
	expired := newIDP(t, idpKey(), now.AddDate(-3, 0, 0), now.Add(-time.Second))
	early := newIDP(t, idpKey(), now.AddDate(0, 0, 1), now.AddDate(3, 0, 0))
	renewed := validIDP(t, idpKey())
	refused(t, expired.signAssertion(t, good), expectations(expired), sp.CodeCertificateExpired)
	refused(t, expired.signResponse(t, good), expectations(expired), sp.CodeCertificateExpired)
	refused(t, early.signAssertion(t, good), expectations(early), sp.CodeCertificateNotYetValid)

	// A renewed certificate of the same key counts, whichever KeyInfo names.
	got, err := sp.Verify([]byte(expired.signAssertion(t, good)), expectations(expired, renewed))
	require.NoError(t, err)
	assert.Same(t, renewed.certificate, got.SigningCertificate)
}

// Entra ID goes on signing with an expired certificate (E9): a tenant may ask
// for that to be accepted, and for nothing else.
func TestE9_AcceptedExpiredSigningCertificate(t *testing.T) {
	expired := newIDP(t, idpKey(), now.AddDate(-3, 0, 0), now.Add(-time.Second))
	early := newIDP(t, idpKey(), now.AddDate(0, 0, 1), now.AddDate(3, 0, 0))
	accepting := func(idps ...idp) sp.Expectations {
		want := expectations(idps...)
		want.AcceptExpired = true
		return want
	}
	for name, document := range map[string]string{"assertion": expired.signAssertion(t, good), "response": expired.signResponse(t, good)} {
		got, err := sp.Verify([]byte(document), accepting(expired))
		require.NoError(t, err, name)
		assert.Same(t, expired.certificate, got.SigningCertificate, name)
	}
	renewed := validIDP(t, idpKey())
	got, err := sp.Verify([]byte(expired.signAssertion(t, good)), accepting(expired, renewed))
	require.NoError(t, err)
	assert.Same(t, renewed.certificate, got.SigningCertificate, "a valid one comes first")

	refused(t, early.signAssertion(t, good), accepting(early), sp.CodeCertificateNotYetValid)
	stranger := newIDP(t, idpKey2(), now.AddDate(-3, 0, 0), now.Add(-time.Second))
	refused(t, stranger.signAssertion(t, good), accepting(expired), sp.CodeUnknownSigningKey)
	tampered := strings.Replace(expired.signAssertion(t, good), "alice@acme.example", "admin@acme.example", 1)
	refused(t, tampered, accepting(expired), sp.CodeSignatureInvalid)
}

func TestVerifyNeedsItsExpectations(t *testing.T) {
	i := validIDP(t, idpKey())
	document := i.signAssertion(t, edit(t, good, "https://idp.example.test/<", "<"))
	for _, empty := range []func(*sp.Expectations){
		func(want *sp.Expectations) { want.IDPEntityID = "" },
		func(want *sp.Expectations) { want.EntityID = "" },
		func(want *sp.Expectations) { want.ACSURL = "" },
	} {
		want := expectations(i)
		empty(&want)
		refused(t, document, want, sp.CodeInternal)
	}
}

func TestDecodeResponse(t *testing.T) {
	form := base64.StdEncoding.EncodeToString([]byte(good))
	got, err := sp.DecodeResponse(form[:76] + "\r\n" + form[76:152] + "\n" + form[152:] + "\r\n")
	require.NoError(t, err)
	assert.Equal(t, good, string(got))

	for form, code := range map[string]sp.Code{
		"":                  sp.CodeEncodingInvalid,
		"\r\n":              sp.CodeEncodingInvalid,
		"<samlp:Response/>": sp.CodeEncodingInvalid,
		"PGE_Pg==":          sp.CodeEncodingInvalid,
		"PGEvPg":            sp.CodeEncodingInvalid,
		"PGEvPh==":          sp.CodeEncodingInvalid,
		base64.StdEncoding.EncodeToString(make([]byte, sp.MaxResponseBytes+1)): sp.CodeTooLarge,
		strings.Repeat("\n", 2*sp.MaxResponseBytes+1):                          sp.CodeTooLarge,
	} {
		got, err := sp.DecodeResponse(form)
		assert.Nil(t, got)
		assert.Equal(t, code, sp.CodeOf(err))
	}
	_, err = sp.DecodeResponse(base64.StdEncoding.EncodeToString(make([]byte, sp.MaxResponseBytes)))
	assert.NoError(t, err)
}

func TestCodeOf(t *testing.T) {
	assert.Empty(t, sp.CodeOf(nil))
	assert.Equal(t, sp.CodeInternal, sp.CodeOf(assert.AnError))
}

func TestDecryptMatrix(t *testing.T) {
	const xenc, xenc11 = "http://www.w3.org/2001/04/xmlenc#", "http://www.w3.org/2009/xmlenc11#"
	ciphers := []string{xenc + "aes128-cbc", xenc + "aes192-cbc", xenc + "aes256-cbc", xenc11 + "aes128-gcm", xenc11 + "aes192-gcm", xenc11 + "aes256-gcm"}
	const sha1URI = "http://www.w3.org/2000/09/xmldsig#sha1"
	transports := []encryption{
		{},
		{digest: sha1URI},
		{digest: sha256URI},
		{label: "label"},
		{sibling: true},
		{oaep: xenc11 + "rsa-oaep"},
		{oaep: xenc11 + "rsa-oaep", digest: sha256URI},
		{oaep: xenc11 + "rsa-oaep", mask: xenc11 + "mgf1sha256"},
		{oaep: xenc11 + "rsa-oaep", digest: sha256URI, mask: xenc11 + "mgf1sha256"},
		{oaep: xenc11 + "rsa-oaep", digest: sha256URI, mask: xenc11 + "mgf1sha1"},
	}
	i := validIDP(t, idpKey())
	want := expectations(i)
	want.DecryptionKeys = []*rsa.PrivateKey{spKey2(), spKey()} // amid a rollover
	signed := i.signAssertion(t, good)
	for _, cipher := range ciphers {
		for _, e := range transports {
			e.cipher = cipher
			got, err := sp.Verify([]byte(encrypt(t, signed, e)), want)
			require.NoError(t, err, "%+v", e)
			assert.Equal(t, "alice@acme.example", got.NameID.Value)
		}
	}

	for _, e := range []encryption{
		{oaep: xenc + "rsa-1_5"},
		{oaep: xenc11 + "rsa-oaep", mask: xenc11 + "mgf1md5"},
		{mask: xenc11 + "mgf1sha1"}, // no parameter of rsa-oaep-mgf1p
		{digest: "http://www.w3.org/2001/04/xmldsig-more#md5"},
		{cipher: xenc + "tripledes-cbc#256"},
		{key: &attackerKey().PublicKey},
	} {
		refused(t, encrypt(t, signed, e), want, sp.CodeDecryptionFailed)
	}
	// The key must be as long as the algorithm says.
	refused(t, edit(t, encrypt(t, signed, encryption{cipher: xenc + "aes128-cbc"}), "aes128-cbc", "aes256-cbc"), want, sp.CodeDecryptionFailed)
	want.DecryptionKeys = nil
	refused(t, encrypt(t, signed, encryption{}), want, sp.CodeDecryptionFailed)
}

// An assertion may rely on namespaces that the Response declares.
func TestDecryptInContext(t *testing.T) {
	i := validIDP(t, idpKey())
	want := expectations(i)
	want.DecryptionKeys = []*rsa.PrivateKey{spKey()}
	signed := i.signAssertion(t, edit(t, good, `<samlp:Response `, `<samlp:Response xmlns:xs="urn:xs" `, `<AttributeValue>staff`, `<AttributeValue xs:x="y">staff`))
	_, err := sp.Verify([]byte(encrypt(t, signed, encryption{})), want)
	assert.NoError(t, err)
}
