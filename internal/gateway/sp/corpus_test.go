package sp_test

import (
	"bufio"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/sp"
)

// corpusCase is a line of testdata/corpus.jsonl.
type corpusCase struct {
	Name     string `json:"name"`
	Form     string `json:"saml_response_base64"`
	Expected string `json:"expected"`

	// What an accepted response must say.
	NameID     string              `json:"expect_nameid"`
	Attributes map[string][]string `json:"expect_attrs"`
	// What no response may say.
	Forbidden []string `json:"forbid"`
}

func corpusCases(t testing.TB) []corpusCase {
	t.Helper()
	file, err := os.Open("testdata/corpus.jsonl")
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	var cases []corpusCase
	for decoder := json.NewDecoder(bufio.NewReader(file)); decoder.More(); {
		var c corpusCase
		require.NoError(t, decoder.Decode(&c))
		cases = append(cases, c)
	}
	return cases
}

func corpusExpectations(t testing.TB) sp.Expectations {
	t.Helper()
	return sp.Expectations{
		EntityID:            "https://gateway.example.test/t/acme/saml/metadata",
		ACSURL:              "https://gateway.example.test/t/acme/saml/acs",
		IDPEntityID:         "https://idp.example.test/metadata",
		SigningCertificates: []*x509.Certificate{corpusCertificate(t)},
		RequestIDs:          []string{"id-0123456789abcdef0123456789abcdef01234567"},
		Now:                 time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC),
		ClockSkew:           sp.DefaultClockSkew,
		DecryptionKeys:      []*rsa.PrivateKey{privateKey(t, "testdata/sp-test.key")},
	}
}

func corpusCertificate(t testing.TB) *x509.Certificate {
	t.Helper()
	document, err := os.ReadFile("testdata/idp-metadata.xml")
	require.NoError(t, err)
	var metadata struct {
		Certificate string `xml:"IDPSSODescriptor>KeyDescriptor>KeyInfo>X509Data>X509Certificate"`
	}
	require.NoError(t, xml.Unmarshal(document, &metadata))
	raw, err := base64.StdEncoding.DecodeString(metadata.Certificate)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(raw)
	require.NoError(t, err)
	return certificate
}

func privateKey(t testing.TB, path string) *rsa.PrivateKey {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	block, _ := pem.Decode(text)
	require.NotNil(t, block)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	return key.(*rsa.PrivateKey)
}

// verifyForm is what the ACS does with a form value.
func verifyForm(form string, want sp.Expectations) (*sp.Assertion, error) {
	response, err := sp.DecodeResponse(form)
	if err != nil {
		return nil, err
	}
	return sp.Verify(response, want)
}

func values(a *sp.Assertion) map[string][]string {
	all := map[string][]string{}
	for _, attribute := range a.Attributes {
		all[attribute.Name] = append(all[attribute.Name], attribute.Values...)
	}
	return all
}

// codes are the refusals of the corpus: an attack must be refused for what it
// is, not by accident.
var codes = map[string]sp.Code{
	"xsw1":                              sp.CodeAssertionCount,
	"xsw2":                              sp.CodeAssertionCount,
	"xsw3":                              sp.CodeAssertionCount,
	"xsw4":                              sp.CodeAssertionCount,
	"xsw5":                              sp.CodeAssertionCount,
	"xsw6":                              sp.CodeAssertionCount,
	"xsw7":                              sp.CodeAssertionCount,
	"xsw8":                              sp.CodeAssertionCount,
	"unsigned":                          sp.CodeSignatureMissing,
	"unsigned-original":                 sp.CodeSignatureMissing,
	"tampered-nameid":                   sp.CodeSignatureInvalid,
	"tampered-attribute":                sp.CodeSignatureInvalid,
	"tampered-response-signed":          sp.CodeSignatureInvalid,
	"tampered-signaturevalue":           sp.CodeSignatureInvalid,
	"alg-rsa-sha1":                      sp.CodeAlgorithmNotAllowed,
	"alg-hmac-sha256-cert-pem":          sp.CodeAlgorithmNotAllowed,
	"alg-none":                          sp.CodeAlgorithmNotAllowed,
	"alg-rsa-md5":                       sp.CodeAlgorithmNotAllowed,
	"key-attacker-own-cert":             sp.CodeUnknownSigningKey,
	"key-attacker-same-subject":         sp.CodeUnknownSigningKey,
	"key-attacker-with-real-cert":       sp.CodeSignatureInvalid,
	"key-two-certs-attacker-first":      sp.CodeSignatureInvalid,
	"sig-over-other-element":            sp.CodeSignatureStructure,
	"sig-reference-http":                sp.CodeSignatureStructure,
	"sig-two-references-digest-in-last": sp.CodeSignatureStructure,
	"sig-transform-xslt":                sp.CodeSignatureStructure,
	"sig-transform-xpath":               sp.CodeSignatureStructure,
	"sig-void-canonicalization":         sp.CodeSignatureInvalid,
	"sig-two-signedinfo-evil-first":     sp.CodeSignatureStructure,
	"sig-digestvalue-comment":           sp.CodeXMLForbidden,
	"sig-digestvalue-smuggled":          sp.CodeSignatureInvalid,
	"comment-in-nameid":                 sp.CodeXMLForbidden,
	"comment-in-attribute":              sp.CodeXMLForbidden,
	"comment-in-audience":               sp.CodeXMLForbidden,
	"two-assertions-both-signed":        sp.CodeAssertionCount,
	"two-assertions-unsigned-first":     sp.CodeAssertionCount,
	"duplicate-id-two-assertions":       sp.CodeXMLForbidden,
	"no-assertion":                      sp.CodeAssertionCount,
	"root-is-assertion":                 sp.CodeStructureInvalid,
	"cond-expired":                      sp.CodeExpired,
	"cond-notbefore-far-future":         sp.CodeNotYetValid,
	"cond-missing":                      sp.CodeConditionsMissing,
	"aud-missing":                       sp.CodeAudienceMissing,
	"aud-other":                         sp.CodeAudienceMismatch,
	"aud-two-restrictions-one-other":    sp.CodeAudienceMismatch,
	"scd-recipient-other":               sp.CodeRecipientMismatch,
	"scd-recipient-missing":             sp.CodeRecipientMismatch,
	"scd-inresponseto-wrong":            sp.CodeConfirmationInResponseTo,
	"scd-expired":                       sp.CodeConfirmationExpired,
	"scd-missing":                       sp.CodeConfirmationMissing,
	"sc-missing":                        sp.CodeConfirmationMissing,
	"subject-missing":                   sp.CodeSubjectMissing,
	"dest-other":                        sp.CodeDestinationMismatch,
	"irt-wrong":                         sp.CodeInResponseToMismatch,
	"irt-missing-everywhere":            sp.CodeUnsolicited,
	"issuer-other-assertion":            sp.CodeIssuerMismatch,
	"status-responder":                  sp.CodeStatusNotSuccess,
	"status-error-no-assertion":         sp.CodeStatusNotSuccess,
	"nameid-empty":                      sp.CodeNameIDMissing,
	"form-empty":                        sp.CodeEncodingInvalid,
	"form-not-base64":                   sp.CodeEncodingInvalid,
	"form-deflate":                      sp.CodeXMLForbidden,
	"dtd-internal-entity":               sp.CodeXMLForbidden,
	"dtd-billion-laughs":                sp.CodeXMLForbidden,
	"dtd-xxe-file":                      sp.CodeXMLForbidden,
	"dos-depth-100k-unsigned":           sp.CodeTooLarge,
	"dos-attributes-50k":                sp.CodeTooLarge,
	"enc-rsa-1_5":                       sp.CodeDecryptionFailed,
	"enc-unsigned-inside":               sp.CodeDecryptionFailed,
	"enc-unsigned-plus-signed-plain":    sp.CodeAssertionCount,
	"enc-other-recipient":               sp.CodeDecryptionFailed,
	"enc-gcm-too-short":                 sp.CodeDecryptionFailed,
	"enc-gcm-tampered":                  sp.CodeDecryptionFailed,
	"enc-cbc-not-full-blocks":           sp.CodeDecryptionFailed,
	"enc-plaintext-comment":             sp.CodeDecryptionFailed,
}

func TestCorpus(t *testing.T) {
	cases := corpusCases(t)
	require.Len(t, cases, 93)
	want := corpusExpectations(t)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			got, err := verifyForm(c.Form, want)
			if c.Expected == "reject" {
				require.Nil(t, got)
				assert.Equal(t, codes[c.Name], sp.CodeOf(err), "%v", err)
				for _, value := range c.Forbidden {
					assert.NotContains(t, err.Error(), value)
				}
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.NameID, got.NameID.Value)
			for name, expected := range c.Attributes {
				assert.Equal(t, expected, values(got)[name])
			}
			for _, value := range c.Forbidden {
				assert.NotEqual(t, value, got.NameID.Value)
				for _, have := range values(got) {
					assert.False(t, slices.Contains(have, value))
				}
			}
		})
	}
}
