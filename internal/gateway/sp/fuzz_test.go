package sp_test

import (
	"bytes"
	"crypto/rsa"
	"fmt"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"

	"cequence.cloud/saml-operator/internal/gateway/sp"
)

// The fuzz targets take the fixed keys of the corpus, since each worker is a
// process of its own.

// FuzzVerify looks for panics, and for anything that is accepted but does not
// say what the IdP has signed: as an answer to a request, and where there was
// none.
func FuzzVerify(f *testing.F) {
	want, unsolicited := corpusExpectations(f), corpusExpectations(f)
	unsolicited.RequestIDs, unsolicited.AllowUnsolicited = nil, true
	var said, saidUnasked []sp.Assertion
	for _, c := range corpusCases(f) {
		response, err := sp.DecodeResponse(c.Form)
		if err != nil {
			continue
		}
		if len(response) < 32<<10 {
			f.Add(response)
		}
		// What the IdP has signed in an attack is good without what the attack added.
		for _, document := range append(alone(response), response) {
			if a, err := sp.Verify(document, want); err == nil {
				said = append(said, claims(a))
			}
			if a, err := sp.Verify(document, unsolicited); err == nil {
				saidUnasked = append(saidUnasked, claims(a))
			}
		}
	}
	f.Fuzz(func(t *testing.T, response []byte) {
		for _, mode := range []struct {
			want sp.Expectations
			said []sp.Assertion
		}{{want, said}, {unsolicited, saidUnasked}} {
			before := bytes.Clone(response)
			got, err := sp.Verify(response, mode.want)
			assert.True(t, bytes.Equal(before, response), "the input is only read")
			if err != nil {
				assert.Nil(t, got)
				assert.NotEqual(t, sp.CodeInternal, sp.CodeOf(err))
				continue
			}
			assert.Contains(t, mode.said, claims(got))
		}
	})
}

var anAssertion = regexp.MustCompile(`(?s)<(saml:)?Assertion\b.*?</(saml:)?Assertion>`)

// alone returns Responses that hold nothing but one of the assertions in a
// document: one that answers the corpus's request, and one that answers none.
func alone(document []byte) (responses [][]byte) {
	for _, assertion := range anAssertion.FindAll(document, -1) {
		for _, answer := range []string{"", ` InResponseTo="id-0123456789abcdef0123456789abcdef01234567"`} {
			responses = append(responses, fmt.Appendf(nil, `<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" `+
				`ID="_r" Version="2.0" IssueInstant="2026-01-15T12:00:00Z"%s><samlp:Status><samlp:StatusCode Value="%s"/></samlp:Status>%s</samlp:Response>`,
				answer, sp.StatusSuccess, assertion))
		}
	}
	return responses
}

// FuzzDecrypt puts the input where only the ciphertext protects it: nobody
// has signed it, so nothing of it may be accepted. The key is short, so that
// opening it is not what the time goes into.
func FuzzDecrypt(f *testing.F) {
	want := corpusExpectations(f)
	want.DecryptionKeys = []*rsa.PrivateKey{weakKey()}
	document := edit(f, good, idpID, want.IDPEntityID, acsURL, want.ACSURL, request, want.RequestIDs[0], "2026-11-24", "2026-01-15")
	assertion := assertionOf(document)
	f.Add([]byte(assertion), true)
	f.Add([]byte(validIDP(f, attackerKey()).signAssertion(f, assertion)), false)
	f.Add([]byte("<!-- -->"), false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, plaintext []byte, gcm bool) {
		e := encryption{key: &weakKey().PublicKey, fixed: true}
		if gcm {
			e.cipher = "http://www.w3.org/2009/xmlenc11#aes128-gcm"
		}
		got, err := sp.Verify([]byte(edit(t, document, assertion, encrypted(t, string(plaintext), e))), want)
		assert.Nil(t, got)
		assert.NotEqual(t, sp.CodeInternal, sp.CodeOf(err))
	})
}
