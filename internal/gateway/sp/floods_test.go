package sp_test

import (
	"crypto/rsa"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/xmltree"
)

// fill repeats a format with the numbers 0, 1, 2 and so on, up to about that
// many bytes.
func fill(bytes int, format string) string {
	var b strings.Builder
	for n := 0; b.Len() < bytes; n++ {
		fmt.Fprintf(&b, format, n)
	}
	return b.String()
}

// floods are the most expensive bodies that we know of and that still fit.
// Their senders have no key that is trusted, unless the name says so.
func floods(t testing.TB) map[string]string {
	const (
		room  = sp.MaxResponseBytes - 16<<10
		group = `<AttributeValue>staff`
	)
	attacker, trusted := validIDP(t, attackerKey()), validIDP(t, idpKey())
	signed := attacker.signAssertion(t, good)
	within := func(content string) string { return edit(t, signed, group, group+content) }
	filled := func(content string) string { return edit(t, good, group, group+content) }

	// Canonicalization declares a namespace at each element that is the first
	// to use it. These are the longest that count for nothing, and the longest.
	const prefixes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
	declaring := func(length, elements int, document string) string {
		uri, declarations, user := "urn:"+strings.Repeat("x", length-len("urn:p")), "", "<a"
		for _, prefix := range prefixes {
			declarations += fmt.Sprintf(" xmlns:%c='%s%c'", prefix, uri, prefix)
			user += fmt.Sprintf(" %c:x=''", prefix)
		}
		return edit(t, document, `<Assertion `, `<Assertion`+declarations+` `, group, group+strings.Repeat(user+"/>", elements))
	}
	short := func(document string) string { return declaring(63, 600, document) }
	long := func(document string) string { return declaring(xmltree.MaxNamespaceBytes, 145, document) }

	nested := func(depth int, content string) string {
		return strings.Repeat("<a>", depth) + content + strings.Repeat("</a>", depth)
	}
	chain, end := "", ""
	for depth := range 50 {
		chain += fmt.Sprintf("<n%d:a xmlns:n%d='urn:n%d'>", depth, depth, depth)
		end = fmt.Sprintf("</n%d:a>", depth) + end
	}
	unknown := signing{prefixes: strings.Repeat("unknown ", 16)}
	another := encryption{key: &attackerKey().PublicKey, label: strings.Repeat("x", room/8), digest: "http://www.w3.org/2001/04/xmlenc#sha512"}
	keys := encrypted(t, goodAssertion, another)
	start, stop := strings.Index(keys, "<xenc:EncryptedKey"), strings.Index(keys, "</xenc:EncryptedKey>")+len("</xenc:EncryptedKey>")
	keys = keys[:start] + strings.Repeat(edit(t, keys[start:stop], ` Id="_ek"`, ""), 4) + keys[stop:]

	return map[string]string{
		"depth":                   edit(t, good, `<samlp:Status>`, `<samlp:Extensions>`+strings.Repeat("<a>", 30_000)),
		"depth, allowed":          within(strings.Repeat(nested(55, ""), 80)),
		"width":                   within(strings.Repeat("<a/>", room/4)),
		"width, allowed":          within(strings.Repeat("<a/>", 4000)),
		"attributes":              within("<a " + fill(room, " a%d=''") + "/>"),
		"many attributes":         within(strings.Repeat("<a "+fill(430, " a%d=''")+"/>", 400)),
		"namespaces":              within("<a " + fill(room, " xmlns:a%d='urn:x'") + "/>"),
		"namespaces repeated":     attacker.signAssertion(t, long(good)),
		"middling ones repeated":  attacker.signAssertion(t, declaring(127, 340, good)),
		"short ones repeated":     attacker.signAssertion(t, short(good)),
		"namespaces of ancestors": within(chain + strings.Repeat("<n0:a n1:b='' n2:c='' n3:d=''/>", 4500) + end),
		"default namespaces":      within(strings.Repeat("<a xmlns='urn:x'/>", 4000)),
		"references":              within(strings.Repeat("&amp;", room/5)),
		"entities":                within(strings.Repeat("&lol;", room/5)),
		"escapes":                 within("<a b='" + strings.Repeat(`"`, room) + "'/>"),
		"carriage returns":        within(strings.Repeat("&#13;", room/5)),
		"text":                    within(strings.Repeat("ä", room/2)),
		"IDs":                     within(fill(4000*14, "<a ID='%d'/>")),
		"comments":                within(strings.Repeat("<!---->", room/7)),
		"text nodes":              within(strings.Repeat("x<![CDATA[]]>", room/13)),
		"transforms":              attacker.sign(t, good, "_assertion", signing{transform: `<ds:Transforms>` + strings.Repeat(`<ds:Transform Algorithm="`+excC14N+`"/>`, 3000) + `</ds:Transforms>`}),
		"references to elements":  attacker.sign(t, good, "_assertion", signing{reference: strings.Repeat(`<ds:Reference URI="#_assertion"/>`, 4000)}),
		"signatures":              edit(t, signed, signatureOf(signed), strings.Repeat(signatureOf(signed), 80)),
		"prefix list":             attacker.sign(t, filled(chain+strings.Repeat("<a/>", 4500)+end), "_assertion", unknown),
		"long prefix list":        attacker.sign(t, good, "_assertion", signing{prefixes: strings.Repeat("x ", room/2)}),
		"signature value":         edit(t, signed, "<ds:SignatureValue>", "<ds:SignatureValue>"+strings.Repeat("AAAA\n\t", room/6)),
		"certificates":            edit(t, signed, "<ds:X509Certificate>", strings.Repeat("<ds:X509Certificate>AAAA</ds:X509Certificate>", 4000)+"<ds:X509Certificate>"),
		"time":                    edit(t, good, "12:00:00.123Z", "12:00:00."+strings.Repeat("1", room/2)+"Z"),
		"status codes":            edit(t, good, "<samlp:StatusCode ", strings.Repeat("<samlp:StatusCode Value='"+strings.Repeat("x", 4000)+"'>", 55)+"<samlp:StatusCode "),
		"encrypted keys":          edit(t, good, goodAssertion, strings.Replace(encrypted(t, goodAssertion, encryption{key: another.key}), "<xenc:EncryptedKey", strings.Repeat("<xenc:EncryptedKey/>", 3000)+"<xenc:EncryptedKey", 1)),
		"keys of others":          edit(t, good, goodAssertion, keys),
		"ciphertext":              edit(t, good, goodAssertion, encrypted(t, strings.Repeat("x", room*3/4-4096), encryption{})),
		"encrypted width":         edit(t, good, goodAssertion, encrypted(t, nested(40, strings.Repeat("<a/>", 4500)), encryption{})),
		"encrypted namespaces":    encrypt(t, attacker.signAssertion(t, long(good)), encryption{}),
		"size":                    strings.Repeat(" ", sp.MaxResponseBytes) + good,

		"namespaces repeated, by a trusted key": trusted.signResponse(t, trusted.signAssertion(t, long(edit(t, good, "<Audience>", "<Audience>x")))),
		"short ones repeated, by a trusted key": trusted.signResponse(t, trusted.signAssertion(t, short(edit(t, good, "<Audience>", "<Audience>x")))),
		"prefix list, by a trusted key":         trusted.sign(t, trusted.sign(t, edit(t, filled(chain+strings.Repeat("<a/>", 4500)+end), "<Audience>", "<Audience>x"), "_assertion", unknown), "_response", unknown),
		"confirmations, by a trusted key":       trusted.signAssertion(t, edit(t, good, "<SubjectConfirmation ", strings.Repeat("<SubjectConfirmation Method='urn:oasis:names:tc:SAML:2.0:cm:bearer'/>", 3400)+"<SubjectConfirmation ", "Recipient=", "Recipients=")),
	}
}

func TestA11_Floods(t *testing.T) {
	i := validIDP(t, idpKey())
	want := expectations(i)
	want.DecryptionKeys = []*rsa.PrivateKey{spKey(), spKey2()}
	for name, document := range floods(t) {
		t.Run(name, func(t *testing.T) {
			got, err := sp.Verify([]byte(document), want)
			require.Nil(t, got)
			assert.NotEqual(t, sp.CodeInternal, sp.CodeOf(err), "%v", err)
			if name != "size" {
				assert.NotEqual(t, sp.CodeTooLarge, sp.CodeOf(err), "of %d bytes, so it costs nothing", len(document))
			}
		})
	}
}

// BenchmarkA11_Floods shows what the refusals cost, in time of a processor
// too: a busy machine stretches the other one.
func BenchmarkA11_Floods(b *testing.B) {
	want := expectations(validIDP(b, idpKey()))
	want.DecryptionKeys = []*rsa.PrivateKey{spKey(), spKey2()}
	for name, document := range floods(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			before := processorTime(b)
			for b.Loop() {
				_, _ = sp.Verify([]byte(document), want)
			}
			b.ReportMetric(float64((processorTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// processorTime is what this process has used of it so far.
func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
