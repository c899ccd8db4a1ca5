package gateway_test

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/gateway/configsource"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
	"cequence.cloud/saml-operator/internal/testpostgres"
)

// The tenants of the tests, and the users of their IdPs.
const (
	acme   = "acme"
	globex = "globex"

	alice    = "alice"
	password = "correct horse"
)

func host(tenant string) string     { return tenant + ".s.localhost" }
func site(tenant string) string     { return "https://" + host(tenant) }
func entityID(tenant string) string { return site(tenant) + ":443/saml/metadata" }
func acsURL(tenant string) string   { return site(tenant) + "/saml/acs" }

// proxied counts the requests to the proxy that the environment of all tests
// names. Go reads it once.
var proxied atomic.Int64

func TestMain(m *testing.M) {
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		proxied.Add(1)
		rw.WriteHeader(http.StatusTeapot)
	}))
	for _, name := range []string{"HTTP_PROXY", "http_proxy"} {
		if err := os.Setenv(name, proxy.URL); err != nil {
			panic(err)
		}
	}
	for _, name := range []string{"NO_PROXY", "no_proxy", "REQUEST_METHOD"} {
		if err := os.Unsetenv(name); err != nil {
			panic(err)
		}
	}
	code := testpostgres.Run(m, func(s *testpostgres.Server) { postgres = s })
	proxy.Close()
	os.Exit(code)
}

// clock is shared by the gateway and the IdPs.
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

// world is a running gateway with two tenants, an IdP for each, and an
// application that answers with the request as it got it.
type world struct {
	t     *testing.T
	clock *clock
	idps  map[string]*testidp.IDP
	// dir has the tenants' files, data the gateway's.
	dir, data string
	// database is the URL of that of replicas.
	database string
	roots    *x509.CertPool
	tls      tls.Certificate
	app      *httptest.Server
	log      *logBuffer

	// options are what start was called with.
	options []func(*world, *gateway.Options)
	gateway *gateway.Gateway
	server  *httptest.Server
	stop    func()
	// browsers are the connections of all persons.
	browsers []*http.Transport
}

// echo is what the application answers with.
type echo struct {
	Method string
	Host   string
	URI    string
	Header http.Header
	Body   string
}

// newWorld starts a world. Options may change those of the gateway.
func newWorld(t *testing.T, options ...func(*world, *gateway.Options)) *world {
	t.Helper()
	w := &world{
		t: t, clock: &clock{now: time.Now().UTC().Truncate(time.Second)},
		idps: map[string]*testidp.IDP{}, dir: t.TempDir(), data: t.TempDir(), log: &logBuffer{},
	}
	w.tls, w.roots = newCertificate(t)
	w.app = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		rw.Header().Set("Cache-Control", "public, max-age=60")
		rw.Header().Add("Set-Cookie", "app=1; Path=/")
		rw.Header().Add("Set-Cookie", "__Host-saml-session=stolen; Path=/; Secure")
		_ = json.NewEncoder(rw).Encode(echo{r.Method, r.Host, r.RequestURI, r.Header, string(body)})
	}))
	t.Cleanup(w.app.Close)
	for _, tenant := range []string{acme, globex} {
		w.idps[tenant] = w.newIDP(tenant)
		w.write(w.config(tenant))
	}
	w.start(options...)
	return w
}

func (w *world) newIDP(tenant string) *testidp.IDP {
	w.t.Helper()
	idp, err := testidp.New(testidp.Options{
		BaseURL: "https://idp-" + host(tenant), TenantID: tenant, Clock: w.clock.Now, Keys: []*testidp.Key{idpKey(w.t, tenant)},
		Users: []testidp.User{{
			Name: alice, Password: password, NameID: "alice@" + tenant + ".example", Email: "alice@" + tenant + ".example",
			GivenName: "Alice", Surname: "Adams", DisplayName: "Alice Adams", Groups: []string{"staff", "a,b%"},
		}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return idp
}

var idpKeys sync.Map

// idpKey returns the tenant's IdP's key, which all tests share: generating one
// takes a while.
func idpKey(t *testing.T, tenant string) *testidp.Key {
	t.Helper()
	if key, ok := idpKeys.Load(tenant); ok {
		return key.(*testidp.Key)
	}
	key, err := testidp.NewKey(testidp.KeyOptions{CommonName: tenant, NotBefore: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	idpKeys.Store(tenant, key)
	return key
}

// config is what the operator would render.
func (w *world) config(tenant string) tenantconfig.Config {
	idp := w.idps[tenant]
	c := tenantconfig.Config{
		Tenant: tenant, CustomerName: tenant, Host: host(tenant),
		ServiceProvider: tenantconfig.ServiceProvider{
			EntityID: entityID(tenant), SignOnURL: site(tenant), ACSURL: acsURL(tenant), MetadataURL: site(tenant) + "/saml/metadata",
		},
		IdentityProvider: tenantconfig.IdentityProvider{
			EntityID: idp.EntityID(),
			SSO:      []tenantconfig.Endpoint{{Binding: tenantconfig.BindingRedirect, Location: idp.SSOURL()}},
		},
		AttributeMapping: tenantconfig.AttributeMapping{
			Email: []string{testidp.ClaimEmail}, GivenName: []string{testidp.ClaimGivenName}, Surname: []string{testidp.ClaimSurname},
			DisplayName: []string{testidp.ClaimDisplayName}, Groups: []string{testidp.ClaimGroup},
		},
		Session: tenantconfig.Session{MaxDuration: 8 * 3600, IdleTimeout: 3600},
	}
	for _, certificate := range idp.Certificates() {
		c.IdentityProvider.SigningCertificates = append(c.IdentityProvider.SigningCertificates, base64.StdEncoding.EncodeToString(certificate.Raw))
	}
	return c
}

func (w *world) write(c tenantconfig.Config) {
	w.t.Helper()
	data, err := tenantconfig.Encode(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.writeFile(c.Tenant, tenantconfig.FileSPMetadata, []byte("<EntityDescriptor entityID=\""+c.ServiceProvider.EntityID+"\"/>"))
	w.writeFile(c.Tenant, tenantconfig.FileConfig, data)
}

func (w *world) writeFile(tenant, name string, data []byte) {
	w.t.Helper()
	dir := filepath.Join(w.dir, tenant)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// start starts the gateway, on a new port, and waits until it is ready.
func (w *world) start(options ...func(*world, *gateway.Options)) {
	w.t.Helper()
	w.launch(options...)
	w.eventually("the gateway is ready", func() bool { return w.gateway.Ready() == nil })
}

// launch starts the gateway, on a new port.
func (w *world) launch(options ...func(*world, *gateway.Options)) {
	w.t.Helper()
	w.options = options
	upstream, err := url.Parse(w.app.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o := gateway.Options{
		Source:  &configsource.Directory{Dir: w.dir, PollInterval: 5 * time.Millisecond, Log: log},
		DataDir: w.data, Upstream: upstream, ClockSkew: -1, Now: w.clock.Now, Log: log, IdentityJWT: &gateway.IdentityJWT{},
	}
	for _, option := range options {
		option(w, &o)
	}
	g, err := gateway.New(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()

	mux := http.NewServeMux()
	for tenant, idp := range w.idps {
		mux.Handle("idp-"+host(tenant)+"/", idp)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Host, "idp-") {
			mux.ServeHTTP(rw, r)
			return
		}
		g.Handler().ServeHTTP(rw, r)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{w.tls}, MinVersion: tls.VersionTLS12}
	server.EnableHTTP2 = true
	server.Config.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	server.StartTLS()

	w.gateway, w.server = g, server
	w.stop = sync.OnceFunc(func() {
		// A POST on a connection that the server has just closed would fail.
		for _, browser := range w.browsers {
			browser.CloseIdleConnections()
		}
		server.Close()
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
		if err := g.Close(); err != nil {
			w.t.Errorf("Close: %v", err)
		}
	})
	w.t.Cleanup(func() { w.stop() })
}

func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.start(w.options...)
}

// storedGroups counts the groups that the store keeps with the session that
// began last, while the gateway runs.
func (w *world) storedGroups() int {
	w.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(w.data, "gateway.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var text string
	if err := db.QueryRowContext(w.t.Context(), "SELECT groups FROM sessions ORDER BY created_at DESC LIMIT 1").Scan(&text); err != nil {
		w.t.Fatal(err)
	}
	var groups []string
	if err := json.Unmarshal([]byte(text), &groups); err != nil {
		w.t.Fatal(err)
	}
	return len(groups)
}

// eventually polls until the condition holds.
func (w *world) eventually(what string, condition func() bool) {
	w.t.Helper()
	require.Eventually(w.t, condition, 20*time.Second, 2*time.Millisecond, "not so in time: %s", what)
}

// person is a browser that keeps cookies but follows nothing.
type person struct {
	*world
	client *http.Client
}

func (w *world) person() *person {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, w.server.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: w.roots, MinVersion: tls.VersionTLS12},
	}
	w.browsers = append(w.browsers, transport)
	return &person{world: w, client: &http.Client{
		Jar: jar, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body string
}

func (p *person) do(r *http.Request) answer {
	p.t.Helper()
	response, err := p.client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return answer{response, string(body)}
}

// get opens a page as a person does.
func (p *person) get(target string, header ...string) answer {
	p.t.Helper()
	r := p.request(http.MethodGet, target, nil)
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return p.do(r)
}

func (p *person) request(method, target string, body io.Reader) *http.Request {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, target, body)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// login begins a sign-in and returns the request's ID and the RelayState.
func (p *person) login(tenant, returnTo string) (requestID, relayState string) {
	p.t.Helper()
	a := p.get(site(tenant) + "/saml/login?" + url.Values{"return_to": {returnTo}}.Encode())
	if a.StatusCode != http.StatusFound {
		p.t.Fatalf("login: status %d: %s", a.StatusCode, a.body)
	}
	target, err := a.Location()
	if err != nil {
		p.t.Fatal(err)
	}
	return readRequest(p.t, target).ID, target.Query().Get("RelayState")
}

// authnRequest is what an IdP reads.
type authnRequest struct {
	ID         string `xml:"ID,attr"`
	ForceAuthn bool   `xml:"ForceAuthn,attr"`
	IsPassive  bool   `xml:"IsPassive,attr"`
	Context    struct {
		Comparison string   `xml:"Comparison,attr"`
		ClassRefs  []string `xml:"AuthnContextClassRef"`
	} `xml:"RequestedAuthnContext"`
}

// readRequest reads the request in the query of the IdP's address.
func readRequest(t *testing.T, target *url.URL) authnRequest {
	t.Helper()
	var request authnRequest
	if err := xml.Unmarshal(inflate(t, target.Query().Get("SAMLRequest")), &request); err != nil {
		t.Fatal(err)
	}
	return request
}

// inflate returns the message of the Redirect binding.
func inflate(t *testing.T, parameter string) []byte {
	t.Helper()
	deflated, err := base64.StdEncoding.DecodeString(parameter)
	if err != nil {
		t.Fatal(err)
	}
	document, err := io.ReadAll(flate.NewReader(bytes.NewReader(deflated)))
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// issue makes a response of one IdP that is good for a tenant, unless it is
// altered.
func (w *world) issue(idp, tenant, requestID string, alter ...func(*testidp.ResponseOptions)) []byte {
	w.t.Helper()
	o := testidp.ResponseOptions{UserName: alice, Audience: entityID(tenant), ACSURL: acsURL(tenant), InResponseTo: requestID}
	for _, a := range alter {
		a(&o)
	}
	response, err := w.idps[idp].IssueResponse(o)
	if err != nil {
		w.t.Fatal(err)
	}
	return response
}

// post delivers a response to a tenant.
func (p *person) post(tenant string, response []byte, relayState string) answer {
	p.t.Helper()
	return p.do(p.postRequest(tenant, response, relayState))
}

func (p *person) postRequest(tenant string, response []byte, relayState string) *http.Request {
	p.t.Helper()
	r := p.request(http.MethodPost, acsURL(tenant), strings.NewReader(url.Values{
		"SAMLResponse": {base64.StdEncoding.EncodeToString(response)}, "RelayState": {relayState},
	}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// signIn signs in and fails the test if that does not work.
func (p *person) signIn(tenant string, alter ...func(*testidp.ResponseOptions)) answer {
	p.t.Helper()
	requestID, relayState := p.login(tenant, "/")
	a := p.post(tenant, p.issue(tenant, tenant, requestID, alter...), relayState)
	if a.StatusCode != http.StatusSeeOther {
		p.t.Fatalf("sign-in: status %d, log %s", a.StatusCode, p.log.last())
	}
	return a
}

type whoami struct {
	Tenant string
	User   struct {
		ID, Email, DisplayName, GivenName, Surname string
		Groups                                     []string
		GroupsIncomplete                           bool
		Roles                                      []string
	}
	SignedInAt, ExpiresAt, IdleExpiresAt time.Time
}

// whoami returns the session as the tenant sees it, and false if there is none.
func (p *person) whoami(tenant string) (whoami, bool) {
	p.t.Helper()
	var who whoami
	a := p.do(p.request(http.MethodGet, site(tenant)+"/saml/session", nil))
	if a.StatusCode == http.StatusUnauthorized {
		return who, false
	}
	if a.StatusCode != http.StatusOK {
		p.t.Fatalf("session: status %d: %s", a.StatusCode, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &who); err != nil {
		p.t.Fatal(err)
	}
	return who, true
}

// cookies are what the browser would send to a tenant.
func (p *person) cookies(tenant string) []*http.Cookie {
	return p.client.Jar.Cookies(&url.URL{Scheme: "https", Host: host(tenant), Path: "/"})
}

// give copies all cookies that a browser has for one tenant to another browser
// and tenant.
func (p *person) give(from string, other *person, to string) {
	other.client.Jar.SetCookies(&url.URL{Scheme: "https", Host: host(to), Path: "/"}, p.cookies(from))
}

func decodeEcho(t *testing.T, body string) echo {
	t.Helper()
	var e echo
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatalf("not the application's answer: %s", body)
	}
	return e
}

// logBuffer keeps the log's lines.
type logBuffer struct {
	mu    sync.Mutex
	lines []string
}

func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, string(line))
	return len(line), nil
}

func (b *logBuffer) all() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.lines, "")
}

func (b *logBuffer) last() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lines[len(b.lines)-1]
}

// lastCode is the code of the last line of the log.
func (b *logBuffer) lastCode(t *testing.T) string {
	t.Helper()
	var line struct{ Code string }
	if err := json.Unmarshal([]byte(b.last()), &line); err != nil {
		t.Fatal(err)
	}
	return line.Code
}

func newCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway tests"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"*.s.localhost"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// manyGroups are n object IDs as Entra ID sends them.
func manyGroups(n int) []string {
	groups := make([]string, n)
	for i := range groups {
		b := make([]byte, 16)
		_, _ = rand.Read(b)
		groups[i] = fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	}
	return groups
}

// newKeyPair is an SP key and its certificate, PEM.
func newKeyPair(t *testing.T) (key, certificate []byte) {
	t.Helper()
	pair, err := testidp.NewKey(testidp.KeyOptions{CommonName: host(acme)})
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair.Signer)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate.Raw})
}

func parseCertificate(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(text)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
