package idpmetadata_test

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/crewjam/saml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"cequence.cloud/saml-operator/internal/idpmetadata"
)

// The certificates and validUntil dates of the test data are judged at this
// time.
var now = time.Date(2026, time.November, 24, 12, 0, 0, 0, time.UTC)

// facts are what an index file says of one IdP.
type facts struct {
	EntityID     string `json:"entity_id"`
	SSORedirect  string `json:"sso_redirect"`
	SSOPost      string `json:"sso_post"`
	SLORedirect  string `json:"slo_redirect"`
	SLOPost      string `json:"slo_post"`
	SigningCerts []struct {
		SHA256    string    `json:"sha256"`
		NotBefore time.Time `json:"not_before"`
		NotAfter  time.Time `json:"not_after"`
		Key       string    `json:"key"`
		Subject   string    `json:"subject"`
	} `json:"signing_certs"`
	WantAuthnRequestsSigned bool   `json:"want_authn_requests_signed"`
	ValidUntil              string `json:"valid_until"`
}

type realFile struct {
	facts
	File                 string   `json:"file"`
	SHA256               string   `json:"sha256"`
	WellFormed           bool     `json:"well_formed"`
	Ambiguous            bool     `json:"ambiguous"`
	IDPEntities          int      `json:"idp_entities"`
	IDPList              []facts  `json:"idp_list"`
	SigningCertCount     int      `json:"signing_cert_count"`
	NameIDFormats        []string `json:"nameid_formats"`
	SLOResponseLocations []string `json:"slo_response_locations"`
	RootValidUntil       string   `json:"root_valid_until"`
	RootCacheDuration    string   `json:"root_cache_duration"`
	CacheDuration        string   `json:"cache_duration"`
	AllExpired           bool     `json:"all_signing_certs_expired_at_2026_11_24"`
	UnusableCerts        []struct {
		SHA256 string `json:"sha256"`
	} `json:"unusable_certs"`
}

type hostileFile struct {
	File                    string   `json:"file"`
	Expected                string   `json:"expected"`
	Level                   string   `json:"level"`
	Reason                  string   `json:"reason"`
	EntityID                string   `json:"entity_id"`
	SSORedirect             *string  `json:"sso_redirect"`
	SSOPost                 *string  `json:"sso_post"`
	SigningCerts            []string `json:"signing_cert_sha256"`
	NameIDFormats           []string `json:"nameid_formats"`
	WantAuthnRequestsSigned bool     `json:"want_authn_requests_signed"`
	EntityIDIfNamed         string   `json:"entity_id_if_named"`
	SigningCertsIfNamed     []string `json:"signing_cert_sha256_if_named"`
}

func readIndex[T any](t testing.TB, folder string) []T {
	t.Helper()
	var entries []T
	require.NoError(t, yaml.Unmarshal(readFile(t, folder, "index.yaml"), &entries))
	require.NotEmpty(t, entries)

	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.xml"))
	require.NoError(t, err)
	require.Len(t, entries, len(files), "each file has one entry")
	return entries
}

func readFile(t testing.TB, folder, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", folder, name))
	require.NoError(t, err)
	return content
}

func first(endpoints []idpmetadata.Endpoint, binding string) string {
	for _, e := range endpoints {
		if e.Binding == binding {
			return e.Location
		}
	}
	return ""
}

func fingerprints(certificates []*x509.Certificate) []string {
	prints := []string{}
	for _, certificate := range certificates {
		prints = append(prints, idpmetadata.Fingerprint(certificate))
	}
	return prints
}

// assertReadsBack holds the descriptor to what Marshal promises.
func assertReadsBack(t testing.TB, d *idpmetadata.Descriptor) {
	t.Helper()
	document, err := d.Marshal()
	require.NoError(t, err)
	back, err := idpmetadata.Parse(document, "")
	require.NoError(t, err)

	expected := *d
	expected.DroppedCertificates = nil
	require.Equal(t, &expected, back)
	require.Equal(t, d.Digest(), back.Digest())

	again, err := back.Marshal()
	require.NoError(t, err)
	require.Equal(t, string(document), string(again))
}

const (
	redirect = saml.HTTPRedirectBinding
	post     = saml.HTTPPostBinding
)

func assertError(t testing.TB, err error, reason idpmetadata.Reason) {
	t.Helper()
	require.Error(t, err)
	var e *idpmetadata.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, reason, e.Reason, e.Message)
	assertSentence(t, e.Message)
}
