package interop_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/controllers"
	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/gateway/configsource"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/refresh"
	"cequence.cloud/saml-operator/internal/render"
	"cequence.cloud/saml-operator/internal/testbrowser"
	"cequence.cloud/saml-operator/test/apiserver"
	"cequence.cloud/saml-operator/test/interop/simplesamlphp"
)

const (
	// The customer's host and the tenant's name differ, so that nobody can take
	// one for the other.
	customer   = "acme"
	tenantName = "acme-corp"

	baseDomain     = "s.localhost"
	gatewayAccount = "saml-gateway"

	patience = 30 * time.Second
	tick     = 50 * time.Millisecond
)

var (
	cluster *rest.Config
	scheme  = apiserver.Scheme()
)

func TestMain(m *testing.M) {
	os.Exit(apiserver.Run(m, func(config *rest.Config) error {
		cluster = config
		return nil
	}))
}

// chain is everything between a manifest and an application that knows its
// users, in a namespace of its own.
type chain struct {
	client.Client
	t *testing.T
	// provider is the IdP; idp is the same one when it is SimpleSAMLphp.
	provider  provider
	idp       *simplesamlphp.IDP
	gateway   *gateway.Gateway
	app       *application
	responses *responses
	log       *logBuffer
	// roots verify the gateway and the IdP.
	roots *x509.CertPool
	// tenant is as it was seen last.
	tenant *v1alpha1.SAMLTenant
}

// provider is an IdP as the customer's administrator meets it.
type provider interface {
	EntityID() string
	MetadataURL() string
	// CAPEM verifies the IdP's TLS certificate.
	CAPEM() []byte
	RootCAs() *x509.CertPool
	RegisterServiceProvider(metadata []byte)
}

// start starts all parts with SimpleSAMLphp. The IdP is reached by its address, since the names
// below .localhost are known to browsers only.
func start(t *testing.T, o simplesamlphp.Options) *chain {
	t.Helper()
	o.Host = "127.0.0.1"
	idp := simplesamlphp.Start(t, o)
	c := startWith(t, idp)
	c.idp = idp
	return c
}

// startWith starts all parts with another IdP.
func startWith(t *testing.T, idp provider) *chain {
	t.Helper()
	c := &chain{t: t, provider: idp, app: &application{}, responses: &responses{}, log: &logBuffer{}}
	c.roots = idp.RootCAs()

	everywhere, err := client.New(cluster, client.Options{Scheme: scheme})
	require.NoError(t, err)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "interop-"}}
	require.NoError(t, everywhere.Create(t.Context(), namespace))
	c.Client = client.NewNamespacedClient(everywhere, namespace.Name)

	refreshAddress := freeAddress(t)
	port := c.startGateway(namespace.Name, refreshAddress)
	c.startOperator(namespace.Name, net.JoinHostPort(baseDomain, port), refreshAddress)
	return c
}

// startGateway returns the port on which browsers reach it.
func (c *chain) startGateway(namespace, refreshAddress string) string {
	c.t.Helper()
	app := httptest.NewServer(c.app)
	c.t.Cleanup(app.Close)
	upstream, err := url.Parse(app.URL)
	require.NoError(c.t, err)
	api, err := kubernetes.NewForConfig(cluster)
	require.NoError(c.t, err)

	log := slog.New(slog.NewJSONHandler(c.log, nil))
	c.gateway, err = gateway.New(c.t.Context(), gateway.Options{
		Source:  &configsource.Kubernetes{Client: api, Namespace: namespace, Log: log},
		DataDir: c.t.TempDir(), Upstream: upstream, ClockSkew: -1, Log: log,
		Refresh: refresh.NewClient(&url.URL{Scheme: "http", Host: refreshAddress}, operatorToken(c.t, api, namespace), time.Now).Refresh,
	})
	require.NoError(c.t, err)
	server := httptest.NewUnstartedServer(c.responses.recorded(c.gateway.Handler()))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{gatewayCertificate(c.t)}, MinVersion: tls.VersionTLS12}
	server.EnableHTTP2 = true
	server.Config.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	server.StartTLS()
	c.roots.AddCert(server.Certificate())

	stop := c.run("gateway", c.gateway.Run)
	c.t.Cleanup(func() {
		server.Close()
		stop()
		if err := c.gateway.Close(); err != nil {
			c.t.Errorf("close the gateway: %v", err)
		}
		if c.t.Failed() {
			c.t.Logf("what the gateway said:\n%s", c.log.String())
		}
	})
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(c.t, err)
	return port
}

// operatorToken returns a file with what a pod's projected volume would hold.
func operatorToken(t *testing.T, api kubernetes.Interface, namespace string) string {
	t.Helper()
	accounts := api.CoreV1().ServiceAccounts(namespace)
	account, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: gatewayAccount}}, metav1.CreateOptions{})
	require.NoError(t, err)
	request, err := accounts.CreateToken(t.Context(), account.Name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{refresh.Audience}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(request.Status.Token), 0o600))
	return file
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

func (c *chain) startOperator(namespace, base, refreshAddress string) {
	c.t.Helper()
	domain, err := render.ParseBaseDomain(base)
	require.NoError(c.t, err)
	operator, err := controllers.NewManager(c.t.Context(), cluster, controllers.Options{
		Namespace: namespace, BaseDomain: domain, RefreshInterval: time.Hour,
		Fetcher:       idpmetadata.NewFetcher(idpmetadata.FetcherOptions{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}),
		HealthAddress: "0", MetricsAddress: "0", RefreshAddress: refreshAddress, GatewayServiceAccount: gatewayAccount,
	})
	require.NoError(c.t, err)
	c.t.Cleanup(c.run("operator", operator.Start))
}

// run runs a part until it is stopped.
func (c *chain) run(name string, part func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := part(ctx); err != nil {
			c.t.Errorf("%s: %v", name, err)
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// onboard applies the tenant, waits until it is served, and takes its metadata
// to the IdP, as an administrator would. It returns the metadata.
func (c *chain) onboard() []byte {
	c.t.Helper()
	c.tenant = &v1alpha1.SAMLTenant{
		ObjectMeta: metav1.ObjectMeta{Name: tenantName},
		Spec: v1alpha1.SAMLTenantSpec{
			CustomerName: customer, MetadataURL: c.provider.MetadataURL(), MetadataCA: string(c.provider.CAPEM()),
		},
	}
	require.NoError(c.t, c.Create(c.t.Context(), c.tenant))
	c.untilServed()
	assert.Equal(c.t, c.provider.EntityID(), c.tenant.Status.IDP.EntityID)
	return c.register()
}

// register takes the metadata from where the status says to the IdP.
func (c *chain) register() []byte {
	c.t.Helper()
	page, err := c.browser().Open(c.t.Context(), c.tenant.Status.ServiceProvider.MetadataURL)
	require.NoError(c.t, err)
	require.Equal(c.t, http.StatusOK, page.Status)
	assert.Equal(c.t, c.url("/saml/metadata"), page.URL.String())
	c.provider.RegisterServiceProvider(page.Body)
	return page.Body
}

// edit changes the tenant's spec and waits until that is served.
func (c *chain) edit(change func(*v1alpha1.SAMLTenantSpec)) {
	c.t.Helper()
	before := c.tenant.DeepCopy()
	change(&c.tenant.Spec)
	require.NoError(c.t, c.Patch(c.t.Context(), c.tenant, client.MergeFrom(before)))
	require.Greater(c.t, c.tenant.Generation, before.Generation)
	c.untilServed()
}

// refresh asks the operator to look at the metadata now, and waits until what
// it found is served.
func (c *chain) refresh() {
	c.t.Helper()
	before := c.tenant.DeepCopy()
	metav1.SetMetaDataAnnotation(&c.tenant.ObjectMeta, v1alpha1.AnnotationReconcileRequestedAt, time.Now().Format(time.RFC3339Nano))
	require.NoError(c.t, c.Patch(c.t.Context(), c.tenant, client.MergeFrom(before)))
	c.untilServed()
}

// untilServed waits until the tenant is Ready as it was last written, a request
// for a refresh included, and the gateway serves what the status names.
func (c *chain) untilServed() {
	c.t.Helper()
	c.until("the tenant is Ready", func() bool {
		got := &v1alpha1.SAMLTenant{}
		if err := c.Get(c.t.Context(), client.ObjectKey{Name: tenantName}, got); err != nil {
			return false
		}
		c.tenant = got
		return got.Status.ObservedGeneration == got.Generation &&
			got.Status.LastHandledReconcileAt == got.Annotations[v1alpha1.AnnotationReconcileRequestedAt] &&
			meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionReady)
	})
	c.until("the gateway serves the configuration", func() bool {
		for _, served := range c.gateway.Tenants() {
			if served.Tenant == tenantName {
				return served.Host == customer+"."+baseDomain && served.ConfigHash == c.tenant.Status.ConfigHash && served.Problem == ""
			}
		}
		return false
	})
}

func (c *chain) until(what string, so func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for !so() {
		if time.Now().After(deadline) {
			c.t.Fatalf("not so after %s: %s; the gateway has %+v, the tenant %+v", patience, what, c.gateway.Tenants(), c.tenant.Status)
		}
		<-time.After(tick)
	}
}

// url is on the customer's host.
func (c *chain) url(path string) string { return c.tenant.Status.ServiceProvider.SignOnURL + path }

// browser is a new one for each person.
func (c *chain) browser() *testbrowser.Browser {
	b := testbrowser.New(testbrowser.Options{RootCAs: c.roots})
	c.t.Cleanup(b.CloseIdleConnections)
	return b
}

// signIn signs ada in, at the first try.
func (c *chain) signIn(b *testbrowser.Browser, path string) *testbrowser.Page {
	c.t.Helper()
	page, err := b.SignIn(c.t.Context(), c.url(path), ada().Name, ada().Password)
	require.NoError(c.t, err)
	require.Equal(c.t, http.StatusOK, page.Status)
	require.Equal(c.t, c.url(path), page.URL.String())
	return page
}

// refused holds that ada does not get in, and that nothing of the attempt
// remains. It returns where it ended.
func (c *chain) refused(password string) (*testbrowser.Page, error) {
	c.t.Helper()
	c.app.take()
	before := c.log.signIns()
	b := c.browser()
	end, cause := b.SignIn(c.t.Context(), c.url("/"), ada().Name, password)
	require.NotNil(c.t, end, "%v", cause)

	page, err := b.Open(c.t.Context(), c.url("/saml/session"))
	require.NoError(c.t, err)
	assert.Equal(c.t, http.StatusUnauthorized, page.Status)
	assert.Empty(c.t, c.app.take(), "the application hears nothing of it")
	assert.Equal(c.t, before, c.log.signIns())
	return end, cause
}

// assertTrusts compares with the certificates in the status.
func (c *chain) assertTrusts(certificates ...*x509.Certificate) {
	c.t.Helper()
	var want, got []string
	for _, certificate := range certificates {
		fingerprint := sha256.Sum256(certificate.Raw)
		want = append(want, hex.EncodeToString(fingerprint[:]))
	}
	for _, certificate := range c.tenant.Status.Certificates {
		got = append(got, certificate.FingerprintSHA256)
	}
	assert.ElementsMatch(c.t, want, got)
}

// assertSignedBy holds that the last response names that certificate as its
// signer, and no other.
func (c *chain) assertSignedBy(certificate *x509.Certificate) {
	c.t.Helper()
	compact := strings.Join(strings.Fields(c.responses.last(c.t)), "")
	named := strings.Count(compact, "<ds:X509Certificate>")
	assert.Positive(c.t, named)
	assert.Equal(c.t, named, strings.Count(compact, "<ds:X509Certificate>"+base64.StdEncoding.EncodeToString(certificate.Raw)+"<"))
}

// visit is a request as the application saw it.
type visit struct {
	URI, Tenant, User, Email string
	Groups                   []string
}

// application is behind the gateway and knows its users by headers only.
type application struct {
	mu     sync.Mutex
	visits []visit
}

func (a *application) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	v := visit{
		URI: r.RequestURI, Tenant: r.Header.Get("X-Auth-Request-Tenant"),
		User: r.Header.Get("X-Auth-Request-User"), Email: r.Header.Get("X-Auth-Request-Email"),
	}
	for group := range strings.SplitSeq(r.Header.Get("X-Auth-Request-Groups"), ",") {
		group, err := url.PathUnescape(group)
		if err != nil {
			group = err.Error()
		}
		v.Groups = append(v.Groups, group)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.visits = append(a.visits, v)
}

// take returns the visits since it was last called.
func (a *application) take() []visit {
	a.mu.Lock()
	defer a.mu.Unlock()
	visits := a.visits
	a.visits = nil
	return visits
}

// responses are the IdP's, as browsers brought them.
type responses struct {
	mu      sync.Mutex
	encoded string
}

// recorded passes requests on and looks into those that carry a response.
func (s *responses) recorded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/saml/acs" {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			form, _ := url.ParseQuery(string(body)) // the gateway judges it
			s.mu.Lock()
			s.encoded = form.Get("SAMLResponse")
			s.mu.Unlock()
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		next.ServeHTTP(w, r)
	})
}

// last is the XML of the last response.
func (s *responses) last(t *testing.T) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	document, err := base64.StdEncoding.DecodeString(s.encoded)
	require.NoError(t, err)
	require.NotEmpty(t, document, "a response reached the gateway")
	return string(document)
}

// logBuffer is the gateway's log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// signIn is a line of the log about one that succeeded.
type signIn struct {
	Event, Tenant, Outcome, User string
	Created                      bool
}

func (l *logBuffer) signIns() []signIn {
	var all []signIn
	for line := range strings.Lines(l.String()) {
		var s signIn
		if err := json.Unmarshal([]byte(line), &s); err == nil && s.Event == "sign-in" && s.Outcome == "success" {
			all = append(all, s)
		}
	}
	return all
}

// gatewayCertificate is for all customers' hosts.
func gatewayCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"*." + baseDomain},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
