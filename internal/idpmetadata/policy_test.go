package idpmetadata_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/idpmetadata"
)

// refusals maps the index's classes of refusal to our reasons and, since a
// reason covers several classes, to words that tell them apart.
var refusals = map[string]struct {
	reason  idpmetadata.Reason
	message string
}{
	"NotXML":           {idpmetadata.ParseFailed, "is not XML|not well-formed XML|is empty|HTML page"},
	"NotMetadata":      {idpmetadata.ParseFailed, "XML but not SAML metadata|HTML page, not SAML metadata"},
	"DoctypeForbidden": {idpmetadata.ParseFailed, "DOCTYPE"},
	"TooComplex":       {idpmetadata.ParseFailed, "too complex"},
	"NoIdPRole":        {idpmetadata.NoIDPRole, "no IDPSSODescriptor"},
	"Ambiguous":        {idpmetadata.AmbiguousEntity, "describes 3 IdPs, such as|describes the IdP .* 2 times"},
	"NoSSOEndpoint":    {idpmetadata.InsecureEndpoint, "no single sign-on endpoint with the HTTP-Redirect or HTTP-POST binding"},
	"BadEndpoint":      {idpmetadata.InsecureEndpoint, "no single sign-on endpoint of the IdP has a Location that is a complete https URL"},
	"InsecureEndpoint": {idpmetadata.InsecureEndpoint, "http, not https"},
	"NoSigningCert":    {idpmetadata.NoSigningCertificate, "no signing certificate|element is empty"},
	"BadCertificate":   {idpmetadata.NoSigningCertificate, "not a valid X.509 certificate|not valid base64"},
	"WeakKey":          {idpmetadata.NoSigningCertificate, "RSA key has 1024 bits"},
	"UnsupportedKey":   {idpmetadata.NoSigningCertificate, "key type Ed25519"},
	"Expired":          {idpmetadata.Expired, "valid until"},
	// EntityID is refined below.
	"EntityID": {"", "entityID|entity ID"},
}

// Where the index leaves a choice (level should), we do the first it names,
// but for these.
var alternatives = map[string]string{
	"cacheduration-garbage.xml": "accept", // the hint is ignored
	"cert-expired-only.xml":     "accept", // a condition of its own tells of expired certificates
}

// entityIDReasons refine the class EntityID.
var entityIDReasons = map[string]idpmetadata.Reason{
	"entityid-missing.xml":           idpmetadata.ParseFailed,
	"entityid-over-1024.xml":         idpmetadata.ParseFailed,
	"entityid-tenantid-template.xml": idpmetadata.EntityIDMismatch,
}

func TestO3_AcceptHostile(t *testing.T) {
	for _, entry := range readIndex[hostileFile](t, "hostile") {
		t.Run(entry.File, func(t *testing.T) {
			document := readFile(t, "hostile", entry.File)
			d, err := idpmetadata.Accept(document, idpmetadata.Requirements{Now: now})
			expected := entry.Expected
			if choice, ok := alternatives[entry.File]; ok {
				require.Equal(t, "should", entry.Level)
				expected = choice
			}
			switch {
			case entry.Level == "must-if-pinned" && entry.File == "signed-xsw-entities-sibling.xml":
				assertError(t, err, idpmetadata.AmbiguousEntity)
			case entry.Level == "must-if-pinned":
				require.NoError(t, err, "a signature says nothing where no signer is pinned")
			case expected == "accept":
				require.NoError(t, err)
				assertOutcome(t, d, entry)
				assertReadsBack(t, d)
			default:
				refusal, known := refusals[entry.Reason]
				require.True(t, known, "class %s has no mapping", entry.Reason)
				if refusal.reason == "" {
					refusal.reason = entityIDReasons[entry.File]
				}
				assertError(t, err, refusal.reason)
				assert.Regexp(t, refusal.message, err.Error())
				assert.Nil(t, d)
			}
			if entry.EntityIDIfNamed != "" {
				d, err := idpmetadata.Accept(document, idpmetadata.Requirements{EntityID: entry.EntityIDIfNamed, Now: now})
				require.NoError(t, err)
				assert.Equal(t, entry.EntityIDIfNamed, d.EntityID)
				assert.Equal(t, entry.SigningCertsIfNamed, fingerprints(d.SigningCertificates))
			}
		})
	}
}

func assertOutcome(t *testing.T, d *idpmetadata.Descriptor, entry hostileFile) {
	t.Helper()
	if entry.EntityID != "" {
		assert.Equal(t, entry.EntityID, d.EntityID)
	}
	if entry.SSORedirect != nil {
		assert.Equal(t, *entry.SSORedirect, first(d.SSO, redirect))
	}
	if entry.SSOPost != nil {
		assert.Equal(t, *entry.SSOPost, first(d.SSO, post))
	}
	if entry.SigningCerts != nil {
		assert.Equal(t, entry.SigningCerts, fingerprints(d.SigningCertificates))
	}
	if entry.NameIDFormats != nil {
		assert.Equal(t, entry.NameIDFormats, d.NameIDFormats)
	}
	assert.Equal(t, entry.WantAuthnRequestsSigned, d.WantAuthnRequestsSigned)
	assert.GreaterOrEqual(t, d.CacheDuration, time.Duration(0))
}

func TestAcceptHostileOnlyOneBinding(t *testing.T) {
	d, err := idpmetadata.Accept(readFile(t, "hostile", "sso-only-post.xml"), idpmetadata.Requirements{Now: now})
	require.NoError(t, err)
	assert.Empty(t, first(d.SSO, redirect))
	d, err = idpmetadata.Accept(readFile(t, "hostile", "sso-only-redirect.xml"), idpmetadata.Requirements{Now: now})
	require.NoError(t, err)
	assert.Empty(t, first(d.SSO, post))
}

// What no index entry says: which real documents could serve sign-ins.
func TestAcceptReal(t *testing.T) {
	refused := map[string]idpmetadata.Reason{
		"entra-common-tenantid-template-4keys.xml": idpmetadata.EntityIDMismatch,
		"keycloak-keeper-saml.xml":                 idpmetadata.InsecureEndpoint,
		"authentik-krynble-signed.xml":             idpmetadata.InsecureEndpoint,
		"shibboleth-utexas-enterprise.xml":         idpmetadata.InsecureEndpoint,
		"simplesamlphp-openidp-feide.xml":          idpmetadata.NoSigningCertificate,
		"federation-swamid-test-10idps.xml":        idpmetadata.AmbiguousEntity,
		"spring-two-idps.xml":                      idpmetadata.AmbiguousEntity,
		"real-malformed-leading-newline.xml":       idpmetadata.ParseFailed,
	}
	for _, entry := range readIndex[realFile](t, "real") {
		t.Run(entry.File, func(t *testing.T) {
			document := readFile(t, "real", entry.File)
			// Before any of them was written.
			_, err := idpmetadata.Accept(document, idpmetadata.Requirements{Now: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)})
			if reason, ok := refused[entry.File]; ok {
				assertError(t, err, reason)
				return
			}
			require.NoError(t, err)

			_, err = idpmetadata.Accept(document, idpmetadata.Requirements{Now: now})
			text := entry.ValidUntil
			if text == "" {
				text = entry.RootValidUntil
			}
			if text != "" {
				until, parseErr := time.Parse(time.RFC3339, text)
				require.NoError(t, parseErr)
				if until.Before(now) {
					assertError(t, err, idpmetadata.Expired)
					return
				}
			}
			require.NoError(t, err)
		})
	}
}

func TestAcceptPinsTheEntityID(t *testing.T) {
	const idp2 = "https://idp2.hostile.example/"
	good := readFile(t, "hostile", "control-good.xml")
	three := readFile(t, "hostile", "entities-three-idps.xml")
	for name, tc := range map[string]struct {
		document            []byte
		specified, previous string
		reason              idpmetadata.Reason
		message             string
	}{
		"as specified":                  {document: three, specified: idp2},
		"as before":                     {document: three, previous: idp2},
		"specified wins over before":    {document: three, specified: idp2, previous: "https://idp.hostile.example/metadata"},
		"not as specified":              {document: good, specified: idp2, reason: idpmetadata.EntityIDMismatch, message: "correct idpEntityID"},
		"not as before":                 {document: good, previous: idp2, reason: idpmetadata.EntityIDMismatch, message: "if the IdP was really replaced"},
		"specified is not in aggregate": {document: three, specified: "urn:other", reason: idpmetadata.EntityIDMismatch, message: "3 others, such as"},
		"specified is only a prefix":    {document: three, specified: strings.TrimSuffix(idp2, "/"), reason: idpmetadata.EntityIDMismatch},
		"template though specified": {
			document:  readFile(t, "hostile", "entityid-tenantid-template.xml"),
			specified: "https://sts.windows.net/{tenantid}/", reason: idpmetadata.EntityIDMismatch, message: "app-specific federation metadata URL",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := idpmetadata.Accept(tc.document, idpmetadata.Requirements{EntityID: tc.specified, PreviousEntityID: tc.previous, Now: now})
			if tc.reason == "" {
				require.NoError(t, err)
				assert.Equal(t, idp2, d.EntityID)
				return
			}
			assertError(t, err, tc.reason)
			assert.Contains(t, err.Error(), tc.message)
		})
	}
}

func TestAcceptExpiry(t *testing.T) {
	certificate := signingCertificate(t)
	document := strings.Replace(string(aggregate(1, func(i int) string { return bigIDP(i, certificate) })),
		"<EntityDescriptor", `<EntityDescriptor validUntil="2026-11-24T12:00:00Z"`, 1)
	_, err := idpmetadata.Accept([]byte(document), idpmetadata.Requirements{Now: now.Add(-time.Nanosecond)})
	require.NoError(t, err)
	_, err = idpmetadata.Accept([]byte(document), idpmetadata.Requirements{Now: now})
	assertError(t, err, idpmetadata.Expired)
}

func TestAcceptKeepsOnlySecureEndpoints(t *testing.T) {
	key := `<KeyDescriptor><ds:KeyInfo><ds:X509Data><ds:X509Certificate>` + signingCertificate(t) + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>`
	insecure := []string{
		"http://idp.example/", "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//idp.example/", "/sso", "sso", "", "https://",
		"https:///sso", "https:idp.example", "https://user@idp.example/", "https://idp.example/#a", "https://idp.example:port/", "https://idp.example/a b",
		"https://idp.example/&#10;x", "https://idp.example/&#9;x", "https://idp.example/&quot;x", "https://idp.example\\@evil.example/", "https://:443/",
		"https://idp.example/" + strings.Repeat("x", 2048),
	}
	var sso, slo strings.Builder
	for _, location := range insecure {
		sso.WriteString(`<SingleSignOnService Binding="` + redirect + `" Location="` + location + `"/>`)
		slo.WriteString(`<SingleLogoutService Binding="` + redirect + `" Location="` + location + `"/>`)
	}
	_, err := idpmetadata.Accept(idp("", key+sso.String()), idpmetadata.Requirements{Now: now})
	assertError(t, err, idpmetadata.InsecureEndpoint)

	d, err := idpmetadata.Accept(idp("", key+slo.String()+
		`<SingleLogoutService Binding="`+redirect+`" Location="https://idp.example/slo" ResponseLocation="javascript:alert(1)"/>`+
		`<SingleLogoutService Binding="`+post+`" Location="https://idp.example/slo" ResponseLocation="https://idp.example/slo/done"/>`+
		sso.String()+`<SingleSignOnService Binding="`+post+`" Location="HTTPS://idp.example:8443/sso?a=b&amp;c"/>`), idpmetadata.Requirements{Now: now})
	require.NoError(t, err)
	assert.Equal(t, []idpmetadata.Endpoint{{Binding: post, Location: "HTTPS://idp.example:8443/sso?a=b&c"}}, d.SSO)
	assert.Equal(t, []idpmetadata.Endpoint{{Binding: post, Location: "https://idp.example/slo", ResponseLocation: "https://idp.example/slo/done"}}, d.SLO)
}

const httpsSSO = `<SingleSignOnService Binding="` + redirect + `" Location="https://idp.example/sso"/>`

func TestAcceptLimitsSigningCertificates(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	var ten, huge strings.Builder
	for range 10 {
		ten.WriteString(certificateElement(base64.StdEncoding.EncodeToString(certify(t, &key.PublicKey, "idp"))))
	}
	for range 64 {
		huge.WriteString(certificateElement(base64.StdEncoding.EncodeToString(certify(t, &key.PublicKey, strings.Repeat("x", 5_500)))))
	}
	first := ten.String()[:strings.Index(ten.String(), "</KeyDescriptor>")+len("</KeyDescriptor>")]

	d, err := idpmetadata.Accept(idp("", ten.String()+first+httpsSSO), idpmetadata.Requirements{Now: now})
	require.NoError(t, err, "a repeated one does not count")
	assert.Len(t, d.SigningCertificates, 10)

	_, err = idpmetadata.Accept(idp("", ten.String()+certificateElement(signingCertificate(t))+httpsSSO), idpmetadata.Requirements{Now: now})
	assertError(t, err, idpmetadata.ParseFailed)
	assert.Contains(t, err.Error(), "publishes more than 10 signing certificates")
	assert.Contains(t, err.Error(), "; ask the IdP's administrator")

	_, err = idpmetadata.Accept(idp("", huge.String()+httpsSSO), idpmetadata.Requirements{Now: now})
	assertError(t, err, idpmetadata.NoSigningCertificate)
	assert.Contains(t, err.Error(), "too large for a certificate")
}

// What is accepted is stored in a Secret.
func TestAcceptLimitsTheResult(t *testing.T) {
	key := certificateElement(signingCertificate(t))
	location := "https://idp.example/?" + strings.Repeat("&amp;", 2000)
	endpoints := func(n int) string {
		return strings.Repeat(`<SingleLogoutService Binding="`+post+`" Location="`+location+`" ResponseLocation="`+location+`"/>`, n)
	}
	d, err := idpmetadata.Accept(idp("", key+endpoints(10)+httpsSSO), idpmetadata.Requirements{Now: now})
	require.NoError(t, err)
	assert.Len(t, d.SLO, 10)
	document, err := d.Marshal()
	require.NoError(t, err)
	assert.LessOrEqual(t, len(document), 256<<10)

	_, err = idpmetadata.Accept(idp("", key+endpoints(60)+httpsSSO), idpmetadata.Requirements{Now: now})
	assertError(t, err, idpmetadata.ParseFailed)
	assert.Contains(t, err.Error(), "take too much room")
}

func TestAcceptNamesTheDroppedCertificates(t *testing.T) {
	good, err := os.ReadFile("testdata/real/multi-signing-certs-rubysaml.xml")
	require.NoError(t, err)
	d, err := idpmetadata.Accept(good, idpmetadata.Requirements{Now: now})
	require.NoError(t, err)
	require.Len(t, d.DroppedCertificates, 2)
	var reasons []string
	for _, dropped := range d.DroppedCertificates {
		reasons = append(reasons, dropped.Reason)
		assert.Len(t, dropped.FingerprintSHA256, 64)
	}
	assert.ElementsMatch(t, []string{"it is not a valid X.509 certificate", "its RSA key has 1024 bits, at least 2048 are needed"}, reasons)
}

// An administrator accepts one document of another IdP, and nothing else of
// it is waived.
func TestAcceptDigest(t *testing.T) {
	const before = "https://idp2.hostile.example/"
	good := readFile(t, "hostile", "control-good.xml")
	accepted, err := idpmetadata.Accept(good, idpmetadata.Requirements{Now: now})
	require.NoError(t, err)
	digest := accepted.Digest()
	insecure := readFile(t, "hostile", "sso-http.xml")
	expired := readFile(t, "hostile", "validuntil-expired.xml")
	me := pinned(t)
	_, root, _ := strings.Cut(string(good), "\n") // without the XML declaration
	signed := []byte(me.sign(t, strings.Replace(root, "<EntityDescriptor ", `<EntityDescriptor ID="_1" `, 1), "_1"))
	digestOf := func(document []byte) string {
		_, err := idpmetadata.Accept(document, idpmetadata.Requirements{PreviousEntityID: before, Now: now})
		return refusalOf(t, err).Digest
	}
	require.Equal(t, digest, digestOf(good), "the refusal names what would be accepted")

	for name, tc := range map[string]struct {
		document []byte
		idpmetadata.Requirements
		reason  idpmetadata.Reason // of the refusal
		digest  string             // in the refusal
		message string
	}{
		"accepted":              {document: good, Requirements: idpmetadata.Requirements{PreviousEntityID: before, AcceptDigest: digest}},
		"not needed":            {document: good, Requirements: idpmetadata.Requirements{AcceptDigest: digest}},
		"not needed, as before": {document: good, Requirements: idpmetadata.Requirements{PreviousEntityID: accepted.EntityID, AcceptDigest: "sha256:other"}},
		"none": {
			document: good, Requirements: idpmetadata.Requirements{PreviousEntityID: before},
			reason: idpmetadata.EntityIDMismatch, digest: digest,
			message: "set idpEntityID to the new entity ID or the annotation sso.cequence.cloud/accept-metadata to " + digest + ", else",
		},
		"of another document": {
			document: good, Requirements: idpmetadata.Requirements{PreviousEntityID: before, AcceptDigest: digestOf(insecure)},
			reason: idpmetadata.EntityIDMismatch, digest: digest, message: digest,
		},
		"against the spec": {
			document: good, Requirements: idpmetadata.Requirements{EntityID: before, PreviousEntityID: before, AcceptDigest: digest},
			reason: idpmetadata.EntityIDMismatch, message: "; correct idpEntityID or the metadata source",
		},
		"against the spec alone": {
			document: good, Requirements: idpmetadata.Requirements{EntityID: before, AcceptDigest: digest},
			reason: idpmetadata.EntityIDMismatch,
		},
		"one of several": {
			document: readFile(t, "hostile", "entities-three-idps.xml"), Requirements: idpmetadata.Requirements{PreviousEntityID: "urn:gone", AcceptDigest: digest},
			reason: idpmetadata.EntityIDMismatch, message: "3 others",
		},
		"insecure all the same": {
			document: insecure, Requirements: idpmetadata.Requirements{PreviousEntityID: before, AcceptDigest: digestOf(insecure)},
			reason: idpmetadata.InsecureEndpoint, digest: digestOf(insecure),
		},
		"expired all the same": {
			document: expired, Requirements: idpmetadata.Requirements{PreviousEntityID: before, AcceptDigest: digestOf(expired)},
			reason: idpmetadata.Expired, digest: digestOf(expired),
		},
		"signed": {
			document: signed, Requirements: idpmetadata.Requirements{PreviousEntityID: before, AcceptDigest: digest, Signers: certificates(nil, me)},
		},
		"signed, one in an aggregate": {
			document:     []byte(entities("", string(signed))),
			Requirements: idpmetadata.Requirements{PreviousEntityID: before, AcceptDigest: digest, Signers: certificates(nil, me)},
		},
		"signed by another all the same": {
			document: signed, Requirements: idpmetadata.Requirements{PreviousEntityID: before, AcceptDigest: digest, Signers: certificates(nil, other(t))},
			reason: idpmetadata.SignatureInvalid,
		},
		"without an entity ID": {
			document: readFile(t, "hostile", "entityid-missing.xml"), Requirements: idpmetadata.Requirements{PreviousEntityID: before},
			reason: idpmetadata.EntityIDMismatch, message: "set idpEntityID to the new entity ID, else",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.Now = now
			d, err := idpmetadata.Accept(tc.document, tc.Requirements)
			if tc.reason == "" {
				require.NoError(t, err)
				assert.Equal(t, accepted.EntityID, d.EntityID)
				return
			}
			assert.Nil(t, d)
			assertError(t, err, tc.reason)
			assert.Equal(t, tc.digest, refusalOf(t, err).Digest)
			assert.Contains(t, err.Error(), tc.message)
		})
	}
}

func refusalOf(t testing.TB, err error) *idpmetadata.Error {
	t.Helper()
	var refusal *idpmetadata.Error
	require.ErrorAs(t, err, &refusal)
	return refusal
}

// The digest is of use only as a whole.
func TestAcceptDigestIsNeverCut(t *testing.T) {
	name := "urn:" + strings.Repeat("\u200b\"", 200)
	document := strings.Replace(string(idp("", certificateElement(signingCertificate(t))+httpsSSO)), "https://idp.example/", strings.ReplaceAll(name, `"`, "&quot;"), 1)
	_, err := idpmetadata.Accept([]byte(document), idpmetadata.Requirements{PreviousEntityID: strings.Repeat("\u200b", 1000), Now: now})
	assertError(t, err, idpmetadata.EntityIDMismatch)
	assert.Contains(t, err.Error(), refusalOf(t, err).Digest+", else correct the metadata source")
}
