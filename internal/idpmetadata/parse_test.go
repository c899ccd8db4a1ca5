package idpmetadata_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/idpmetadata"
)

func TestParseReal(t *testing.T) {
	for _, entry := range readIndex[realFile](t, "real") {
		t.Run(entry.File, func(t *testing.T) {
			document := readFile(t, "real", entry.File)
			sum := sha256.Sum256(document)
			require.Equal(t, entry.SHA256, hex.EncodeToString(sum[:]), "the file is as it was collected")

			d, err := idpmetadata.Parse(document, "")
			switch {
			case !entry.WellFormed:
				assertError(t, err, idpmetadata.ParseFailed)
			case entry.Ambiguous:
				assertError(t, err, idpmetadata.AmbiguousEntity)
				assert.Contains(t, err.Error(), fmt.Sprintf("%d IdPs", entry.IDPEntities))
				require.Len(t, entry.IDPList, entry.IDPEntities)
				for _, idp := range entry.IDPList {
					assertListed(t, document, entry.File, idp)
				}
			default:
				require.NoError(t, err)
				assertFacts(t, d, entry)
				assertReadsBack(t, d)
			}
		})
	}
}

// assertListed reads one IdP of an aggregate. Those of the SWAMID file that
// speak only SAML 1 are IdPs that can be meant, but not be used.
func assertListed(t *testing.T, document []byte, file string, idp facts) {
	t.Helper()
	d, err := idpmetadata.Parse(document, idp.EntityID)
	if file == "federation-swamid-test-10idps.xml" && idp.EntityID != "https://idp.umu.se/saml2/idp/metadata.php" {
		assertError(t, err, idpmetadata.NoIDPRole)
		return
	}
	require.NoError(t, err)
	assertFacts(t, d, realFile{facts: idp, SigningCertCount: len(idp.SigningCerts), AllExpired: file == "federation-swamid-test-10idps.xml"})
	assertReadsBack(t, d)
}

func assertFacts(t *testing.T, d *idpmetadata.Descriptor, entry realFile) {
	t.Helper()
	assert.Equal(t, entry.EntityID, d.EntityID)
	assert.Equal(t, entry.SSORedirect, first(d.SSO, redirect))
	assert.Equal(t, entry.SSOPost, first(d.SSO, post))
	assert.Equal(t, entry.WantAuthnRequestsSigned, d.WantAuthnRequestsSigned)
	assert.Equal(t, entry.SigningCertCount, len(entry.SigningCerts))

	if entry.File != "" { // the index tells less of the IdPs in an aggregate
		assert.Equal(t, entry.SLORedirect, first(d.SLO, redirect))
		assert.Equal(t, entry.SLOPost, first(d.SLO, post))
		var responses []string
		for _, e := range d.SLO {
			if e.ResponseLocation != "" && !slices.Contains(responses, e.ResponseLocation) {
				responses = append(responses, e.ResponseLocation)
			}
		}
		assert.ElementsMatch(t, entry.SLOResponseLocations, responses)
		if len(entry.NameIDFormats) == 0 {
			assert.Empty(t, d.NameIDFormats)
		} else {
			assert.Equal(t, entry.NameIDFormats, d.NameIDFormats)
		}
	}

	validUntil := time.Time{}
	if text := entry.ValidUntil + entry.RootValidUntil; text != "" {
		text = entry.RootValidUntil
		if entry.ValidUntil != "" {
			text = entry.ValidUntil
		}
		var err error
		validUntil, err = time.Parse(time.RFC3339, text)
		require.NoError(t, err)
	}
	assert.Equal(t, validUntil, d.ValidUntil)
	switch cache := entry.RootCacheDuration; cache {
	case "":
		assert.Zero(t, d.CacheDuration)
	case "PT1440M":
		assert.Equal(t, 24*time.Hour, d.CacheDuration)
	default:
		t.Errorf("cacheDuration %s is new to this test", cache)
	}

	// RSA keys below 2048 bits and keys of an unknown type are dropped, all
	// else stays in document order.
	usable, dropped := []string{}, []string{}
	expired := true
	for _, c := range entry.SigningCerts {
		switch c.Key {
		case "RSA-512", "RSA-1024", "?":
			dropped = append(dropped, c.SHA256)
			continue
		}
		certificate := d.SigningCertificates[len(usable)]
		usable = append(usable, c.SHA256)
		assert.Equal(t, c.NotAfter, certificate.NotAfter)
		if !c.NotBefore.IsZero() {
			assert.Equal(t, c.NotBefore, certificate.NotBefore)
		}
		expired = expired && certificate.NotAfter.Before(now)
	}
	for _, c := range entry.UnusableCerts {
		dropped = append(dropped, c.SHA256)
	}
	assert.Equal(t, usable, fingerprints(d.SigningCertificates))
	if len(usable) > 0 {
		assert.Equal(t, entry.AllExpired, expired)
	}
	gone := []string{}
	for _, c := range d.DroppedCertificates {
		assert.NotEmpty(t, c.Reason)
		gone = append(gone, c.FingerprintSHA256)
	}
	assert.ElementsMatch(t, dropped, gone)
}

const (
	head = `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="http://www.w3.org/2000/09/xmldsig#" `
	role = `<IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">`
	tail = `</IDPSSODescriptor></EntityDescriptor>`
)

// idp is a small document; attributes go to the entity, content to the role.
func idp(attributes, content string) []byte {
	return []byte(head + `entityID="https://idp.example/" ` + attributes + `>` + role + content + tail)
}

func TestParseTakesTheStrictestValidity(t *testing.T) {
	for name, tc := range map[string]struct {
		outer, inner, entity, role string
		until                      string
		cache                      time.Duration
	}{
		"none": {},
		"outermost first": {
			outer: `validUntil="2027-01-01T00:00:00Z" cacheDuration="PT1H"`, entity: `validUntil="2028-01-01T00:00:00Z" cacheDuration="P1D"`,
			until: "2027-01-01T00:00:00Z", cache: time.Hour,
		},
		"nested first": {
			outer: `validUntil="2029-01-01T00:00:00Z" cacheDuration="P1Y"`, inner: `validUntil="2027-01-01T02:00:00+02:00" cacheDuration="PT90M"`,
			until: "2027-01-01T00:00:00Z", cache: 90 * time.Minute,
		},
		"role first": {
			entity: `validUntil="2027-01-01T00:00:00Z"`, role: `validUntil="2026-12-24T00:00:00.123456Z" cacheDuration="P1M2DT3H4M5.6S"`,
			until: "2026-12-24T00:00:00.123Z", cache: 32*24*time.Hour + 3*time.Hour + 4*time.Minute + 5*time.Second,
		},
		"useless durations count as none": {
			outer: `cacheDuration="1 day"`, inner: `cacheDuration="-PT1H"`, entity: `cacheDuration="PT0S"`, role: `cacheDuration="PT0.5S"`,
		},
		"a useless duration does not hide a good one": {outer: `cacheDuration="P"`, entity: `cacheDuration="PT2H"`, cache: 2 * time.Hour},
		"an endless duration does not overflow":       {entity: `cacheDuration="P999999999999Y"`, cache: 100 * 365 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			entity := strings.Replace(string(idp(tc.entity, "")), "<IDPSSODescriptor", "<IDPSSODescriptor "+tc.role, 1)
			d, err := idpmetadata.Parse([]byte(`<m:EntitiesDescriptor xmlns:m="urn:oasis:names:tc:SAML:2.0:metadata" `+tc.outer+`>`+
				`<m:EntitiesDescriptor `+tc.inner+`>`+entity+`</m:EntitiesDescriptor></m:EntitiesDescriptor>`), "")
			require.NoError(t, err)
			until := time.Time{}
			if tc.until != "" {
				until, err = time.Parse(time.RFC3339, tc.until)
				require.NoError(t, err)
			}
			assert.Equal(t, until, d.ValidUntil)
			assert.Equal(t, tc.cache, d.CacheDuration)
			assertReadsBack(t, d)
		})
	}
}

func TestParseRefusesGarbledValidity(t *testing.T) {
	for _, until := range []string{"tomorrow", "2027-13-01T00:00:00Z", "2027-01-01", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"} {
		_, err := idpmetadata.Parse(idp(`validUntil="`+until+`"`, ""), "")
		assertError(t, err, idpmetadata.ParseFailed)
		assert.Contains(t, err.Error(), "validUntil", until)
	}
}

func TestParseReadsOnlyTheIDPRole(t *testing.T) {
	other := string(idp("", `<SingleSignOnService Binding="`+redirect+`" Location="https://evil.example/"/>`))
	d, err := idpmetadata.Parse(idp("", `<Extensions>`+other+`</Extensions>`+
		`<o:SingleSignOnService xmlns:o="urn:other" Binding="`+redirect+`" Location="https://evil.example/"/>`+
		`<SingleSignOnService xmlns:o="urn:other" o:Location="https://evil.example/" Binding="`+redirect+`" Location="https://idp.example/sso" ResponseLocation="https://evil.example/"/>`+
		`<NameIDFormat>urn:a<!-- b -->c<x>urn:evil</x></NameIDFormat>`), "")
	require.NoError(t, err)
	assert.Equal(t, []idpmetadata.Endpoint{{Binding: redirect, Location: "https://idp.example/sso"}}, d.SSO)
	assert.Equal(t, []string{"urn:ac"}, d.NameIDFormats)
}

func TestParsePicksFromAnAggregate(t *testing.T) {
	document := readFile(t, "hostile", "entities-three-idps.xml")
	_, err := idpmetadata.Parse(document, "https://idp4.hostile.example/")
	assertError(t, err, idpmetadata.EntityIDMismatch)
	_, err = idpmetadata.Parse(readFile(t, "hostile", "entities-duplicate-entityid.xml"), "https://idp.hostile.example/metadata")
	assertError(t, err, idpmetadata.AmbiguousEntity)

	d, err := idpmetadata.Parse(document, "https://idp2.hostile.example/")
	require.NoError(t, err)
	assert.Equal(t, "https://idp2.hostile.example/", d.EntityID)
}

func TestParseRefusesDoctypeInEveryEncoding(t *testing.T) {
	text := `<?xml version="1.0"?><!DOCTYPE EntityDescriptor [<!ENTITY a "b">]>` + string(idp("", ""))
	big, little := []byte{0xFE, 0xFF}, []byte{0xFF, 0xFE}
	for _, c := range []byte(text) {
		big, little = append(big, 0, c), append(little, c, 0)
	}
	for name, document := range map[string][]byte{
		"UTF-8":                            []byte(text),
		"UTF-8 with mark":                  []byte("\xEF\xBB\xBF" + text),
		"UTF-16BE":                         big,
		"UTF-16LE":                         little,
		"UTF-16BE without mark":            big[2:],
		"UTF-16LE without mark":            little[2:],
		"windows-1252":                     []byte(strings.Replace(text, `"1.0"`, `"1.0" encoding="windows-1252"`, 1)),
		"after the document element":       append(idp("", ""), "<!DOCTYPE x>"...),
		"never closed":                     []byte(`<!DOCTYPE EntityDescriptor [ <a> "`),
		"other declaration in the content": idp("", `<!ENTITY a "b">`),
	} {
		_, err := idpmetadata.Parse(document, "")
		assertError(t, err, idpmetadata.ParseFailed)
		assert.Contains(t, err.Error(), "DOCTYPE", name)
	}
}

func TestParseEncodings(t *testing.T) {
	entity := func(id string) string { return strings.Replace(string(idp("", "")), "https://idp.example/", id, 1) }
	utf16 := func(text string, mark ...byte) []byte {
		document := mark
		for _, r := range text {
			document = append(document, byte(r), byte(r>>8))
		}
		return document
	}
	for name, tc := range map[string]struct {
		document []byte
		entityID string // empty: refused
	}{
		"latin1":                      {[]byte(`<?xml version="1.0" encoding="ISO-8859-1"?>` + entity("urn:M\xFCller")), "urn:Müller"},
		"windows-1252":                {[]byte(`<?xml version='1.0' encoding='Windows-1252'?>` + entity("urn:M\xFCller\x80")), "urn:Müller€"},
		"UTF-16 with declaration":     {utf16(`<?xml version="1.0" encoding="UTF-16"?>`+entity("urn:Müller"), 0xFF, 0xFE), "urn:Müller"},
		"UTF-16 with surrogates":      {bytes.Replace(utf16(entity("urn:XY"), 0xFF, 0xFE), []byte("X\x00Y\x00"), []byte("\x3D\xD8\x00\xDE"), 1), "urn:😀"},
		"UTF-16 with half a pair":     {bytes.Replace(utf16(entity("urn:XY"), 0xFF, 0xFE), []byte("X\x00Y\x00"), []byte("\x3D\xD8Y\x00"), 1), ""},
		"UTF-16 cut within a pair":    {append(utf16(entity("urn:a"), 0xFF, 0xFE), 0x3D, 0xD8), ""},
		"UTF-16 of odd length":        {append(utf16(entity("urn:a"), 0xFF, 0xFE), '\n'), ""},
		"declared UTF-16 but is not":  {[]byte(`<?xml version="1.0" encoding="UTF-16"?>` + entity("urn:a")), ""},
		"unknown encoding":            {[]byte(`<?xml version="1.0" encoding="UTF-7"?>` + entity("urn:a")), ""},
		"not UTF-8 though it says so": {[]byte(entity("urn:M\xFCller")), ""},
		"UTF-32":                      {[]byte("\xFF\xFE\x00\x00<\x00\x00\x00"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := idpmetadata.Parse(tc.document, "")
			if tc.entityID == "" {
				assertError(t, err, idpmetadata.ParseFailed)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.entityID, d.EntityID)
			assertReadsBack(t, d)
		})
	}
}

func TestParseRefusesWhatIsNotWellFormed(t *testing.T) {
	good := string(idp("", ""))
	for name, document := range map[string]string{
		"text before":               "x" + good,
		"text after":                good + "x",
		"second document element":   good + "<a/>",
		"declaration not at start":  "\n<?xml version=\"1.0\"?>" + good,
		"declaration in content":    string(idp("", `<?xml version="1.0"?>`)),
		"doubled attribute":         string(idp(`a="1" a="2"`, "")),
		"doubled namespace":         string(idp(`xmlns:a="1" xmlns:a="2"`, "")),
		"doubled by two prefixes":   string(idp(`xmlns:a="urn:x" xmlns:b="urn:x" a:c="1" b:c="2"`, "")),
		"unknown entity":            string(idp("", "&xxe;")),
		"unclosed element":          strings.TrimSuffix(good, "</EntityDescriptor>"),
		"control character":         string(idp("", "\x01")),
		"only a comment":            "<!-- -->",
		"byte order mark and blank": "\xEF\xBB\xBF ",
	} {
		_, err := idpmetadata.Parse([]byte(document), "")
		require.Error(t, err, name)
		assertError(t, err, idpmetadata.ParseFailed)
	}
}

func TestParseAllowsCommentsAndInstructionsAround(t *testing.T) {
	_, err := idpmetadata.Parse([]byte("<?xml version=\"1.0\"?>\n<!-- a --><?b c?>\n"+string(idp("", ""))+"\n<!-- d --><?e f?>\n"), "")
	assert.NoError(t, err)
}

func signingCertificate(t testing.TB) string {
	t.Helper()
	m := regexp.MustCompile(`<ds:X509Certificate>([^<]+)<`).FindSubmatch(readFile(t, "hostile", "control-good.xml"))
	require.NotNil(t, m)
	return string(m[1])
}

// bigIDP is the i-th IdP of an aggregate.
func bigIDP(i int, certificate string) string {
	return fmt.Sprintf(`<EntityDescriptor entityID="https://idp%d.big.example/metadata">`, i) + role +
		`<KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>` + certificate + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>` +
		fmt.Sprintf(`<SingleSignOnService Binding="%s" Location="https://idp%d.big.example/sso"/>`, redirect, i) + tail + "\n"
}

func bigSP(i int) string {
	return fmt.Sprintf(`<EntityDescriptor entityID="https://sp%d.big.example/"><SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><AssertionConsumerService Binding="%s" Location="https://sp%d.big.example/acs" index="0"/></SPSSODescriptor></EntityDescriptor>`+"\n", i, post, i)
}

func aggregate(count int, entity func(int) string) []byte {
	var b bytes.Buffer
	b.WriteString(`<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="http://www.w3.org/2000/09/xmldsig#">`)
	for i := range count {
		b.WriteString(entity(i))
	}
	b.WriteString(`</EntitiesDescriptor>`)
	return b.Bytes()
}

func TestParseLargeAggregates(t *testing.T) {
	certificate := signingCertificate(t)
	idps := aggregate(5000, func(i int) string { return bigIDP(i, certificate) })

	_, err := idpmetadata.Parse(idps, "")
	assertError(t, err, idpmetadata.AmbiguousEntity)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d, err := idpmetadata.Parse(idps, "https://idp2500.big.example/metadata")
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	assert.Equal(t, "https://idp2500.big.example/sso", first(d.SSO, redirect))
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(200<<20), "bytes allocated for %d bytes of document", len(idps))

	d, err = idpmetadata.Parse(aggregate(5000, func(i int) string {
		if i == 4000 {
			return bigIDP(7, certificate)
		}
		return bigSP(i)
	}), "")
	require.NoError(t, err)
	assert.Equal(t, "https://idp7.big.example/metadata", d.EntityID)
}

func TestParseIsBounded(t *testing.T) {
	certificate := signingCertificate(t)
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	key := `<KeyDescriptor><ds:KeyInfo><ds:X509Data><ds:X509Certificate>` + certificate + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>`
	for name, document := range map[string][]byte{
		"depth":                   idp("", "<Extensions>"+strings.Repeat("<a>", 1_000_000)+strings.Repeat("</a>", 1_000_000)+"</Extensions>"),
		"nested aggregates":       []byte(strings.Repeat(`<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata">`, 10_000)),
		"elements":                idp("", strings.Repeat("<a/>", 600_000)),
		"attributes":              idp(many(100_000, `a%d="x" `), ""),
		"certificates":            idp("", strings.Repeat(key, 7000)),
		"certificates in one key": idp("", `<KeyDescriptor><ds:KeyInfo><ds:X509Data>`+strings.Repeat(`<ds:X509Certificate/>`, 100_000)+`</ds:X509Data></ds:KeyInfo></KeyDescriptor>`),
		"endpoints":               idp("", strings.Repeat(`<SingleSignOnService Binding="`+redirect+`" Location="https://idp.example/"/>`, 1000)),
		"formats":                 idp("", strings.Repeat(`<NameIDFormat>urn:a</NameIDFormat>`, 1000)),
		"bytes":                   idp("", strings.Repeat(" ", 65<<20)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := idpmetadata.Parse(document, "")
			assertError(t, err, idpmetadata.ParseFailed)
			assert.Regexp(t, "too complex|larger than", err.Error())
		})
	}
}

func certificateElement(text string) string {
	return `<KeyDescriptor><ds:KeyInfo><ds:X509Data><ds:X509Certificate>` + text + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>`
}

func TestParseLongValues(t *testing.T) {
	long := strings.Repeat("x", 60<<10)
	attribute := strings.Repeat("&quot;", 4<<10)
	d, err := idpmetadata.Parse(idp(`q="`+attribute+`"`,
		`<!--`+strings.Repeat("x", 250<<10)+`--><Extensions><Logo>data:image/png;base64,`+strings.Repeat("x", 250<<10)+`</Logo></Extensions>`+
			`<NameIDFormat>`+long+`</NameIDFormat>`+certificateElement(long)+
			`<SingleLogoutService Binding="`+post+`" Location="`+attribute+`" ResponseLocation="`+attribute+`"/>`), "")
	require.NoError(t, err)
	assert.Empty(t, d.NameIDFormats)
	assert.Empty(t, d.SigningCertificates)
	assert.Len(t, d.DroppedCertificates, 1)
	assertReadsBack(t, d)
}

// A value is refused before it costs a multiple of its size.
func TestParseRefusesEndlessValues(t *testing.T) {
	const size = 10 << 20
	long, latin1 := strings.Repeat("x", size), strings.Repeat("\xFC", size)
	for name, document := range map[string][]byte{
		"attribute":               idp(`q="`+long+`"`, ""),
		"attribute of marks":      idp(`q="`+strings.Repeat(">", size)+`"`, ""),
		"attribute, not the most": idp(`q="`+long[:4<<10+1]+`"`, ""),
		"attribute in Latin-1":    append([]byte(`<?xml version="1.0" encoding="ISO-8859-1"?>`), idp(`q="`+latin1+`"`, "")...),
		"text":                    idp("", long),
		"text in Latin-1":         append([]byte(`<?xml version="1.0" encoding="ISO-8859-1"?>`), idp("", latin1)...),
		"text of two-byte runes":  idp("", strings.Repeat("ü", size/2)),
		"text of entities":        idp("", strings.Repeat("&lt;", size/4)),
		"CDATA of marks":          idp("", "<![CDATA["+strings.Repeat("<", size)+"]]>"),
		"comment of marks":        idp("", "<!--"+strings.Repeat("<>", size/2)+"-->"),
		"instruction of marks":    idp("", "<?a "+strings.Repeat("<", size)+"?>"),
		"tag, not the most":       idp("", `<a b="`+long[:100]+`"`+strings.Repeat(" ", 64<<10)+"/>"),
		"tag after text":          idp("", `x<a b="`+long[:100]+`"`+strings.Repeat(" ", 64<<10)+"/>"),
		"blanks in a tag":         idp(strings.Repeat(" ", size), ""),
		"name":                    idp("", "<"+long+"/>"),
		"end of a name":           idp("", "<a></"+long+">"),
		"attributes":              idp("", "<a "+strings.Repeat(`b="" `, size/5)+"/>"),
		"text before":             append([]byte(strings.Repeat(" ", size)), idp("", "")...),
		"text after":              append(idp("", ""), strings.Repeat("\n", size)...),
		"certificate":             idp("", certificateElement(long)),
		"certificate in pieces":   idp("", certificateElement(strings.Repeat(long[:1000]+"<!-- -->", 100))),
		"format in pieces":        idp("", "<NameIDFormat>"+strings.Repeat("<![CDATA["+long[:1000]+"]]>", 100)+"</NameIDFormat>"),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := idpmetadata.Parse(document, "")
			runtime.ReadMemStats(&after)
			assertError(t, err, idpmetadata.ParseFailed)
			assert.Contains(t, err.Error(), "too complex")
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20), "bytes allocated in all")
		})
	}
}

// What is not refused needs no copy of the document, even in another charset.
func TestParseCopiesNoDocument(t *testing.T) {
	const size = 10 << 20
	for name, document := range map[string][]byte{
		"UTF-8":   idp("", strings.Repeat(strings.Repeat("ü", 50_000)+"<a/>", size/100_000)),
		"Latin-1": append([]byte(`<?xml version="1.0" encoding="ISO-8859-1"?>`), idp("", strings.Repeat(strings.Repeat("\xFC", 100_000)+"<a/>", size/100_000))...),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := idpmetadata.Parse(document, "")
			runtime.ReadMemStats(&after)
			require.NoError(t, err)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(size/2), "bytes allocated in all")
		})
	}
}

func TestErrorQuotesNoMoreThanItMust(t *testing.T) {
	_, err := idpmetadata.Parse([]byte(`<html><body>secret-token</body></html>`), "")
	assertError(t, err, idpmetadata.ParseFailed)
	assert.Contains(t, err.Error(), "returned an HTML page, not SAML metadata")
	_, err = idpmetadata.Parse([]byte(`<a><secret-token></b>`), "")
	assertError(t, err, idpmetadata.ParseFailed)
	for ; err != nil; err = unwrap(err) {
		assert.NotContains(t, err.Error(), "secret-token")
	}

	document := strings.ReplaceAll(string(aggregate(3, func(i int) string { return bigIDP(i, "") })), "big.example", strings.Repeat("x", 800)+"&#10;")
	_, err = idpmetadata.Parse([]byte(document), "")
	assertError(t, err, idpmetadata.AmbiguousEntity)
}

func unwrap(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return nil
}

// assertSentence holds a message to what a status condition may carry.
func assertSentence(t testing.TB, message string) {
	t.Helper()
	assert.NotEmpty(t, message)
	assert.LessOrEqual(t, utf8.RuneCountInString(message), 500)
	assert.NotRegexp(t, `[[:cntrl:]]`, message)
	assert.True(t, utf8.ValidString(message))
	assert.Regexp(t, `; |^.{499}…$`, message, "says what to do next")
}

func FuzzParse(f *testing.F) {
	for _, entry := range readIndex[hostileFile](f, "hostile") {
		f.Add(readFile(f, "hostile", entry.File))
	}
	for _, file := range []string{"okta-kamilbabayev-exkbwvwn.xml", "ssocircle-pushpabrol.xml", "vmware-vsphere-sso.xml"} {
		f.Add(readFile(f, "real", file))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		d, err := idpmetadata.Parse(document, "")
		if err != nil {
			require.NotEmpty(t, idpmetadata.ReasonOf(err))
			return
		}
		assertReadsBack(t, d)
		accepted, err := idpmetadata.Accept(document, idpmetadata.Requirements{PreviousEntityID: d.EntityID, Now: now})
		if err != nil {
			require.NotEmpty(t, idpmetadata.ReasonOf(err))
			return
		}
		require.NotEmpty(t, accepted.SSO)
		require.NotEmpty(t, accepted.SigningCertificates)
		assertReadsBack(t, accepted)
	})
}
