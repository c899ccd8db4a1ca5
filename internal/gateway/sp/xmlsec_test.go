package sp_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/xmldsig"
	"cequence.cloud/saml-operator/internal/xmltree"
)

// What xmlsec1 has signed and encrypted, we verify and decrypt.
func TestVerifyAgreesWithXMLSec(t *testing.T) {
	want := xmlsecExpectations(t)
	want.DecryptionKeys = []*rsa.PrivateKey{privateKey(t, "testdata/sp-test.key")}
	for _, name := range []string{"assertion", "response", "both-ec-rsa", "prefixlist-sha512", "encrypted-cbc", "encrypted-gcm"} {
		t.Run(name, func(t *testing.T) {
			document, err := os.ReadFile("testdata/xmlsec/" + name + ".xml")
			require.NoError(t, err)
			got, err := sp.Verify(document, want)
			require.NoError(t, err)
			assert.Equal(t, "zoë&co@acme.example", got.NameID.Value)
			assert.Equal(t, "https://sp.example/?a=1&b=\"2\"\t", got.NameID.SPNameQualifier)
			assert.Equal(t, []string{"a > b", "<漢字>"}, got.Attributes[0].Values)

			// Windows line ends are the same document, another space is not.
			_, err = sp.Verify([]byte(strings.ReplaceAll(string(document), "\n", "\r\n")), want)
			assert.NoError(t, err)
			if !strings.HasPrefix(name, "encrypted") {
				refused(t, strings.Replace(string(document), "<saml:Subject>", "<saml:Subject> ", 1), want, sp.CodeSignatureInvalid)
			}
		})
	}
}

// xmlsec is an implementation of XML signatures that has no code in common
// with ours, parser included.
type xmlsec struct {
	program   string
	directory string
}

func newXMLSec(t testing.TB) xmlsec {
	t.Helper()
	program, err := exec.LookPath("xmlsec1")
	require.NoError(t, err, "xmlsec1 is missing: `hack/install-test-packages.sh` installs it")
	return xmlsec{program, t.TempDir()}
}

// accepts holds xmlsec1 to an accepted Response: each signature in it must be
// good for xmlsec1 by a trusted key too, over the very same bytes.
func (x xmlsec) accepts(t *testing.T, document []byte, want sp.Expectations) {
	t.Helper()
	root, err := xmltree.Parse(document, treeLimits)
	require.NoError(t, err)
	const response, assertion = "/*[local-name()='Response']", "/*[local-name()='Assertion']"
	signatures := 0
	for e := range root.All() {
		if e != root && e.Parent != root {
			continue
		}
		signature, err := xmldsig.Of(e)
		require.NoError(t, err)
		if signature == nil {
			continue
		}
		signatures++
		content, err := signature.Content()
		require.NoError(t, err)
		path := response
		if e != root {
			path += assertion
		}
		by := slices.IndexFunc(want.SigningCertificates, func(c *x509.Certificate) bool { return signature.MadeBy(c.PublicKey) })
		require.NotEqual(t, -1, by)
		x.verifies(t, document, path, content, want.SigningCertificates[by])
	}
	assert.NotZero(t, signatures)
}

func (x xmlsec) verifies(t *testing.T, document []byte, path string, content []byte, certificate *x509.Certificate) {
	t.Helper()
	file := filepath.Join(x.directory, "response.xml")
	require.NoError(t, os.WriteFile(file, document, 0o600))
	key := filepath.Join(x.directory, "key.pem")
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}), 0o600))
	// Without key data of the document's own, only the given key counts.
	output, err := exec.CommandContext(t.Context(), x.program, "--verify", "--store-references", "--print-debug",
		"--pubkey-cert-pem", key, "--enabled-key-data", "rsa",
		"--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:assertion:Assertion",
		"--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:protocol:Response",
		"--node-xpath", path+"/*[local-name()='Signature']", file).CombinedOutput()
	if !assert.NoError(t, err, "we accept what xmlsec1 refuses: %s\n%s", output, document) {
		return
	}
	_, hashed, _ := bytes.Cut(output, []byte("== PreDigest data - start buffer:\n"))
	hashed, _, found := bytes.Cut(hashed, []byte("\n== PreDigest data - end buffer"))
	assert.True(t, found, "%s", output)
	assert.Equal(t, string(hashed), string(content), "%s", document)
}

// What we accept of all that may become of a signed Response, xmlsec1 accepts.
func TestXMLSecAgreesWithVerify(t *testing.T) {
	const enough = 40 // each takes a process or two
	x, all := newXMLSec(t), plainGenuines(t)
	for _, from := range all {
		x.accepts(t, []byte(from.document), from.want)
	}
	accepted := 0
	for seed := 0; accepted < enough; seed++ {
		require.Less(t, seed, 100*enough, "too few edits leave a Response good")
		from := all[seed%len(all)]
		document := []byte(mutate(from.document, script(seed, 1+seed%7)))
		if _, err := sp.Verify(document, from.want); err == nil && string(document) != from.document {
			accepted++
			x.accepts(t, document, from.want)
		}
	}
}

// plainGenuines are those that are not encrypted: xmlsec1 would have to
// decrypt with a key of its own.
func plainGenuines(t testing.TB) []genuine {
	var plain []genuine
	for _, from := range genuines(t) {
		if !strings.Contains(from.document, "EncryptedAssertion") {
			plain = append(plain, from)
		}
	}
	return plain
}

// FuzzXMLSecAgrees looks for what we accept and xmlsec1 does not.
func FuzzXMLSecAgrees(f *testing.F) {
	x, all := newXMLSec(f), plainGenuines(f)
	for n := range all {
		f.Add(uint8(n), script(n, 3))
	}
	f.Fuzz(func(t *testing.T, n uint8, script []byte) {
		from := all[int(n)%len(all)]
		document := []byte(mutate(from.document, script))
		if _, err := sp.Verify(document, from.want); err == nil {
			x.accepts(t, document, from.want)
		}
	})
}
