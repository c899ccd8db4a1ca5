package sp_test

import (
	"bytes"
	"compress/flate"
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
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/sp"
)

const (
	sloURL      = "https://acme.s.example.test/saml/slo"
	logoutState = "_state"

	goodLogout = `<samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_logout" Version="2.0" IssueInstant="2026-11-24T12:00:00Z" NotOnOrAfter="2026-11-24T12:04:00Z" Destination="https://acme.s.example.test/saml/slo">` +
		`<Issuer xmlns="urn:oasis:names:tc:SAML:2.0:assertion">https://idp.example.test/</Issuer>` +
		`<NameID xmlns="urn:oasis:names:tc:SAML:2.0:assertion" Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent" NameQualifier="nq" SPNameQualifier="spnq" SPProvidedID="sppid">alice@acme.example</NameID>` +
		`<samlp:SessionIndex>_session</samlp:SessionIndex><samlp:SessionIndex>_other</samlp:SessionIndex></samlp:LogoutRequest>`

	goodLoggedOut = `<samlp:LogoutResponse xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_done" Version="2.0" IssueInstant="2026-11-24T12:00:00Z" Destination="https://acme.s.example.test/saml/slo" InResponseTo="id-5f1d0f3a">` +
		`<Issuer xmlns="urn:oasis:names:tc:SAML:2.0:assertion">https://idp.example.test/</Issuer>` +
		`<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status></samlp:LogoutResponse>`
)

func logoutExpectations(idps ...idp) sp.LogoutExpectations {
	want := sp.LogoutExpectations{SLOURL: sloURL, IDPEntityID: idpID, Now: now.Add(2 * time.Second), ClockSkew: sp.DefaultClockSkew}
	for _, i := range idps {
		want.SigningCertificates = append(want.SigningCertificates, i.certificate)
	}
	return want
}

func deflated(t testing.TB, document string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	require.NoError(t, err)
	_, err = w.Write([]byte(document))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

// redirect returns the signed query of the Redirect binding.
func (i idp) redirect(t testing.TB, parameter, document, relayState string) string {
	t.Helper()
	query := parameter + "=" + url.QueryEscape(deflated(t, document))
	if relayState != "" {
		query += "&RelayState=" + url.QueryEscape(relayState)
	}
	return i.signQuery(t, query, "rsa-sha256")
}

// signQuery appends SigAlg and Signature over what the query says.
func (i idp) signQuery(t testing.TB, query, algorithm string) string {
	t.Helper()
	if !strings.HasPrefix(algorithm, "http") {
		algorithm = moreURI + algorithm
	}
	query += "&SigAlg=" + url.QueryEscape(algorithm)
	return query + "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(i.signOctets(t, query, algorithm)))
}

func (i idp) signOctets(t testing.TB, octets, algorithm string) []byte {
	t.Helper()
	hash := hashOf(algorithm)
	h := hash.New()
	h.Write([]byte(octets))
	value, err := i.key.Sign(rand.Reader, h.Sum(nil), hash)
	require.NoError(t, err)
	if public, ok := i.key.Public().(*ecdsa.PublicKey); ok {
		var parts struct{ R, S *big.Int }
		_, err := asn1.Unmarshal(value, &parts)
		require.NoError(t, err)
		size := (public.Params().BitSize + 7) / 8
		value = append(parts.R.FillBytes(make([]byte, size)), parts.S.FillBytes(make([]byte, size))...)
	}
	return value
}

func verifyLogoutQuery(query string, want sp.LogoutExpectations) (*sp.LogoutRequest, error) {
	m, err := sp.LogoutFromQuery(query)
	if err != nil {
		return nil, err
	}
	return sp.VerifyLogoutRequest(m, want)
}

func form(parameter, document string) url.Values {
	return url.Values{parameter: {base64.StdEncoding.EncodeToString([]byte(document))}, "RelayState": {logoutState}}
}

func verifyLogoutForm(form url.Values, want sp.LogoutExpectations) (*sp.LogoutRequest, error) {
	m, err := sp.LogoutFromForm(form)
	if err != nil {
		return nil, err
	}
	return sp.VerifyLogoutRequest(m, want)
}

func saidOf(want sp.LogoutExpectations) *sp.LogoutRequest {
	return &sp.LogoutRequest{
		ID: "_logout", IssueInstant: now, NotOnOrAfter: now.Add(4*time.Minute + want.ClockSkew), Issuer: idpID, Destination: sloURL,
		NameID: sp.NameID{Value: "alice@acme.example", Format: "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
			NameQualifier: "nq", SPNameQualifier: "spnq", SPProvidedID: "sppid"},
		SessionIndexes: []string{"_session", "_other"},
	}
}

func TestLogoutRequest(t *testing.T) {
	i, other := validIDP(t, idpKey()), validIDP(t, idpKey2())
	want := logoutExpectations(other, i)
	for _, relayState := range []string{"", logoutState, "a&b=c%20+/"} {
		m, err := sp.LogoutFromQuery(i.redirect(t, "SAMLRequest", goodLogout, relayState))
		require.NoError(t, err)
		assert.False(t, m.Response)
		assert.Equal(t, relayState, m.RelayState)
		got, err := sp.VerifyLogoutRequest(m, want)
		require.NoError(t, err)
		assert.Equal(t, saidOf(want), got)
	}
	m, err := sp.LogoutFromForm(form("SAMLRequest", i.sign(t, goodLogout, "_logout", signing{})))
	require.NoError(t, err)
	assert.Equal(t, logoutState, m.RelayState)
	got, err := sp.VerifyLogoutRequest(m, want)
	require.NoError(t, err)
	assert.Equal(t, saidOf(want), got)

	_, err = sp.VerifyLogoutRequest(m, sp.LogoutExpectations{SLOURL: sloURL, IDPEntityID: idpID, Now: now})
	assert.Equal(t, sp.CodeNoTrustedCertificate, sp.CodeOf(err))
	want.SLOURL = ""
	_, err = sp.VerifyLogoutRequest(m, want)
	assert.Equal(t, sp.CodeInternal, sp.CodeOf(err))
}

// What is verified are the octets that came, and nobody reads others.
func TestA14_RedirectSignature(t *testing.T) {
	i, attacker := validIDP(t, idpKey()), validIDP(t, attackerKey())
	want := logoutExpectations(i)
	good := i.redirect(t, "SAMLRequest", goodLogout, logoutState)
	forged := edit(t, goodLogout, "alice@", "bob@")
	message := func(document string) string { return "SAMLRequest=" + url.QueryEscape(deflated(t, document)) }
	forgedPart := message(forged)
	parts := strings.Split(good, "&")
	require.Len(t, parts, 4)
	request, relayState, sigAlg, signature := parts[0], parts[1], parts[2], parts[3]
	join := func(parts ...string) string { return strings.Join(parts, "&") }
	lower := regexp.MustCompile("%[0-9A-F]{2}").ReplaceAllStringFunc(request, strings.ToLower)
	require.NotEqual(t, request, lower)

	for name, query := range map[string]string{
		"as it came":            good,
		"another order":         join(signature, sigAlg, relayState, request),
		"parameters of others":  join("lang=en", good, "x", "y=%41"),
		"signed in lower case":  i.signQuery(t, join(lower, relayState), "rsa-sha256"),
		"signed without escape": i.signQuery(t, join(request, "RelayState=/a:b"), "rsa-sha256"),
		"encoding":              join(good, "SAMLEncoding="+url.QueryEscape("urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE")),
		"RSA-SHA512":            i.signQuery(t, join(request, relayState), "rsa-sha512"),
	} {
		got, err := verifyLogoutQuery(query, want)
		require.NoError(t, err, name)
		assert.Equal(t, "alice@acme.example", got.NameID.Value, name)
	}

	emptyValue := "Signature="
	for name, test := range map[string]struct {
		query string
		code  sp.Code
	}{
		"no signature":                    {join(request, relayState), sp.CodeSignatureMissing},
		"no Signature":                    {join(request, relayState, sigAlg), sp.CodeSignatureStructure},
		"no SigAlg":                       {join(request, relayState, signature), sp.CodeSignatureStructure},
		"empty Signature":                 {join(request, relayState, sigAlg, emptyValue), sp.CodeSignatureStructure},
		"Signature of no base64":          {join(request, relayState, sigAlg, "Signature=%25%25"), sp.CodeSignatureStructure},
		"another message":                 {join(forgedPart, relayState, sigAlg, signature), sp.CodeUnknownSigningKey},
		"another RelayState":              {join(request, "RelayState=x", sigAlg, signature), sp.CodeUnknownSigningKey},
		"no RelayState":                   {join(request, sigAlg, signature), sp.CodeUnknownSigningKey},
		"escaped in another way":          {join(lower, relayState, sigAlg, signature), sp.CodeUnknownSigningKey},
		"escaped more":                    {join(request, "RelayState=%5Fstate", sigAlg, signature), sp.CodeUnknownSigningKey},
		"another SigAlg":                  {join(request, relayState, "SigAlg="+url.QueryEscape(moreURI+"rsa-sha512"), signature), sp.CodeUnknownSigningKey},
		"message twice":                   {join(forgedPart, good), sp.CodeParametersInvalid},
		"message twice, the good first":   {join(good, forgedPart), sp.CodeParametersInvalid},
		"RelayState twice":                {join(good, "RelayState=x"), sp.CodeParametersInvalid},
		"SigAlg twice":                    {join(good, sigAlg), sp.CodeParametersInvalid},
		"Signature twice":                 {join(good, signature), sp.CodeParametersInvalid},
		"the name escaped":                {join(strings.Replace(forgedPart, "SAMLR", "SAML%52", 1), good), sp.CodeParametersInvalid},
		"the name escaped, alone":         {join(strings.Replace(request, "SAMLR", "SAML%52", 1), relayState, sigAlg, signature), sp.CodeParametersInvalid},
		"a name that is not escaped well": {join(good, "%zz=1"), sp.CodeParametersInvalid},
		"both messages":                   {join(good, strings.Replace(forgedPart, "SAMLRequest", "SAMLResponse", 1)), sp.CodeParametersInvalid},
		"no message":                      {join(relayState, sigAlg, signature), sp.CodeParametersInvalid},
		"nothing":                         {"", sp.CodeParametersInvalid},
		"signed as the response":          {i.signQuery(t, strings.Replace(request, "SAMLRequest", "SAMLResponse", 1), "rsa-sha256"), sp.CodeStructureInvalid},
		"semicolons":                      {strings.ReplaceAll(good, "&", ";"), sp.CodeEncodingInvalid},
		"an attacker's key":               {attacker.redirect(t, "SAMLRequest", goodLogout, logoutState), sp.CodeUnknownSigningKey},
		"RSA-SHA1":                        {i.signQuery(t, request, "http://www.w3.org/2000/09/xmldsig#rsa-sha1"), sp.CodeAlgorithmNotAllowed},
		"HMAC":                            {i.signQuery(t, request, "hmac-sha256"), sp.CodeAlgorithmNotAllowed},
		"no algorithm":                    {join(request, relayState, "SigAlg=", signature), sp.CodeAlgorithmNotAllowed},
		"ECDSA by an RSA key":             {i.signQuery(t, request, "ecdsa-sha256"), sp.CodeUnknownSigningKey},
		"another encoding":                {join(good, "SAMLEncoding=none"), sp.CodeEncodingInvalid},
		"no base64":                       {join("SAMLRequest=%25", relayState, sigAlg, signature), sp.CodeEncodingInvalid},
		"not escaped well":                {join("SAMLRequest=%2", relayState, sigAlg, signature), sp.CodeEncodingInvalid},
		"not deflated":                    {i.signQuery(t, "SAMLRequest="+url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(goodLogout))), "rsa-sha256"), sp.CodeEncodingInvalid},
		"signed within, not in the query": {message(i.sign(t, goodLogout, "_logout", signing{})), sp.CodeSignatureMissing},
		"signed twice":                    {i.redirect(t, "SAMLRequest", i.sign(t, goodLogout, "_logout", signing{}), ""), sp.CodeSignatureStructure},
		"too long":                        {good + "&x=" + strings.Repeat("x", sp.MaxQueryBytes), sp.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := verifyLogoutQuery(test.query, want)
			assert.Nil(t, got)
			assert.Equal(t, test.code, sp.CodeOf(err), "%v", err)
		})
	}

	// Each trusted key is tried, of both kinds; what holds for their certificates
	// holds here.
	ec := validIDP(t, ecKey(t, elliptic.P256()))
	_, err := verifyLogoutQuery(ec.signQuery(t, request, "ecdsa-sha256"), logoutExpectations(i, ec))
	require.NoError(t, err)
	for code, signer := range map[sp.Code]idp{
		sp.CodeSigningKeyWeak:         validIDP(t, weakKey()),
		sp.CodeCertificateExpired:     newIDP(t, idpKey2(), now.AddDate(-2, 0, 0), now),
		sp.CodeCertificateNotYetValid: newIDP(t, idpKey2(), now.Add(time.Hour), now.AddDate(1, 0, 0)),
	} {
		_, err := verifyLogoutQuery(signer.redirect(t, "SAMLRequest", goodLogout, ""), logoutExpectations(i, signer))
		assert.Equal(t, code, sp.CodeOf(err))
		// Only an end is forgiven, where the tenant does so.
		lenient := logoutExpectations(i, signer)
		lenient.AcceptExpired = true
		_, err = verifyLogoutQuery(signer.redirect(t, "SAMLRequest", goodLogout, ""), lenient)
		if code == sp.CodeCertificateExpired {
			code = ""
		}
		assert.Equal(t, code, sp.CodeOf(err))
	}
}

func TestA14_FormSignature(t *testing.T) {
	i, attacker := validIDP(t, idpKey()), validIDP(t, attackerKey())
	want := logoutExpectations(i)
	signed := i.sign(t, goodLogout, "_logout", signing{})
	good := form("SAMLRequest", signed)
	with := func(name string, values ...string) url.Values {
		f := url.Values{}
		for n, v := range good {
			f[n] = v
		}
		f[name] = values
		return f
	}
	wrapped := edit(t, goodLogout, "alice@", "bob@", `ID="_logout"`, `ID="_forged"`)
	wrapped = edit(t, wrapped, "</Issuer>", "</Issuer><samlp:Extensions>"+signed+"</samlp:Extensions>")
	for name, test := range map[string]struct {
		form url.Values
		code sp.Code
	}{
		"no signature":      {form("SAMLRequest", goodLogout), sp.CodeSignatureMissing},
		"changed":           {form("SAMLRequest", edit(t, signed, "alice@", "bob@")), sp.CodeSignatureInvalid},
		"wrapped":           {form("SAMLRequest", wrapped), sp.CodeSignatureStructure},
		"an attacker's key": {form("SAMLRequest", attacker.sign(t, goodLogout, "_logout", signing{})), sp.CodeUnknownSigningKey},
		"RSA-SHA1":          {form("SAMLRequest", i.sign(t, goodLogout, "_logout", signing{algorithm: "http://www.w3.org/2000/09/xmldsig#rsa-sha1"})), sp.CodeAlgorithmNotAllowed},
		"message twice":     {with("SAMLRequest", good.Get("SAMLRequest"), good.Get("SAMLRequest")), sp.CodeParametersInvalid},
		"RelayState twice":  {with("RelayState", "a", "b"), sp.CodeParametersInvalid},
		"both messages":     {with("SAMLResponse", good.Get("SAMLRequest")), sp.CodeParametersInvalid},
		"as the response":   {form("SAMLResponse", signed), sp.CodeStructureInvalid},
		"no message":        {url.Values{}, sp.CodeParametersInvalid},
		"no base64":         {with("SAMLRequest", "%"), sp.CodeEncodingInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := verifyLogoutForm(test.form, want)
			assert.Equal(t, test.code, sp.CodeOf(err), "%v", err)
		})
	}
}

func TestA11_LogoutBomb(t *testing.T) {
	i := validIDP(t, idpKey())
	bomb := deflated(t, edit(t, goodLogout, "<samlp:SessionIndex>_session", "<samlp:SessionIndex>"+strings.Repeat(" ", 40<<20)))
	require.Less(t, len(bomb), sp.MaxQueryBytes)
	_, err := verifyLogoutQuery(i.signQuery(t, "SAMLRequest="+url.QueryEscape(bomb), "rsa-sha256"), logoutExpectations(i))
	assert.Equal(t, sp.CodeTooLarge, sp.CodeOf(err))
	// Without a signature nothing is inflated.
	_, err = verifyLogoutQuery("SAMLRequest="+url.QueryEscape(bomb), logoutExpectations(i))
	assert.Equal(t, sp.CodeSignatureMissing, sp.CodeOf(err))
	m, err := sp.LogoutFromQuery("SAMLResponse=" + url.QueryEscape(bomb))
	require.NoError(t, err)
	_, err = sp.VerifyLogoutResponse(m, request, logoutExpectations(i))
	assert.Equal(t, sp.CodeTooLarge, sp.CodeOf(err))
	_, err = verifyLogoutForm(url.Values{"SAMLRequest": {strings.Repeat("A", 2*sp.MaxResponseBytes+4)}}, logoutExpectations(i))
	assert.Equal(t, sp.CodeTooLarge, sp.CodeOf(err))
}

// Signed, and to be refused all the same.
func TestLogoutRequestRefusals(t *testing.T) {
	i := validIDP(t, idpKey())
	const nameID = `<NameID xmlns="urn:oasis:names:tc:SAML:2.0:assertion" Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent" NameQualifier="nq" SPNameQualifier="spnq" SPProvidedID="sppid">alice@acme.example</NameID>`
	for name, test := range map[string]struct {
		edits []string
		code  sp.Code
	}{
		"another root":           {[]string{"samlp:LogoutRequest", "samlp:AuthnRequest"}, sp.CodeStructureInvalid},
		"another version":        {[]string{`Version="2.0"`, `Version="1.1"`}, sp.CodeStructureInvalid},
		"no ID":                  {[]string{`ID="_logout" `, ``}, sp.CodeStructureInvalid},
		"another issuer":         {[]string{idpID, "https://idp.example.test"}, sp.CodeIssuerMismatch},
		"Entra's other issuer":   {[]string{idpID, "https://login.microsoftonline.com/"}, sp.CodeIssuerMismatch},
		"no destination":         {[]string{` Destination="https://acme.s.example.test/saml/slo"`, ``}, sp.CodeDestinationMissing},
		"another destination":    {[]string{sloURL, "https://globex.s.example.test/saml/slo"}, sp.CodeDestinationMismatch},
		"the ACS":                {[]string{sloURL, acsURL}, sp.CodeDestinationMismatch},
		"no instant":             {[]string{` IssueInstant="2026-11-24T12:00:00Z"`, ``}, sp.CodeIssueInstantInvalid},
		"too old":                {[]string{`IssueInstant="2026-11-24T12:00:00Z"`, `IssueInstant="2026-11-24T11:52:02Z"`, "12:04:00", "13:00:00"}, sp.CodeIssueInstantInvalid},
		"from the future":        {[]string{`IssueInstant="2026-11-24T12:00:00Z"`, `IssueInstant="2026-11-24T12:03:03Z"`}, sp.CodeIssueInstantInvalid},
		"over":                   {[]string{"12:04:00", "11:57:02"}, sp.CodeExpired},
		"no time":                {[]string{"2026-11-24T12:04:00Z", "soon"}, sp.CodeStructureInvalid},
		"no NameID":              {[]string{nameID, ""}, sp.CodeNameIDMissing},
		"an empty NameID":        {[]string{"alice@acme.example", " "}, sp.CodeNameIDMissing},
		"two NameIDs":            {[]string{nameID, nameID + nameID}, sp.CodeStructureInvalid},
		"a blank in the NameID":  {[]string{">alice", "> alice"}, sp.CodeNameIDInvalid},
		"an empty EncryptedID":   {[]string{nameID, `<EncryptedID xmlns="urn:oasis:names:tc:SAML:2.0:assertion"/>`}, sp.CodeDecryptionFailed},
		"an element in an index": {[]string{"_session<", "_session<x/><"}, sp.CodeStructureInvalid},
		"a DOCTYPE":              {[]string{"<samlp:LogoutRequest ", "<!DOCTYPE x><samlp:LogoutRequest "}, sp.CodeXMLForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := verifyLogoutQuery(i.redirect(t, "SAMLRequest", edit(t, goodLogout, test.edits...), ""), logoutExpectations(i))
			assert.Equal(t, test.code, sp.CodeOf(err), "%v", err)
		})
	}
	got, err := verifyLogoutQuery(i.redirect(t, "SAMLRequest", edit(t, goodLogout, `NotOnOrAfter="2026-11-24T12:04:00Z" `, "", "_session<", "<"), ""), logoutExpectations(i))
	require.NoError(t, err)
	assert.Equal(t, now.Add(sp.MaxAge+sp.DefaultClockSkew), got.NotOnOrAfter)
	assert.Equal(t, []string{"_other"}, got.SessionIndexes)
}

func TestEncryptedNameID(t *testing.T) {
	i := validIDP(t, idpKey())
	want := logoutExpectations(i)
	want.DecryptionKeys = []*rsa.PrivateKey{spKey2(), spKey()}
	start, end := strings.Index(goodLogout, "<NameID"), strings.Index(goodLogout, "<samlp:SessionIndex>")
	nameID := goodLogout[start:end]
	with := func(content string, e encryption) string {
		id := strings.ReplaceAll(encrypted(t, content, e), "EncryptedAssertion", "EncryptedID")
		return edit(t, goodLogout, nameID, id)
	}
	for _, e := range []encryption{{}, {cipher: "http://www.w3.org/2009/xmlenc11#aes128-gcm", sibling: true}} {
		got, err := verifyLogoutQuery(i.redirect(t, "SAMLRequest", with(nameID, e), ""), want)
		require.NoError(t, err)
		assert.Equal(t, saidOf(want), got)
	}
	got, err := verifyLogoutForm(form("SAMLRequest", i.sign(t, with(nameID, encryption{}), "_logout", signing{})), want)
	require.NoError(t, err)
	assert.Equal(t, saidOf(want), got)

	flip := func(ciphertext []byte) []byte {
		ciphertext[len(ciphertext)-1] ^= 1
		return ciphertext
	}
	for name, test := range map[string]struct {
		document string
		code     sp.Code
	}{
		"damaged":         {with(nameID, encryption{tamper: flip}), sp.CodeDecryptionFailed},
		"for another key": {with(nameID, encryption{key: &attackerKey().PublicKey}), sp.CodeDecryptionFailed},
		"RSA 1.5":         {with(nameID, encryption{oaep: "http://www.w3.org/2001/04/xmlenc#rsa-1_5"}), sp.CodeDecryptionFailed},
		"another element": {with(goodAssertion, encryption{}), sp.CodeDecryptionFailed},
		"two NameIDs":     {edit(t, with(nameID, encryption{}), "<samlp:SessionIndex>_session", nameID+"<samlp:SessionIndex>_session"), sp.CodeStructureInvalid},
		"with a blank":    {with(edit(t, nameID, ">alice", "> alice"), encryption{}), sp.CodeNameIDInvalid},
	} {
		_, err := verifyLogoutQuery(i.redirect(t, "SAMLRequest", test.document, ""), want)
		assert.Equal(t, test.code, sp.CodeOf(err), "%s: %v", name, err)
		// Nobody but the IdP learns any of that.
		_, err = verifyLogoutForm(form("SAMLRequest", test.document), want)
		assert.Equal(t, sp.CodeSignatureMissing, sp.CodeOf(err), name)
	}
}

func verifyResponse(t testing.TB, query string, want sp.LogoutExpectations) (*sp.LogoutResponse, error) {
	t.Helper()
	m, err := sp.LogoutFromQuery(query)
	require.NoError(t, err)
	assert.True(t, m.Response)
	return sp.VerifyLogoutResponse(m, request, want)
}

func TestLogoutResponse(t *testing.T) {
	i := validIDP(t, idpKey())
	want := logoutExpectations(i)
	expected := &sp.LogoutResponse{ID: "_done", IssueInstant: now, Issuer: idpID, Destination: sloURL, InResponseTo: request, Status: sp.StatusSuccess, Signed: true}
	got, err := verifyResponse(t, i.redirect(t, "SAMLResponse", goodLoggedOut, "x"), want)
	require.NoError(t, err)
	assert.Equal(t, expected, got)
	m, err := sp.LogoutFromForm(form("SAMLResponse", i.sign(t, goodLoggedOut, "_done", signing{})))
	require.NoError(t, err)
	got, err = sp.VerifyLogoutResponse(m, request, want)
	require.NoError(t, err)
	assert.Equal(t, expected, got)
	_, err = sp.VerifyLogoutResponse(m, "", want)
	assert.Equal(t, sp.CodeUnsolicited, sp.CodeOf(err))
	_, err = sp.VerifyLogoutRequest(m, want)
	assert.Equal(t, sp.CodeStructureInvalid, sp.CodeOf(err))

	unsigned := "SAMLResponse=" + url.QueryEscape(deflated(t, goodLoggedOut))
	got, err = verifyResponse(t, unsigned, want)
	require.NoError(t, err)
	assert.False(t, got.Signed)
	// A signature that does not hold is not the same as none.
	_, err = verifyResponse(t, validIDP(t, attackerKey()).redirect(t, "SAMLResponse", goodLoggedOut, ""), want)
	assert.Equal(t, sp.CodeUnknownSigningKey, sp.CodeOf(err))

	const success = `"urn:oasis:names:tc:SAML:2.0:status:Success"/>`
	for name, test := range map[string]struct {
		edits []string
		code  sp.Code
	}{
		"another root":        {[]string{"samlp:LogoutResponse", "samlp:Response"}, sp.CodeStructureInvalid},
		"another request":     {[]string{request, "id-other"}, sp.CodeInResponseToMismatch},
		"no request":          {[]string{` InResponseTo="id-5f1d0f3a"`, ``}, sp.CodeInResponseToMismatch},
		"another issuer":      {[]string{idpID, "https://evil.example/"}, sp.CodeIssuerMismatch},
		"another destination": {[]string{sloURL, acsURL}, sp.CodeDestinationMismatch},
		"too old":             {[]string{"12:00:00Z", "11:52:02Z"}, sp.CodeIssueInstantInvalid},
		"no status":           {[]string{"<samlp:StatusCode Value=" + success, ""}, sp.CodeStructureInvalid},
		"failure":             {[]string{"status:Success", "status:Responder"}, sp.CodeStatusNotSuccess},
		"in part": {[]string{success, `"urn:oasis:names:tc:SAML:2.0:status:Success"><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:PartialLogout"/></samlp:StatusCode>`},
			sp.CodeStatusNotSuccess},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := verifyResponse(t, i.redirect(t, "SAMLResponse", edit(t, goodLoggedOut, test.edits...), ""), want)
			assert.Nil(t, got)
			assert.Equal(t, test.code, sp.CodeOf(err), "%v", err)
		})
	}
}

// Entra ID's messages, as they have been seen.
func TestE17_EntraLogoutMessages(t *testing.T) {
	const directory = "7d0c8a51-94a3-4c55-9e0e-1b8f3c2b6a40/"
	i := validIDP(t, idpKey())
	want := logoutExpectations(i)
	want.IDPEntityID = "https://sts.windows.net/" + directory

	got, err := verifyLogoutQuery(i.redirect(t, "SAMLRequest", `<samlp:LogoutRequest ID="_3cc87400-d8b8-4cf7-8a7f-000000000000" Version="2.0" IssueInstant="2026-11-24T12:00:00.623Z" Destination="`+sloURL+
		`" NotOnOrAfter="2026-11-24T13:00:00.623Z" xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"><Issuer xmlns="urn:oasis:names:tc:SAML:2.0:assertion">https://sts.windows.net/`+directory+
		`</Issuer><NameID xmlns="urn:oasis:names:tc:SAML:2.0:assertion">alice@acme.example</NameID><samlp:SessionIndex>_9cb38a17-bae8-4d60-9bcf-000000000000</samlp:SessionIndex></samlp:LogoutRequest>`, ""), want)
	require.NoError(t, err)
	assert.Equal(t, sp.NameID{Value: "alice@acme.example"}, got.NameID)
	assert.Equal(t, []string{"_9cb38a17-bae8-4d60-9bcf-000000000000"}, got.SessionIndexes)
	assert.Equal(t, now.Add(623*time.Millisecond+sp.MaxAge+sp.DefaultClockSkew), got.NotOnOrAfter, "not an hour")

	response := func(issuer string) string {
		return `<samlp:LogoutResponse ID="_f0961a83-d071-4be5-a18c-9ae7b22987a4" Version="2.0" IssueInstant="2026-11-24T12:00:00.405Z" InResponseTo="` + request +
			`" xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"><Issuer xmlns="urn:oasis:names:tc:SAML:2.0:assertion">` + issuer +
			`</Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success" /></samlp:Status></samlp:LogoutResponse>`
	}
	for issuer, ok := range map[string]bool{
		"https://sts.windows.net/" + directory:                                    true,
		"https://login.microsoftonline.com/" + directory:                          true,
		"https://login.microsoftonline.com/":                                      false,
		"https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000/": false,
		"https://login.microsoftonline.com.evil.example/" + directory:             false,
	} {
		answer, err := verifyResponse(t, i.redirect(t, "SAMLResponse", response(issuer), ""), want)
		if !ok {
			assert.Equal(t, sp.CodeIssuerMismatch, sp.CodeOf(err), issuer)
			continue
		}
		require.NoError(t, err, issuer)
		assert.True(t, answer.Signed)
		assert.Equal(t, issuer, answer.Issuer)
	}
}

// What we write, we take: the messages are the same in both directions.
func TestWrittenLogoutMessages(t *testing.T) {
	us := validIDP(t, spKey())
	want := logoutExpectations(us)
	request := sp.LogoutRequest{
		ID: sp.NewRequestID(), IssueInstant: now, NotOnOrAfter: now.Add(time.Minute), Issuer: idpID, Destination: sloURL,
		NameID:         sp.NameID{Value: `<a&"b>`, Format: "f", NameQualifier: `"`, SPNameQualifier: "<", SPProvidedID: "&"},
		SessionIndexes: []string{"<1>", "2"},
	}
	response := sp.LogoutResponse{ID: sp.NewRequestID(), IssueInstant: now, Issuer: idpID, Destination: sloURL, InResponseTo: `"<r>`, Status: sp.StatusSuccess}
	check := func(m *sp.LogoutMessage, err error) {
		t.Helper()
		require.NoError(t, err)
		assert.Equal(t, "a b", m.RelayState)
		if m.Response {
			got, err := sp.VerifyLogoutResponse(m, response.InResponseTo, want)
			require.NoError(t, err)
			expected := response
			expected.Signed = true
			assert.Equal(t, &expected, got)
			return
		}
		got, err := sp.VerifyLogoutRequest(m, want)
		require.NoError(t, err)
		expected := request
		expected.NotOnOrAfter = expected.NotOnOrAfter.Add(want.ClockSkew)
		assert.Equal(t, &expected, got)
	}
	for _, m := range []interface {
		RedirectURL(string, crypto.Signer) (string, error)
		PostForm(string, crypto.Signer) (sp.PostForm, error)
	}{request, response} {
		target, err := m.RedirectURL("a b", spKey())
		require.NoError(t, err)
		_, query, _ := strings.Cut(target, "?")
		check(sp.LogoutFromQuery(query))
		f, err := m.PostForm("a b", spKey())
		require.NoError(t, err)
		assert.Equal(t, sloURL, f.Action)
		check(sp.LogoutFromForm(url.Values{f.Parameter: {f.Message}, "RelayState": {f.RelayState}}))
	}
	for name, m := range map[string]interface {
		RedirectURL(string, crypto.Signer) (string, error)
		PostForm(string, crypto.Signer) (sp.PostForm, error)
	}{"request": sp.LogoutRequest{Destination: sloURL}, "response": sp.LogoutResponse{Destination: sloURL}} {
		_, err := m.RedirectURL("", nil)
		require.Error(t, err, name)
		_, err = m.PostForm("", nil)
		require.Error(t, err, name)
	}
}

// FuzzLogout looks for panics, and for anything that is accepted but does not
// say what the IdP has signed. The last two modes put the input where only XML
// is expected.
func FuzzLogout(f *testing.F) {
	const query, formBody, xmlRequest, xmlResponse = 0, 1, 2, 3
	text, err := os.ReadFile("testdata/sp-test.crt")
	require.NoError(f, err)
	block, _ := pem.Decode(text)
	certificate, err := x509.ParseCertificate(block.Bytes)
	require.NoError(f, err)
	certificate.NotBefore, certificate.NotAfter = now.Add(-time.Hour), now.Add(time.Hour)
	i := idp{key: privateKey(f, "testdata/sp-test.key"), certificate: certificate}
	want := logoutExpectations(i)
	said := saidOf(want)

	signedRequest, signedResponse := i.sign(f, goodLogout, "_logout", signing{}), i.sign(f, goodLoggedOut, "_done", signing{})
	f.Add(uint8(query), []byte(i.redirect(f, "SAMLRequest", goodLogout, logoutState)))
	f.Add(uint8(query), []byte(i.redirect(f, "SAMLResponse", goodLoggedOut, "")))
	f.Add(uint8(query), []byte("SAMLRequest="+url.QueryEscape(deflated(f, goodLogout))))
	f.Add(uint8(formBody), []byte(form("SAMLRequest", signedRequest).Encode()))
	f.Add(uint8(formBody), []byte(form("SAMLResponse", goodLoggedOut).Encode()))
	for _, document := range []string{goodLogout, signedRequest} {
		f.Add(uint8(xmlRequest), []byte(document))
	}
	for _, document := range []string{goodLoggedOut, signedResponse} {
		f.Add(uint8(xmlResponse), []byte(document))
	}
	f.Fuzz(func(t *testing.T, mode uint8, input []byte) {
		var m *sp.LogoutMessage
		var err error
		switch mode % 4 {
		case query:
			m, err = sp.LogoutFromQuery(string(input))
		case formBody:
			values, _ := url.ParseQuery(string(input)) // those before the error
			m, err = sp.LogoutFromForm(values)
		case xmlRequest:
			m, err = sp.LogoutFromForm(form("SAMLRequest", string(input)))
		case xmlResponse:
			m, err = sp.LogoutFromForm(form("SAMLResponse", string(input)))
		}
		if err != nil {
			assert.NotEqual(t, sp.CodeInternal, sp.CodeOf(err))
			return
		}
		if got, err := sp.VerifyLogoutRequest(m, want); err == nil {
			assert.Equal(t, said, got)
		} else {
			assert.NotEqual(t, sp.CodeInternal, sp.CodeOf(err))
		}
		if got, err := sp.VerifyLogoutResponse(m, request, want); err == nil && got.Signed {
			assert.Equal(t, "_done", got.ID)
			assert.Equal(t, now, got.IssueInstant)
		} else if err != nil {
			assert.NotEqual(t, sp.CodeInternal, sp.CodeOf(err))
		}
	})
}
