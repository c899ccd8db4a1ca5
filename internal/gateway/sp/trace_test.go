package sp_test

import (
	"crypto/rsa"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/sp"
)

// results are the checks of a trace that did not pass.
func results(trace sp.Trace) map[sp.Check]sp.Result {
	others := map[sp.Check]sp.Result{}
	for _, step := range trace.Steps {
		if step.Result != sp.ResultPassed {
			others[step.Check] = step.Result
		}
	}
	return others
}

// Explain says what Verify says, and which check has failed: a signature by a
// key that is not known never passes for one that is good, wherever else the
// verification then stops.
func TestExplain(t *testing.T) {
	i, unknown := validIDP(t, idpKey()), validIDP(t, attackerKey())
	want := expectations(i)
	want.DecryptionKeys = []*rsa.PrivateKey{spKey()}
	otherDestination := edit(t, good, `Destination="`+acsURL, `Destination="https://other.example.test/`)
	otherAudience := edit(t, good, `<Audience>https://acme`, `<Audience>https://globex`)
	otherIssuer := edit(t, good, `<Issuer>`+idpID, `<Issuer>https://other.example.test/`)
	signed := i.signAssertion(t, good)
	for name, c := range map[string]struct {
		document string
		last     sp.Check
		others   map[sp.Check]sp.Result
	}{
		"good":                  {signed, sp.CheckAttributes, map[sp.Check]sp.Result{sp.CheckResponseSignature: sp.ResultAbsent}},
		"good, signed outside":  {i.signResponse(t, good), sp.CheckAttributes, map[sp.Check]sp.Result{sp.CheckAssertionSignature: sp.ResultAbsent}},
		"no XML":                {"<", sp.CheckXML, map[sp.Check]sp.Result{sp.CheckXML: sp.ResultFailed}},
		"another audience":      {i.signAssertion(t, otherAudience), sp.CheckAudience, map[sp.Check]sp.Result{sp.CheckResponseSignature: sp.ResultAbsent, sp.CheckAudience: sp.ResultFailed}},
		"unknown key":           {unknown.signAssertion(t, good), sp.CheckAssertionSignature, map[sp.Check]sp.Result{sp.CheckResponseSignature: sp.ResultAbsent, sp.CheckAssertionSignature: sp.ResultFailed}},
		"unknown key outside":   {unknown.signResponse(t, good), sp.CheckRequest, map[sp.Check]sp.Result{sp.CheckResponseSignature: sp.ResultFailed}},
		"unknown key elsewhere": {unknown.signResponse(t, otherDestination), sp.CheckDestination, map[sp.Check]sp.Result{sp.CheckResponseSignature: sp.ResultFailed, sp.CheckDestination: sp.ResultFailed}},
		"unknown key and issuer": {unknown.signAssertion(t, otherIssuer), sp.CheckAssertionIssuer, map[sp.Check]sp.Result{
			sp.CheckResponseSignature: sp.ResultAbsent, sp.CheckAssertionSignature: sp.ResultFailed, sp.CheckAssertionIssuer: sp.ResultFailed}},
		"not signed": {good, sp.CheckAssertionSignature, map[sp.Check]sp.Result{sp.CheckResponseSignature: sp.ResultAbsent, sp.CheckAssertionSignature: sp.ResultFailed}},
	} {
		t.Run(name, func(t *testing.T) {
			assertion, trace, err := sp.Explain([]byte(c.document), want)
			_, same := sp.Verify([]byte(c.document), want)
			assert.Equal(t, sp.CodeOf(same), sp.CodeOf(err))
			assert.Equal(t, err == nil, assertion != nil)
			require.NotEmpty(t, trace.Steps)
			assert.Equal(t, c.last, trace.Steps[len(trace.Steps)-1].Check)
			assert.Equal(t, c.others, results(trace))
		})
	}
}

// The trace of an encrypted assertion tells no more than the refusal: whoever
// sends variants of one must not see which of them decrypt.
func TestTheTraceTellsNothingOfWhatIsEncrypted(t *testing.T) {
	i := validIDP(t, idpKey())
	want := expectations(i)
	want.DecryptionKeys = []*rsa.PrivateKey{spKey()}
	signed := i.signAssertion(t, good)
	var first *sp.Trace
	for _, document := range []string{
		encrypt(t, signed, encryption{tamper: func(ciphertext []byte) []byte {
			ciphertext[100] ^= 1
			return ciphertext
		}}),
		encrypt(t, signed, encryption{key: &attackerKey().PublicKey}),
		encrypt(t, good, encryption{}),
		encrypt(t, edit(t, signed, "alice@", "bob@"), encryption{}),
	} {
		_, trace, err := sp.Explain([]byte(document), want)
		require.Equal(t, sp.CodeDecryptionFailed, sp.CodeOf(err))
		if first == nil {
			first = &trace
			assert.Equal(t, sp.Step{Check: sp.CheckDecryption, Result: sp.ResultFailed}, trace.Steps[len(trace.Steps)-1])
		}
		assert.Equal(t, *first, trace)
	}
}

func TestOutline(t *testing.T) {
	i := validIDP(t, idpKey())
	o := sp.OutlineOf([]byte(i.signAssertion(t, good)))
	assert.Equal(t, acsURL, o.Destination)
	assert.Equal(t, []string{idpID}, o.Issuers)
	assert.Equal(t, []string{acsURL}, o.Recipients)
	assert.Len(t, o.Audiences, 1)
	assert.True(t, o.AssertionSigned)
	assert.False(t, o.ResponseSigned)
	require.Len(t, o.SigningCertificates, 1)
	assert.True(t, o.SigningCertificates[0].Equal(i.certificate))

	// Nothing of what is encrypted, and nothing of what is no Response.
	o = sp.OutlineOf([]byte(encrypt(t, i.signAssertion(t, good), encryption{})))
	assert.True(t, o.Encrypted)
	assert.Empty(t, o.Audiences)
	assert.Empty(t, o.Recipients)
	for _, document := range []string{"", "<", "<a/>", `<!DOCTYPE a><a/>`} {
		assert.Equal(t, sp.Outline{}, sp.OutlineOf([]byte(document)))
	}
}
