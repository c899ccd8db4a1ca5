package idpmetadata_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/idpmetadata"
)

// signer signs by goxmldsig, which shares no code with what is tested.
type signer struct {
	key         crypto.Signer
	certificate *x509.Certificate
}

var rsaKeys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var keys [2]*rsa.PrivateKey
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

// newSigner has a certificate that expired in the year 1.
func newSigner(t testing.TB, key crypto.Signer) signer {
	t.Helper()
	certificate, err := x509.ParseCertificate(certify(t, key.Public(), "signer"))
	require.NoError(t, err)
	return signer{key, certificate}
}

// pinned is the signer that the tests pin, other is anybody else.
func pinned(t testing.TB) signer { t.Helper(); return newSigner(t, rsaKeys()[0]) }
func other(t testing.TB) signer  { t.Helper(); return newSigner(t, rsaKeys()[1]) }

// sign adds a signature of the element with that ID.
func (s signer) sign(t testing.TB, document, id string, change ...func(*dsig.SigningContext)) string {
	t.Helper()
	tree := etree.NewDocument()
	require.NoError(t, tree.ReadFromString(document))
	element := tree.FindElement("//*[@ID='" + id + "']")
	require.NotNil(t, element)

	ctx, err := dsig.NewSigningContext(s.key, [][]byte{s.certificate.Raw})
	require.NoError(t, err)
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	for _, f := range change {
		f(ctx)
	}
	signature, err := ctx.ConstructSignature(element, true)
	require.NoError(t, err)
	element.InsertChildAt(0, signature)
	signed, err := tree.WriteToString()
	require.NoError(t, err)
	return signed
}

// entity is an IdP that can be accepted; its attributes declare its ID.
func entity(t testing.TB, id, entityID, attributes string) string {
	t.Helper()
	key := certificateElement(signingCertificate(t))
	return head + attributes + ` ID="` + id + `" entityID="` + entityID + `">` + role + key + httpsSSO + tail
}

const goodID, evilID = "https://good.example/", "https://evil.example/"

func entities(attributes string, content ...string) string {
	return `<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" ` + attributes + `>` + strings.Join(content, "") + `</EntitiesDescriptor>`
}

func TestAcceptSigned(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	me := pinned(t)
	good := entity(t, "_1", goodID, "")
	past, future := `validUntil="2020-01-01T00:00:00Z"`, `validUntil="2030-01-01T00:00:00Z"`
	evil := entity(t, "_2", evilID, "")

	for name, tc := range map[string]struct {
		document         string
		wanted, previous string
		signers          []signer
		until            string
		reason           idpmetadata.Reason // of the refusal
	}{
		"document": {document: me.sign(t, good, "_1")},
		"by one of several": {
			document: me.sign(t, good, "_1"),
			signers:  []signer{other(t), newSigner(t, p256), me},
		},
		"SHA-512":             {document: me.sign(t, good, "_1", method(t, crypto.SHA512, dsig.RSASHA512SignatureMethod))},
		"ECDSA":               {document: rawECDSA(t, newSigner(t, p256).sign(t, good, "_1", method(t, crypto.SHA256, dsig.ECDSASHA256SignatureMethod))), signers: []signer{newSigner(t, p256)}},
		"aggregate":           {document: me.sign(t, entities(`ID="_a"`, good), "_a")},
		"aggregate, one of":   {document: me.sign(t, entities(`ID="_a"`, good, evil), "_a"), wanted: goodID},
		"aggregate of two":    {document: me.sign(t, entities(`ID="_a"`, good, evil), "_a"), reason: idpmetadata.AmbiguousEntity},
		"nested in aggregate": {document: me.sign(t, entities(`ID="_a"`, entities("", good)), "_a")},
		"entity alone":        {document: entities("", me.sign(t, good, "_1"))},
		"entity among others": {
			document: entities("", evil, me.sign(t, good, "_1")), wanted: goodID,
		},
		"entity that was accepted before": {
			document: entities("", evil, me.sign(t, good, "_1")), previous: goodID,
		},
		"entity within somebody else's aggregate": {document: other(t).sign(t, entities(`ID="_a"`, me.sign(t, good, "_1")), "_a")},

		"limits of a covered aggregate hold": {
			document: me.sign(t, entities(`ID="_a" `+past, entities(future, good)), "_a"), reason: idpmetadata.Expired,
		},
		"and they come through": {
			document: me.sign(t, entities(`ID="_a" `+future, good), "_a"), until: "2030-01-01T00:00:00Z",
		},
		"own limits hold within an aggregate that says more": {
			document: entities(future, me.sign(t, entity(t, "_1", goodID, past), "_1")), reason: idpmetadata.Expired,
		},
		"what is not covered says nothing": {document: entities(past, me.sign(t, good, "_1"))},
		"expired":                          {document: me.sign(t, entity(t, "_1", goodID, past), "_1"), reason: idpmetadata.Expired},
		"other entity":                     {document: me.sign(t, good, "_1"), wanted: "urn:other", reason: idpmetadata.EntityIDMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := idpmetadata.Accept([]byte(tc.document), idpmetadata.Requirements{
				EntityID: tc.wanted, PreviousEntityID: tc.previous, Signers: certificates(tc.signers, me), Now: now,
			})
			if tc.reason != "" {
				assertError(t, err, tc.reason)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, goodID, d.EntityID)
			assert.Len(t, d.SigningCertificates, 1)
			if tc.until != "" {
				assert.Equal(t, tc.until, d.ValidUntil.Format(time.RFC3339))
			}
		})
	}
}

func certificates(signers []signer, standard signer) []*x509.Certificate {
	if signers == nil {
		signers = []signer{standard}
	}
	var list []*x509.Certificate
	for _, s := range signers {
		list = append(list, s.certificate)
	}
	return list
}

func method(t testing.TB, hash crypto.Hash, algorithm string) func(*dsig.SigningContext) {
	return func(ctx *dsig.SigningContext) {
		ctx.Hash = hash
		require.NoError(t, ctx.SetSignatureMethod(algorithm))
	}
}

var signatureValue = regexp.MustCompile(`<ds:SignatureValue>([^<]+)<`)

// rawECDSA writes a P-256 signature as XML Signature wants it: goxmldsig has
// it in ASN.1.
func rawECDSA(t testing.TB, document string) string {
	t.Helper()
	m := signatureValue.FindStringSubmatch(document)
	require.NotNil(t, m)
	der, err := base64.StdEncoding.DecodeString(m[1])
	require.NoError(t, err)
	var value struct{ R, S *big.Int }
	_, err = asn1.Unmarshal(der, &value)
	require.NoError(t, err)
	raw := make([]byte, 64)
	value.R.FillBytes(raw[:32])
	value.S.FillBytes(raw[32:])
	return strings.Replace(document, m[1], base64.StdEncoding.EncodeToString(raw), 1)
}

func TestO6_AcceptRefusesOtherSignatures(t *testing.T) {
	me := pinned(t)
	good, evil := entity(t, "_1", goodID, ""), entity(t, "_2", evilID, "")
	signed := me.sign(t, good, "_1")
	start, end := strings.Index(signed, "<ds:Signature "), strings.Index(signed, "</ds:Signature>")+len("</ds:Signature>")
	require.Positive(t, start)
	signature, unsigned := signed[start:end], signed[:start]+signed[end:]
	// within puts something into an entity before its role.
	within := func(entity, content string) string { return strings.Replace(entity, role, content+role, 1) }
	extensions := func(content string) string { return "<Extensions>" + content + "</Extensions>" }
	sameID := strings.Replace(evil, `"_2"`, `"_1"`, 1)

	for name, tc := range map[string]struct{ document, wanted, message string }{
		"none":                     {unsigned, "", "is not signed"},
		"by another key":           {other(t).sign(t, good, "_1"), "", "by none of the keys"},
		"by another key, both":     {other(t).sign(t, entities(`ID="_a"`, other(t).sign(t, good, "_1")), "_a"), "", "by none of the keys"},
		"of another IdP beside it": {entities("", me.sign(t, evil, "_2"), good), goodID, "is not signed"},
		"SHA-1": {
			me.sign(t, good, "_1", method(t, crypto.SHA1, dsig.RSASHA1SignatureMethod)), "", "SHA-1",
		},
		"inclusive canonicalization": {
			me.sign(t, good, "_1", func(c *dsig.SigningContext) { c.Canonicalizer = dsig.MakeC14N10RecCanonicalizer() }), "", "exclusive canonicalization",
		},
		"twice":              {strings.Replace(signed, signature, signature+signature, 1), "", "one enveloped signature"},
		"twice, other first": {other(t).sign(t, signed, "_1"), "", "one enveloped signature"},
		"changed content":    {strings.Replace(signed, "idp.example/sso", "idp.example/sos", 1), "", "changed after it was signed"},
		"changed entity ID":  {strings.Replace(signed, goodID, evilID, 1), "", "changed after it was signed"},
		"added role":         {within(signed, role+tail[:len("</IDPSSODescriptor>")]), "", "changed after it was signed"},
		"changed signature":  {strings.Replace(signed, "<ds:SignatureValue>", "<ds:SignatureValue>AAAA", 1), "", "by none of the keys"},
		"changed digest":     {strings.Replace(signed, "<ds:DigestValue>", "<ds:DigestValue>AAAA", 1), "", "by none of the keys"},
		"no reference":       {regexp.MustCompile(`<ds:Reference .*</ds:Reference>`).ReplaceAllString(signed, ""), "", "one enveloped signature"},
		"reference to all":   {strings.Replace(signed, `URI="#_1"`, `URI=""`, 1), "", "the ID of the element"},
		"no ID":              {strings.Replace(signed, `ID="_1"`, "", 1), "", "the ID of the element"},
		"instruction":        {strings.Replace(signed, role, "<?xml-stylesheet href='x'?>"+role, 1), "", "processing instructions"},
		"comment in a value": {strings.Replace(signed, role, role+"<NameIDFormat>urn:a<!-- -->b</NameIDFormat>", 1), "", "comments only between"},

		"wrapped: signed one in Extensions":             {within(evil, extensions(signed)), "", "is not signed"},
		"wrapped: signature moved out":                  {within(evil, signature+extensions(unsigned)), "", "the ID of the element"},
		"wrapped: signature moved out, same ID":         {within(sameID, signature+extensions(unsigned)), "", "plain XML in UTF-8"},
		"wrapped: signature put on another":             {within(sameID, signature), "", "changed after it was signed"},
		"wrapped: signed one in the signature":          {within(evil, strings.Replace(signature, "</ds:Signature>", "<ds:Object>"+unsigned+"</ds:Object></ds:Signature>", 1)), "", "one enveloped signature"},
		"wrapped: signature in Extensions":              {within(unsigned, extensions(signature)), "", "is not signed"},
		"wrapped: signature in the role":                {strings.Replace(unsigned, role, role+signature, 1), "", "is not signed"},
		"wrapped: sibling without signature":            {entities("", evil, signed), "", "is not signed"},
		"wrapped: sibling of the same entity ID":        {entities("", strings.Replace(evil, evilID, goodID, 1), signed), goodID, "is not signed"},
		"wrapped: sibling wanted":                       {entities("", evil, signed), evilID, "is not signed"},
		"wrapped: signature on the aggregate around it": {strings.Replace(entities(`ID="_2"`, unsigned, evil), `ID="_2">`, `ID="_2">`+signature, 1), "", "plain XML in UTF-8"},
		"wrapped: signed aggregate in another":          {entities("", me.sign(t, entities(`ID="_a"`, good), "_a")), "", "is not signed"},
		"wrapped: signed one in an unknown element":     {`<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata">` + evil + `<x:y xmlns:x="urn:x">` + signed + `</x:y></EntitiesDescriptor>`, "", "is not signed"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := idpmetadata.Accept([]byte(tc.document), idpmetadata.Requirements{EntityID: tc.wanted, Signers: certificates(nil, me), Now: now})
			assert.Nil(t, d)
			assertError(t, err, idpmetadata.SignatureInvalid)
			assert.Contains(t, err.Error(), tc.message)
		})
	}
}

// Whatever byte is changed, of which it tries every fifth, the document is refused or says what was signed.
func TestAcceptSignedChangedAnywhere(t *testing.T) {
	me := pinned(t)
	document := []byte(me.sign(t, entity(t, "_1", goodID, ""), "_1"))
	requirements := idpmetadata.Requirements{Signers: certificates(nil, me), Now: now}
	original, err := idpmetadata.Accept(document, requirements)
	require.NoError(t, err)
	for i := 0; i < len(document); i += 5 {
		before := document[i]
		document[i] ^= 1 << (i % 7)
		if d, err := idpmetadata.Accept(document, requirements); err == nil {
			require.Equal(t, original, d, "byte %d", i)
		} else {
			require.NotEmpty(t, idpmetadata.ReasonOf(err))
		}
		document[i] = before
	}
}

// The real documents that are signed, each with the certificate that it names.
func TestAcceptRealSigned(t *testing.T) {
	counts := map[string]int{}
	for _, entry := range readIndex[struct {
		File      string `json:"file"`
		Signed    bool   `json:"document_signed"`
		Algorithm string `json:"document_signature_alg"`
		Verifies  bool   `json:"document_signature_verifies"`
	}](t, "real") {
		if !entry.Signed {
			continue
		}
		t.Run(entry.File, func(t *testing.T) {
			document := readFile(t, "real", entry.File)
			tree := etree.NewDocument()
			require.NoError(t, tree.ReadFromBytes(document))
			element := tree.FindElement("/*/Signature//X509Certificate")
			require.NotNil(t, element)
			der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(element.Text()), ""))
			require.NoError(t, err)
			certificate, err := x509.ParseCertificate(der)
			require.NoError(t, err)

			long := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
			_, unpinned := idpmetadata.Accept(document, idpmetadata.Requirements{Now: long})
			_, err = idpmetadata.Accept(document, idpmetadata.Requirements{Now: long, Signers: []*x509.Certificate{certificate}})
			switch {
			case strings.HasSuffix(entry.Algorithm, "#rsa-sha1"):
				counts["SHA-1"]++
				assertError(t, err, idpmetadata.SignatureInvalid)
				assert.Contains(t, err.Error(), "SHA-1")
			case entry.Verifies:
				counts["verifies"]++
				assert.Equal(t, unpinned, err)
			default:
				counts["changed"]++
				assertError(t, err, idpmetadata.SignatureInvalid)
				assert.Regexp(t, "changed after it was signed|damaged afterwards", err.Error(), "written anew by whoever collected it")
			}
			_, err = idpmetadata.Accept(document, idpmetadata.Requirements{Now: long, Signers: certificates(nil, pinned(t))})
			assertError(t, err, idpmetadata.SignatureInvalid)
		})
	}
	assert.Equal(t, map[string]int{"verifies": 7, "SHA-1": 3, "changed": 5}, counts)
}

func TestAcceptHostileSigned(t *testing.T) {
	signers, err := idpmetadata.ParseSigners(string(readFile(t, "hostile", "metadata-signer.crt")))
	require.NoError(t, err)
	for name, message := range map[string]string{
		"signed-good.xml":                      "",
		"signed-aggregate-good.xml":            "",
		"signed-tampered-sso.xml":              "changed after it was signed",
		"signed-aggregate-tampered.xml":        "changed after it was signed",
		"signed-by-other-key-same-subject.xml": "by none of the keys",
		"signed-stripped.xml":                  "is not signed",
		"signed-xsw-entities-sibling.xml":      "is not signed",
	} {
		t.Run(name, func(t *testing.T) {
			d, err := idpmetadata.Accept(readFile(t, "hostile", name), idpmetadata.Requirements{Signers: signers, Now: now})
			if message == "" {
				require.NoError(t, err)
				assert.Equal(t, "https://idp.hostile.example/metadata", d.EntityID)
				return
			}
			assertError(t, err, idpmetadata.SignatureInvalid)
			assert.Contains(t, err.Error(), message)
		})
	}
}

func TestParseSigners(t *testing.T) {
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	one, two := pinned(t).certificate, other(t).certificate
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)

	signers, err := idpmetadata.ParseSigners("# ours\n"+encode("CERTIFICATE", one.Raw)+encode("CERTIFICATE", two.Raw)+"\n", encode("CERTIFICATE", one.Raw))
	require.NoError(t, err)
	assert.Equal(t, []string{idpmetadata.Fingerprint(one), idpmetadata.Fingerprint(two), idpmetadata.Fingerprint(one)}, fingerprints(signers))
	signers, err = idpmetadata.ParseSigners()
	require.NoError(t, err)
	assert.Empty(t, signers)

	for text, message := range map[string]string{
		"":     "is not a PEM certificate",
		"text": "is not a PEM certificate",
		encode("CERTIFICATE", one.Raw) + "-----BEGIN CERTIFICATE-----\nAAAA": "is not a PEM certificate",
		encode("PUBLIC KEY", one.RawSubjectPublicKeyInfo):                    "something else than certificates",
		encode("CERTIFICATE", one.Raw) + encode("PRIVATE KEY", []byte("x")):  "something else than certificates",
		encode("CERTIFICATE", one.Raw[:100]):                                 "not a valid X.509 certificate",
		encode("CERTIFICATE", certify(t, &weak.PublicKey, "weak")):           "has 1024 bits",
	} {
		_, err := idpmetadata.ParseSigners(encode("CERTIFICATE", one.Raw), text)
		assertError(t, err, idpmetadata.SignatureInvalid)
		assert.Contains(t, err.Error(), message)
		assert.Contains(t, err.Error(), "metadataSigningCertificates")
	}
}

// A large aggregate is read within a multiple of its size that two of them
// leave room for.
func TestAcceptSignedLargeAggregate(t *testing.T) {
	certificate := signingCertificate(t)
	me := pinned(t)
	document := strings.Replace(string(aggregate(750, func(i int) string { return bigIDP(i, certificate) })), "<EntitiesDescriptor ", `<EntitiesDescriptor ID="_a" `, 1)
	signed := []byte(me.sign(t, document, "_a"))
	require.Greater(t, len(signed), 1<<20)
	requirements := idpmetadata.Requirements{EntityID: "https://idp500.big.example/metadata", Signers: certificates(nil, me), Now: now}

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d, err := idpmetadata.Accept(signed, requirements)
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	assert.Equal(t, "https://idp500.big.example/sso", first(d.SSO, redirect))
	unsigned := func() uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := idpmetadata.Accept(signed, idpmetadata.Requirements{EntityID: requirements.EntityID, Now: now})
		runtime.ReadMemStats(&after)
		require.NoError(t, err)
		return after.TotalAlloc - before.TotalAlloc
	}()
	assert.Less(t, after.TotalAlloc-before.TotalAlloc-2*unsigned, uint64(10*len(signed)), "bytes allocated for the tree and the canonical form")

	for name, document := range map[string][]byte{
		"elements": []byte(entities(`ID="_a"`, strings.Repeat("<a/>", 200_000))),
		"bytes":    append([]byte(entity(t, "_1", goodID, "")), strings.Repeat(strings.Repeat(" ", 100<<10)+"<!---->", 110)...),
	} {
		_, err := idpmetadata.Accept(document, idpmetadata.Requirements{Signers: requirements.Signers, Now: now})
		assertError(t, err, idpmetadata.SignatureInvalid)
		assert.Contains(t, err.Error(), "too large or too complex", name)
	}
}

// FuzzAcceptSigned looks for anything that is accepted but that the pinned
// signer has not signed.
func FuzzAcceptSigned(f *testing.F) {
	signers, err := idpmetadata.ParseSigners(string(readFile(f, "hostile", "metadata-signer.crt")))
	require.NoError(f, err)
	requirements := idpmetadata.Requirements{Signers: signers, Now: now}
	signed := map[string]bool{}
	for _, entry := range readIndex[hostileFile](f, "hostile") {
		if !strings.HasPrefix(entry.File, "signed-") {
			continue
		}
		document := readFile(f, "hostile", entry.File)
		f.Add(document)
		if d, err := idpmetadata.Accept(document, requirements); err == nil {
			signed[d.Digest()] = true
		}
	}
	require.NotEmpty(f, signed)
	f.Fuzz(func(t *testing.T, document []byte) {
		d, err := idpmetadata.Accept(document, requirements)
		if err != nil {
			require.NotEmpty(t, idpmetadata.ReasonOf(err))
			return
		}
		require.True(t, signed[d.Digest()], "%+v", d)
	})
}
