package sp_test

import (
	"bytes"
	"crypto/rsa"
	"testing"

	"github.com/stretchr/testify/assert"

	"cequence.cloud/saml-operator/internal/gateway/sp"
)

// FuzzVerify looks for panics, and for anything that is accepted but does not
// say what the IdP has signed.
func FuzzVerify(f *testing.F) {
	i := validIDP(f, idpKey())
	want := expectations(i)
	want.DecryptionKeys = []*rsa.PrivateKey{spKey()}
	signed := i.signAssertion(f, good)
	for _, document := range []string{
		good, signed, i.signResponse(f, good), i.signResponse(f, signed),
		encrypt(f, signed, encryption{}), encrypt(f, good, encryption{}),
		"<?xml version=\"1.0\"?>\r\n" + signed,
	} {
		f.Add([]byte(document))
	}
	for _, c := range corpusCases(f) {
		if response, err := sp.DecodeResponse(c.Form); err == nil && len(response) < 32<<10 {
			f.Add(response)
		}
	}
	f.Fuzz(func(t *testing.T, response []byte) {
		before := bytes.Clone(response)
		got, err := sp.Verify(response, want)
		assert.Equal(t, before, response, "the input is only read")
		if err != nil {
			assert.Nil(t, got)
			assert.NotEqual(t, sp.CodeInternal, sp.CodeOf(err))
			return
		}
		assert.Equal(t, "_assertion", got.ID)
		assert.Equal(t, "alice@acme.example", got.NameID.Value)
		assert.Equal(t, []string{"staff", "on-call"}, got.Attributes[1].Values)
	})
}

// FuzzDecrypt puts the input where only the ciphertext protects it: nobody
// has signed it, so nothing of it may be accepted.
func FuzzDecrypt(f *testing.F) {
	i := validIDP(f, idpKey())
	want := expectations(i)
	want.DecryptionKeys = []*rsa.PrivateKey{spKey()}
	f.Add([]byte(goodAssertion), true)
	f.Add([]byte("<!-- -->"), false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, plaintext []byte, gcm bool) {
		e := encryption{}
		if gcm {
			e.cipher = "http://www.w3.org/2009/xmlenc11#aes128-gcm"
		}
		got, err := sp.Verify([]byte(edit(t, good, goodAssertion, encrypted(t, string(plaintext), e))), want)
		assert.Nil(t, got)
		assert.NotEqual(t, sp.CodeInternal, sp.CodeOf(err))
	})
}
