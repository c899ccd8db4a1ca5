// Package proxies_test runs the configurations that docs/guides has for servers
// in front of the application, between a browser and the gateway.
package proxies_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/gateway/configsource"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testbrowser"
	"cequence.cloud/saml-operator/internal/testidp"
)

const (
	acme   = "acme"
	globex = "globex"
	domain = "s.localhost"

	alice    = "alice"
	password = "correct horse"

	patience = time.Minute
	tick     = 20 * time.Millisecond
)

func host(tenant string) string { return tenant + "." + domain }
func site(tenant string) string { return "https://" + host(tenant) }

// page is what a browser sends that opens one.
var page = http.Header{"Accept": {"text/html"}}

// spellings are names by which applications may read who is there or what was
// asked for.
var spellings = []string{
	"X-Auth-Request-User", "x-auth-request-user", "X-AUTH-REQUEST-USER", "X_Auth_Request_User", "X-Auth_Request-User", "X.Auth.Request.User",
	"X!Auth!Request!User", "X#Auth#Request#User", "X$Auth$Request$User", "X%Auth%Request%User", "X&Auth&Request&User", "X'Auth'Request'User", "X*Auth*Request*User",
	"X+Auth+Request+User", "X^Auth^Request^User", "X`Auth`Request`User", "X|Auth|Request|User", "X~Auth~Request~User",
	"X-Auth-Request-Email", "x_auth_request_email", "X-Auth-Request-Groups", "X-Auth-Request_Groups", "X-Auth-Request-Groups-Incomplete",
	"X-Auth-Request-Roles", "x-auth-request-roles", "X-Auth-Request-Tenant", "X_AUTH_REQUEST_TENANT",
	"X-Auth-Request-Jwt", "X_Auth_Request_Jwt",
	"X-Forwarded-Host", "X_Forwarded_Host", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-For",
	"X-Forwarded-User", "X-Forwarded-Prefix", "Forwarded", "X-Real-Ip", "Remote-User", "Remote_User", "X-Remote-User", "X-Original-Url", "X-Rewrite-Url",
}

// assertAlice: the application is told of alice of acme, and of nothing that
// the client has said.
func assertAlice(t *testing.T, r *http.Request) {
	t.Helper()
	for name, want := range map[string][]string{
		"X-Auth-Request-User": {"alice@acme.example"}, "X-Auth-Request-Email": {"alice@acme.example"}, "X-Auth-Request-Tenant": {acme},
		"X-Auth-Request-Groups": {"staff,a%2Cb%25"}, "X-Forwarded-Host": {host(acme)}, "X-Forwarded-Proto": {"https"},
	} {
		assert.Equal(t, want, r.Header[name], name)
	}
	assert.Equal(t, host(acme), r.Host)
	if token := r.Header["X-Auth-Request-Jwt"]; assert.Len(t, token, 1) {
		assert.Len(t, strings.Split(token[0], "."), 3, "a token")
	}
	for name, values := range r.Header {
		for _, value := range values {
			assert.NotContains(t, []string{"root", globex}, value, name)
		}
		assert.NotContains(t, strings.Join(values, " "), "root", name)
		assert.NotContains(t, strings.Join(values, " "), "{", "%s: a variable of the server in front", name)
	}
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// application keeps the requests that get through.
type application struct {
	mu   sync.Mutex
	seen []*http.Request
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, _ = io.Copy(io.Discard, r.Body) // trailers come behind it
	a.seen = append(a.seen, r)
	w.Header().Set("Cache-Control", "public, max-age=60")
	w.Header().Set("Set-Cookie", "app=1; Path=/")
}

func (a *application) take() []*http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := a.seen
	a.seen = nil
	return seen
}

// world is a gateway, an application of which it knows nothing unless the setup says so, two
// tenants with an IdP each, and the pair that a server in front is to show.
type world struct {
	t                          *testing.T
	clock                      *clock
	app                        *application
	gatewayAddress, appAddress string
	idpAddress                 string
	certificate, key           []byte
	roots                      *x509.CertPool
}

// setup is what a test has otherwise than others; each may be nil.
type setup struct {
	// tenant changes what the operator would render.
	tenant  func(*tenantconfig.Config)
	gateway func(*world, *gateway.Options)
	// groups of alice.
	groups []string
}

func newWorld(t *testing.T, otherwise setup) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{now: time.Now().UTC().Truncate(time.Second)}, app: &application{}}
	pair := w.newKeyPair()

	tenants, idps := t.TempDir(), http.NewServeMux()
	for _, tenant := range []string{acme, globex} {
		groups := otherwise.groups
		if groups == nil {
			groups = []string{"staff", "a,b%"}
		}
		idp := w.newIDP(tenant, groups)
		idps.Handle("idp-"+host(tenant)+"/", idp)
		c := config(tenant, idp)
		if otherwise.tenant != nil {
			otherwise.tenant(&c)
		}
		writeTenant(t, filepath.Join(tenants, tenant), c)
	}
	idpServer := httptest.NewUnstartedServer(idps)
	idpServer.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	idpServer.StartTLS()
	t.Cleanup(idpServer.Close)
	w.idpAddress = idpServer.Listener.Addr().String()

	app := httptest.NewServer(w.app)
	t.Cleanup(app.Close)
	w.appAddress = app.Listener.Addr().String()

	log := slog.New(slog.DiscardHandler)
	o := gateway.Options{
		Source:  &configsource.Directory{Dir: tenants, PollInterval: tick, Log: log},
		DataDir: t.TempDir(), ForwardAuthFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, ClockSkew: -1, Now: w.clock.Now, Log: log,
		IdentityJWT: &gateway.IdentityJWT{},
	}
	if otherwise.gateway != nil {
		otherwise.gateway(w, &o)
	}
	g, err := gateway.New(t.Context(), o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	server := httptest.NewServer(g.Handler())
	w.gatewayAddress = server.Listener.Addr().String()
	t.Cleanup(func() {
		server.Close()
		cancel()
		assert.NoError(t, <-done)
		assert.NoError(t, g.Close())
	})
	require.Eventually(t, func() bool { return g.Ready() == nil }, patience, tick, "the gateway is not ready")
	return w
}

func (w *world) newKeyPair() tls.Certificate {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(w.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"*." + domain}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(w.t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(w.t, err)
	w.certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	w.key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	w.roots = x509.NewCertPool()
	w.roots.AppendCertsFromPEM(w.certificate)
	pair, err := tls.X509KeyPair(w.certificate, w.key)
	require.NoError(w.t, err)
	return pair
}

func (w *world) newIDP(tenant string, groups []string) *testidp.IDP {
	w.t.Helper()
	key, err := testidp.NewKey(testidp.KeyOptions{CommonName: tenant, NotBefore: time.Now().Add(-time.Hour)})
	require.NoError(w.t, err)
	address := alice + "@" + tenant + ".example"
	idp, err := testidp.New(testidp.Options{
		BaseURL: "https://idp-" + host(tenant), TenantID: tenant, Clock: w.clock.Now, Keys: []*testidp.Key{key},
		Users: []testidp.User{{Name: alice, Password: password, NameID: address, Email: address, Groups: groups}},
	})
	require.NoError(w.t, err)
	idp.SetServiceProvider(site(tenant)+":443/saml/metadata", testidp.ServiceProvider{ACSURL: site(tenant) + "/saml/acs"})
	return idp
}

// config is what the operator would render.
func config(tenant string, idp *testidp.IDP) tenantconfig.Config {
	c := tenantconfig.Config{
		Tenant: tenant, CustomerName: tenant, Host: host(tenant),
		ServiceProvider: tenantconfig.ServiceProvider{
			EntityID: site(tenant) + ":443/saml/metadata", SignOnURL: site(tenant),
			ACSURL: site(tenant) + "/saml/acs", MetadataURL: site(tenant) + "/saml/metadata",
		},
		IdentityProvider: tenantconfig.IdentityProvider{
			EntityID: idp.EntityID(), SSO: []tenantconfig.Endpoint{{Binding: tenantconfig.BindingRedirect, Location: idp.SSOURL()}},
		},
		AttributeMapping: tenantconfig.AttributeMapping{Email: []string{testidp.ClaimEmail}, Groups: []string{testidp.ClaimGroup}},
		Session:          tenantconfig.Session{MaxDuration: 8 * 3600, IdleTimeout: 3600},
	}
	for _, certificate := range idp.Certificates() {
		c.IdentityProvider.SigningCertificates = append(c.IdentityProvider.SigningCertificates, base64.StdEncoding.EncodeToString(certificate.Raw))
	}
	return c
}

func writeTenant(t *testing.T, dir string, c tenantconfig.Config) {
	t.Helper()
	data, err := tenantconfig.Encode(c)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, tenantconfig.FileSPMetadata), []byte(`<EntityDescriptor entityID="`+c.ServiceProvider.EntityID+`"/>`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, tenantconfig.FileConfig), data, 0o600))
}

// browser reaches the tenants' hosts at an address.
func (w *world) browser(address string) *testbrowser.Browser {
	w.t.Helper()
	dial := map[string]string{}
	for _, tenant := range []string{acme, globex} {
		dial[host(tenant)], dial["idp-"+host(tenant)] = address, w.idpAddress
	}
	b := testbrowser.New(testbrowser.Options{RootCAs: w.roots, Dial: dial})
	w.t.Cleanup(b.CloseIdleConnections)
	return b
}

// send sends one request as it is.
func (w *world) send(address, method, target string, header http.Header) *http.Response {
	w.t.Helper()
	return w.exchange(&net.Dialer{}, address, w.request(method, target, header))
}

// sendFrom does so from another address of this machine.
func (w *world) sendFrom(from netip.Addr, address, target string, header http.Header) *http.Response {
	w.t.Helper()
	return w.exchange(dialFrom(from), address, w.request(http.MethodGet, target, header))
}

func dialFrom(from netip.Addr) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
}

func (w *world) request(method, target string, header http.Header) *http.Request {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, target, nil)
	require.NoError(w.t, err)
	if header != nil {
		r.Header = header
	}
	return r
}

func (w *world) exchange(dialer *net.Dialer, address string, r *http.Request) *http.Response {
	w.t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig: &tls.Config{RootCAs: w.roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
	}
	response, err := transport.RoundTrip(r)
	require.NoError(w.t, err)
	require.NoError(w.t, response.Body.Close())
	return response
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

func port(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	return port
}

// codeBlocks returns the blocks of one language in a guide.
func codeBlocks(t *testing.T, guide, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs/guides", guide))
	require.NoError(t, err)
	var blocks []string
	for _, part := range strings.Split(string(text), "\n```"+language+"\n")[1:] {
		block, _, closed := strings.Cut(part, "\n```\n")
		require.True(t, closed, guide)
		blocks = append(blocks, block+"\n")
	}
	return blocks
}

// replaceAll replaces what must be there, wherever it is.
func replaceAll(t *testing.T, text string, replacements map[string]string) string {
	t.Helper()
	for from, to := range replacements {
		require.Contains(t, text, from)
		text = strings.ReplaceAll(text, from, to)
	}
	return text
}

// replaceEach replaces what must be there once.
func replaceEach(t *testing.T, text string, replacements map[string]string) string {
	t.Helper()
	for from, to := range replacements {
		require.Equal(t, 1, strings.Count(text, from), from)
		text = strings.Replace(text, from, to, 1)
	}
	return text
}
