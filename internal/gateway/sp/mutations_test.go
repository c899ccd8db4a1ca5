package sp_test

import (
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/sp"
)

// genuine is a Response that is accepted, with what it says. Its keys are in
// testdata, since each worker of a fuzz target is a process of its own.
type genuine struct {
	name     string
	document string
	want     sp.Expectations
	says     *sp.Assertion
}

// genuines are the accepted ones of the corpus, and those by xmlsec1.
func genuines(t testing.TB) []genuine {
	t.Helper()
	var all []genuine
	add := func(name string, document []byte, want sp.Expectations) {
		says, err := sp.Verify(document, want)
		require.NoError(t, err, name)
		all = append(all, genuine{name, string(document), want, says})
	}
	corpus := corpusExpectations(t)
	for _, c := range corpusCases(t) {
		if c.Expected == "accept" {
			document, err := sp.DecodeResponse(c.Form)
			require.NoError(t, err)
			add(c.Name, document, corpus)
		}
	}
	want := xmlsecExpectations(t)
	for _, name := range []string{"assertion", "response", "both-ec-rsa", "prefixlist-sha512"} {
		document, err := os.ReadFile("testdata/xmlsec/" + name + ".xml")
		require.NoError(t, err)
		add(name, document, want)
	}
	return all
}

// xmlsecExpectations are those of the Responses in testdata/xmlsec.
func xmlsecExpectations(t testing.TB) sp.Expectations {
	t.Helper()
	want := expectations()
	want.Now = now
	for _, path := range []string{"testdata/xmlsec/rsa.crt", "testdata/xmlsec/ec.crt"} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		block, _ := pem.Decode(text)
		certificate, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		// The certificates are as old as the day on which they were made.
		certificate.NotBefore = now.Add(-time.Hour)
		want.SigningCertificates = append(want.SigningCertificates, certificate)
	}
	return want
}

// claims are what an accepted Response says, without the two things that need
// no signature: the ID of a Response that is not signed, and which of several
// good signatures counts.
func claims(a *sp.Assertion) sp.Assertion {
	copied := *a
	copied.ResponseID, copied.SigningCertificate = "", nil
	return copied
}

var (
	startTag = regexp.MustCompile(`<[A-Za-z][^<>]*>`)
	anyTag   = regexp.MustCompile(`<[^<>]*>`)
	quoted   = regexp.MustCompile(`"[^"'<>]*"`)
	twoOf    = regexp.MustCompile(` [A-Za-z:]+="[^"]*" [A-Za-z:]+="[^"]*"`)
	empty    = regexp.MustCompile(`<([A-Za-z:]+)([^<>]*)(?:/>|></[A-Za-z:]+>)`)
	leaf     = regexp.MustCompile(`>[^<>]+<`)
	element  = regexp.MustCompile(`(?s)<(?:[A-Za-z0-9]+:)?(?:Issuer|Status|Subject|NameID|Conditions|AttributeStatement|Attribute|AttributeValue|AuthnStatement|Signature|SignedInfo|Reference|Transform|KeyInfo|Assertion|Audience)[ >].*?</[A-Za-z0-9:]+>`)
)

// snippets are what attackers put into documents.
var snippets = []string{
	`<!DOCTYPE a>`, `<?a b?>`, `<!-- -->`, `<![CDATA[]]>`, `<![CDATA[x]]>`, `&#13;`, `&#x0;`, `&amp;`, "\r", "\r\n", "\n", "\t", " ", "\ufeff", "\u00a0", "\u2028", "\x00", "x", "<a/>", "]]>",
	`<Assertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion" ID="_e" Version="2.0"/>`, `<samlp:Extensions xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"/>`,
	` ID="_evil"`, ` Id="_evil"`, ` xml:id="_evil"`, ` xml:lang="en"`, ` xmlns="urn:evil"`, ` xmlns=""`, ` xmlns:evil="urn:evil"`, ` xmlns:saml="urn:evil"`, ` xmlns:ds="urn:evil"`,
	` xmlns:evil="urn:oasis:names:tc:SAML:2.0:assertion"`, ` evil="1"`, ` xmlns:xml="http://www.w3.org/XML/1998/namespace"`,
}

// mutate applies a script of edits, of five bytes each: which, and where. Most
// change the text alone and not what it means, some the meaning as well.
func mutate(document string, script []byte) string {
	// pick returns the place of one of the matches, nil if there is none.
	pick := func(expression *regexp.Regexp, n int) []int {
		found := expression.FindAllStringIndex(document, -1)
		if len(found) == 0 {
			return nil
		}
		return found[n%len(found)]
	}
	for ; len(script) >= 5 && len(document) < 64<<10; script = script[5:] {
		which, n, m := script[0], int(binary.BigEndian.Uint16(script[1:])), int(binary.BigEndian.Uint16(script[3:]))
		replace := func(at []int, text func(string) string) {
			if at != nil {
				document = document[:at[0]] + text(document[at[0]:at[1]]) + document[at[1]:]
			}
		}
		snippet := snippets[m%len(snippets)]
		switch which % 13 {
		case 0: // other quotes
			replace(pick(quoted, n), func(s string) string { return "'" + s[1:len(s)-1] + "'" })
		case 1: // white space in a tag
			replace(pick(anyTag, n), func(s string) string {
				at := strings.IndexAny(s, " />?")
				if at == 1 {
					at = len(s) - 1
				}
				return s[:at] + "\n " + s[at:]
			})
		case 2: // a comment, or something else, after a tag
			replace(pick(anyTag, n), func(s string) string { return s + snippet })
		case 3: // a reference instead of a character
			replace(pick(leaf, n), func(s string) string {
				runes := []rune(s)
				at := 1 + m%(len(runes)-2)
				return string(runes[:at]) + "&#" + strconv.Itoa(int(runes[at])) + ";" + string(runes[at+1:])
			})
		case 4: // a CDATA section instead of text
			replace(pick(leaf, n), func(s string) string { return "><![CDATA[" + s[1:len(s)-1] + "]]><" })
		case 5: // one more attribute
			replace(pick(startTag, n), func(s string) string {
				at := strings.IndexAny(s, " />")
				return s[:at] + snippet + s[at:]
			})
		case 6: // another order of attributes
			replace(pick(twoOf, n), func(s string) string {
				cut := strings.Index(s[strings.Index(s, `="`)+2:], `"`) + strings.Index(s, `="`) + 3
				return s[cut:] + s[:cut]
			})
		case 7: // <a/> and <a></a>
			replace(pick(empty, n), func(s string) string {
				if body, ok := strings.CutSuffix(s, "/>"); ok {
					return body + "></" + body[1:strings.IndexAny(body+" ", " \n")] + ">"
				}
				body, _, _ := strings.Cut(s, ">")
				return body + "/>"
			})
		case 8: // an element goes
			replace(pick(element, n), func(string) string { return "" })
		case 9: // an element is there twice, or elsewhere
			if from, to := pick(element, n), pick(anyTag, m); from != nil && to != nil {
				document = document[:to[1]] + document[from[0]:from[1]] + document[to[1]:]
			}
		case 10: // other line ends
			document = strings.ReplaceAll(document, "\n", "\r\n")
		case 11: // another byte
			at := n % (len(document) + 1)
			document = document[:at] + string([]byte{byte(m)}) + document[min(at+1, len(document)):]
		case 12: // something anywhere
			at := n % (len(document) + 1)
			document = document[:at] + snippet + document[at:]
		}
	}
	return document
}

// FuzzMutations changes what an IdP has signed: what is accepted nevertheless
// must say what the IdP said.
func FuzzMutations(f *testing.F) {
	all := genuines(f)
	for n := range all {
		f.Add(uint8(n), script(n, 2))
		f.Add(uint8(n), script(n, 5))
	}
	f.Fuzz(func(t *testing.T, n uint8, script []byte) {
		from := all[int(n)%len(all)]
		document := mutate(from.document, script)
		got, err := sp.Verify([]byte(document), from.want)
		if err != nil {
			assert.Nil(t, got)
			assert.NotEqual(t, sp.CodeInternal, sp.CodeOf(err))
			return
		}
		assert.Equal(t, claims(from.says), claims(got), "%s", document)
		assert.True(t, slices.Contains(from.want.SigningCertificates, got.SigningCertificate))
	})
}

// script returns a number of edits, always the same for a seed.
func script(seed, edits int) []byte {
	random := rand.New(rand.NewPCG(uint64(seed), uint64(edits))) //nolint:gosec // no secret
	bytes := make([]byte, 5*edits)
	for i := range bytes {
		bytes[i] = byte(random.Uint32())
	}
	return bytes
}
