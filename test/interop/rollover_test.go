package interop_test

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"encoding/xml"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/refresh"
	"cequence.cloud/saml-operator/internal/testidp"
)

// entra behaves as Entra ID does, and answers every service provider.
type entra struct {
	*testidp.IDP
	server *httptest.Server
}

func startEntra(t *testing.T) *entra {
	t.Helper()
	idp, err := testidp.New(testidp.Options{Users: []testidp.User{{Name: "ada", Password: ada().Password, Email: "ada@acme.example"}}})
	require.NoError(t, err)
	server := httptest.NewTLSServer(idp)
	t.Cleanup(server.Close)
	idp.SetBaseURL(server.URL)
	return &entra{idp, server}
}

func (e *entra) CAPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.server.Certificate().Raw})
}

func (e *entra) RootCAs() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(e.server.Certificate())
	return pool
}

func (e *entra) RegisterServiceProvider([]byte) {}

// A certificate that replaces all others at once, as in an emergency, or when an
// administrator of Entra ID activates one after the old one has expired.
func TestAbruptRolloverIsFollowedWithoutHumanAction(t *testing.T) {
	idp := startEntra(t)
	c := startWith(t, idp)
	c.onboard()
	c.signIn(c.browser(), "/")
	fetches := idp.Counts().MetadataFetches

	require.NoError(t, idp.RotateAbruptly())
	c.signIn(c.browser(), "/reports")
	c.assertSignedBy(idp.Certificates()[0])
	assert.Equal(t, fetches+1, idp.Counts().MetadataFetches)
}

// Whoever has an answer of a key of his own, and even a request of ours that it
// answers, gets nothing by it, and does not make us hammer the IdP.
func TestForgedAnswersCauseFewFetches(t *testing.T) {
	idp := startEntra(t)
	c := startWith(t, idp)
	c.onboard()
	fetches := idp.Counts().MetadataFetches
	key, err := testidp.NewKey(testidp.KeyOptions{})
	require.NoError(t, err)

	start := time.Now()
	for range 5 {
		attacker := c.attacker()
		requestID := attacker.login()
		for range 3 {
			forged, err := idp.IssueResponse(testidp.ResponseOptions{
				UserName: "ada", InResponseTo: requestID, Key: key,
				Audience: c.tenant.Status.ServiceProvider.EntityID, ACSURL: c.tenant.Status.ServiceProvider.ACSURL,
			})
			require.NoError(t, err)
			assert.Equal(t, http.StatusForbidden, attacker.post(forged))
		}
	}
	caused := idp.Counts().MetadataFetches - fetches
	assert.GreaterOrEqual(t, caused, 1, "the first might have been a new key")
	assert.LessOrEqual(t, caused, 1+int(time.Since(start)/refresh.Interval))
	assert.Empty(t, c.app.take())
	assert.Empty(t, c.log.signIns())
	c.signIn(c.browser(), "/")
}

// attacker is a browser that stops where a person's would go on.
type attacker struct {
	*chain
	client *http.Client
}

func (c *chain) attacker() *attacker {
	c.t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(c.t, err)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: c.roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		},
	}
	c.t.Cleanup(transport.CloseIdleConnections)
	return &attacker{c, &http.Client{
		Jar: jar, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// login begins a sign-in and returns the ID of its request.
func (a *attacker) login() string {
	a.t.Helper()
	response := a.do(http.MethodGet, "/saml/login", nil)
	location, err := response.Location()
	require.NoError(a.t, err)
	deflated, err := base64.StdEncoding.DecodeString(location.Query().Get("SAMLRequest"))
	require.NoError(a.t, err)
	var request struct {
		ID string `xml:"ID,attr"`
	}
	require.NoError(a.t, xml.NewDecoder(flate.NewReader(bytes.NewReader(deflated))).Decode(&request))
	return request.ID
}

// post delivers a response and returns the status of the answer.
func (a *attacker) post(response []byte) int {
	a.t.Helper()
	return a.do(http.MethodPost, "/saml/acs", url.Values{"SAMLResponse": {base64.StdEncoding.EncodeToString(response)}}).StatusCode
}

func (a *attacker) do(method, path string, form url.Values) *http.Response {
	a.t.Helper()
	request, err := http.NewRequestWithContext(a.t.Context(), method, a.url(path), strings.NewReader(form.Encode()))
	require.NoError(a.t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := a.client.Do(request)
	require.NoError(a.t, err)
	require.NoError(a.t, response.Body.Close())
	return response
}
