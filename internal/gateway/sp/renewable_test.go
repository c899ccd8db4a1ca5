package sp_test

import (
	"crypto/rsa"
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/assert"

	"cequence.cloud/saml-operator/internal/gateway/sp"
)

// The gateway waits for what is renewable, and causes a fetch, so only an answer
// that fits in every other way is.
func TestOnlyASignatureByAnUnknownKeyIsRenewable(t *testing.T) {
	i, unknown := validIDP(t, idpKey()), validIDP(t, attackerKey())
	expired := newIDP(t, idpKey2(), now.AddDate(-3, 0, 0), now.AddDate(0, 0, -1))
	want := expectations(i, expired)
	want.DecryptionKeys = []*rsa.PrivateKey{spKey()}
	trusted := `<ds:KeyInfo><ds:X509Data><ds:X509Certificate>` + base64.StdEncoding.EncodeToString(i.certificate.Raw) + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo>`
	otherRequest := edit(t, good, `" InResponseTo="id-5f1d0f3a">`, `" InResponseTo="id-6f1d0f3a">`)
	otherIssuer := edit(t, good, `<Issuer>`+idpID, `<Issuer>https://other.example.test/`)
	for name, c := range map[string]struct {
		document  string
		code      sp.Code
		renewable bool
	}{
		"assertion":           {unknown.signAssertion(t, good), sp.CodeUnknownSigningKey, true},
		"Response":            {unknown.signResponse(t, good), sp.CodeUnknownSigningKey, true},
		"both":                {unknown.signResponse(t, unknown.signAssertion(t, good)), sp.CodeUnknownSigningKey, true},
		"one of both":         {i.signResponse(t, unknown.signAssertion(t, good)), sp.CodeUnknownSigningKey, true},
		"encrypted assertion": {encrypt(t, unknown.signAssertion(t, good), encryption{}), sp.CodeUnknownSigningKey, true},

		"assertion for another request":           {unknown.signAssertion(t, otherRequest), sp.CodeInResponseToMismatch, false},
		"Response for another request":            {unknown.signResponse(t, otherRequest), sp.CodeInResponseToMismatch, false},
		"assertion of another IdP":                {unknown.signAssertion(t, otherIssuer), sp.CodeIssuerMismatch, false},
		"Response for another place":              {unknown.signResponse(t, edit(t, good, `Destination="`+acsURL, `Destination="https://other.example.test/`)), sp.CodeDestinationMismatch, false},
		"Response for no place":                   {unknown.signResponse(t, edit(t, good, ` Destination="`+acsURL+`"`, "")), sp.CodeDestinationMissing, false},
		"old Response":                            {unknown.signResponse(t, edit(t, good, `Version="2.0" IssueInstant="2026-11-24T12:00`, `Version="2.0" IssueInstant="2026-11-24T11:00`)), sp.CodeIssueInstantInvalid, false},
		"assertion that was changed":              {edit(t, unknown.signAssertion(t, good), "alice@", "bob@"), sp.CodeSignatureInvalid, false},
		"assertion that names a key it is not by": {unknown.sign(t, good, "_assertion", signing{keyInfo: &trusted}), sp.CodeSignatureInvalid, false},
		"unsigned":            {good, sp.CodeSignatureMissing, false},
		"expired certificate": {expired.signAssertion(t, good), sp.CodeCertificateExpired, false},
	} {
		refusal := refusalOf(t, c.document, want, c.code)
		assert.Equal(t, c.renewable, refusal.Renewable, name)
	}
}

// Whoever has intercepted an encrypted assertion and sends variants of it must
// not see which of them decrypt: not by a code, and not by a wait.
func TestEveryRefusalOfAnEncryptedAssertionIsRenewable(t *testing.T) {
	i := validIDP(t, idpKey())
	expired := newIDP(t, idpKey2(), now.AddDate(-3, 0, 0), now.AddDate(0, 0, -1))
	want := expectations(i, expired)
	want.DecryptionKeys = []*rsa.PrivateKey{spKey()}
	signed := i.signAssertion(t, good)
	for name, c := range map[string]struct {
		document string
		code     sp.Code
	}{
		"damaged": {encrypt(t, signed, encryption{tamper: func(ciphertext []byte) []byte {
			ciphertext[100] ^= 1
			return ciphertext
		}}), sp.CodeDecryptionFailed},
		"for another key":     {encrypt(t, signed, encryption{key: &attackerKey().PublicKey}), sp.CodeDecryptionFailed},
		"not signed":          {encrypt(t, good, encryption{}), sp.CodeDecryptionFailed},
		"expired certificate": {encrypt(t, expired.signAssertion(t, good), encryption{}), sp.CodeCertificateExpired},
		"for another request": {encrypt(t, i.signAssertion(t, edit(t, good, `Data InResponseTo="id-5f1d0f3a"`, `Data InResponseTo="id-6f1d0f3a"`)), encryption{}), sp.CodeConfirmationInResponseTo},
		"for another service": {encrypt(t, i.signAssertion(t, edit(t, good, `<Audience>https://acme`, `<Audience>https://globex`)), encryption{}), sp.CodeAudienceMismatch},
	} {
		assert.True(t, refusalOf(t, c.document, want, c.code).Renewable, name)
	}
	// Once the Response is signed, nobody can send variants.
	refusal := refusalOf(t, i.signResponse(t, encrypt(t, signed, encryption{key: &attackerKey().PublicKey})), want, sp.CodeDecryptionFailed)
	assert.False(t, refusal.Renewable)
}
