package sp_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"cequence.cloud/saml-operator/internal/gateway/sp"
)

// The fuzz targets take the fixed keys of the corpus, since each worker is a
// process of its own.

// FuzzVerify looks for panics, and for anything that is accepted but does not
// say what the IdP has signed.
func FuzzVerify(f *testing.F) {
	want := corpusExpectations(f)
	var users []string
	for _, c := range corpusCases(f) {
		if response, err := sp.DecodeResponse(c.Form); err == nil && len(response) < 32<<10 {
			f.Add(response)
		}
		if c.Expected == "accept" {
			users = append(users, c.NameID)
		}
	}
	f.Fuzz(func(t *testing.T, response []byte) {
		before := bytes.Clone(response)
		got, err := sp.Verify(response, want)
		assert.True(t, bytes.Equal(before, response), "the input is only read")
		if err != nil {
			assert.Nil(t, got)
			assert.NotEqual(t, sp.CodeInternal, sp.CodeOf(err))
			return
		}
		assert.True(t, slices.Contains(users, got.NameID.Value), got.NameID.Value)
	})
}

// FuzzDecrypt puts the input where only the ciphertext protects it: nobody
// has signed it, so nothing of it may be accepted.
func FuzzDecrypt(f *testing.F) {
	want := corpusExpectations(f)
	key := &want.DecryptionKeys[0].PublicKey
	document := edit(f, good, idpID, want.IDPEntityID, acsURL, want.ACSURL, request, want.RequestIDs[0], "2026-11-24", "2026-01-15")
	assertion := assertionOf(document)
	f.Add([]byte(assertion), true)
	f.Add([]byte("<!-- -->"), false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, plaintext []byte, gcm bool) {
		e := encryption{key: key}
		if gcm {
			e.cipher = "http://www.w3.org/2009/xmlenc11#aes128-gcm"
		}
		got, err := sp.Verify([]byte(edit(t, document, assertion, encrypted(t, string(plaintext), e))), want)
		assert.Nil(t, got)
		assert.NotEqual(t, sp.CodeInternal, sp.CodeOf(err))
	})
}
