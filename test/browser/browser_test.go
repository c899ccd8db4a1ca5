// Package browser_test signs in with Chromium, at a gateway and an identity
// provider on two sites.
package browser_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/gateway/configsource"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

const (
	host = "acme.gateway.example"
	site = "https://" + host
	// idpSite is another site, so that cookies are those of a cross-site POST.
	idpSite = "https://login.customer.example"
)

// world is a gateway in front of an application, and an IdP.
type world struct {
	clock   atomic.Int64 // seconds
	address string
	spki    string
}

func (w *world) now() time.Time { return time.Unix(w.clock.Load(), 0).UTC() }

func newWorld(t *testing.T, binding string) *world {
	t.Helper()
	w := &world{}
	w.clock.Store(time.Now().Unix())
	idp, err := testidp.New(testidp.Options{BaseURL: idpSite, TenantID: "acme", Clock: w.now, Users: []testidp.User{{
		Name: "alice", Password: "correct horse", NameID: "alice@acme.example", Email: "alice@acme.example",
	}}})
	require.NoError(t, err)
	config := tenantconfig.Config{
		Tenant: "acme", CustomerName: "acme", DisplayName: "Acme Corporation", Host: host,
		ServiceProvider: tenantconfig.ServiceProvider{
			EntityID: site + "/saml/metadata", SignOnURL: site, ACSURL: site + "/saml/acs", MetadataURL: site + "/saml/metadata",
		},
		IdentityProvider: tenantconfig.IdentityProvider{
			EntityID: idp.EntityID(), SSO: []tenantconfig.Endpoint{{Binding: binding, Location: idp.SSOURL()}},
		},
		AttributeMapping: tenantconfig.AttributeMapping{Email: []string{testidp.ClaimEmail}},
		Session:          tenantconfig.Session{MaxDuration: 8 * 3600, IdleTimeout: 3600},
	}
	for _, certificate := range idp.Certificates() {
		config.IdentityProvider.SigningCertificates = append(config.IdentityProvider.SigningCertificates, base64.StdEncoding.EncodeToString(certificate.Raw))
	}
	encoded, err := tenantconfig.Encode(config)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "acme"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "acme", tenantconfig.FileSPMetadata), []byte(`<EntityDescriptor/>`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "acme", tenantconfig.FileConfig), encoded, 0o600))

	app := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		_, _ = rw.Write([]byte(`<!DOCTYPE html><title>The application</title><h1>The application</h1>`))
	}))
	t.Cleanup(app.Close)
	upstream, err := url.Parse(app.URL)
	require.NoError(t, err)
	log := slog.New(slog.DiscardHandler)
	g, err := gateway.New(t.Context(), gateway.Options{
		Source:  &configsource.Directory{Dir: dir, PollInterval: 5 * time.Millisecond, Log: log},
		DataDir: t.TempDir(), Upstream: upstream, ClockSkew: -1, Now: w.now, Log: log,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()

	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if "https://"+r.Host == idpSite {
			idp.ServeHTTP(rw, r)
			return
		}
		g.Handler().ServeHTTP(rw, r)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{w.certificate(t)}, MinVersion: tls.VersionTLS12}
	server.Config.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	server.StartTLS()
	w.address = server.Listener.Addr().(*net.TCPAddr).String()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		cancel()
		assert.NoError(t, <-done)
		assert.NoError(t, g.Close())
	})
	require.Eventually(t, func() bool { return g.Ready() == nil }, 20*time.Second, 2*time.Millisecond)
	return w
}

func (w *world) certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{host, "login.customer.example"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	pin := sha256.Sum256(spki)
	w.spki = base64.StdEncoding.EncodeToString(pin[:])
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// browser starts Chromium with a new profile.
func (w *world) browser(t *testing.T, language string) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.Flag("host-resolver-rules", "MAP * "+w.address),
		chromedp.Flag("ignore-certificate-errors-spki-list", w.spki), // trusts this key and no other
		chromedp.Flag("accept-lang", language),
		chromedp.Flag("no-proxy-server", true),
	)
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's sandbox does not start as root
	}
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancelBrowser := chromedp.NewContext(allocator)
	t.Cleanup(cancelBrowser)
	require.NoError(t, chromedp.Run(ctx)) // the first Run's context ends the browser
	ctx, cancelAll := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancelAll)
	return ctx
}

func run(ctx context.Context, t *testing.T, actions ...chromedp.Action) {
	t.Helper()
	require.NoError(t, chromedp.Run(ctx, actions...))
}

// submit enters name and password at the IdP.
func submit() chromedp.Action {
	return chromedp.Tasks{
		chromedp.WaitVisible("#password"),
		chromedp.SendKeys("#username", "alice"), chromedp.SendKeys("#password", "correct horse"),
		chromedp.Click("button[type=submit]"),
	}
}

func titled(title string) chromedp.Action {
	return chromedp.WaitVisible(fmt.Sprintf("//h1[text()=%q]", title), chromedp.BySearch)
}

// A sign-in by either binding comes back to path and query. The fragment is
// never sent, and does not survive the form that the IdP's page posts.
func TestSignIn(t *testing.T) {
	for _, binding := range []string{tenantconfig.BindingRedirect, tenantconfig.BindingPOST} {
		t.Run(binding[strings.LastIndex(binding, ":")+1:], func(t *testing.T) {
			w := newWorld(t, binding)
			ctx := w.browser(t, "en")
			var location string
			var cookies []*network.Cookie
			run(ctx, t, chromedp.Navigate(site+"/reports?year=2026#may"), submit(), titled("The application"),
				chromedp.Location(&location),
				chromedp.ActionFunc(func(ctx context.Context) (err error) {
					cookies, err = network.GetCookies().Do(ctx)
					return err
				}))
			assert.Equal(t, site+"/reports?year=2026", location)
			require.Len(t, cookies, 1, "the request's cookie is gone")
			assert.True(t, strings.HasPrefix(cookies[0].Name, "__Host-") && cookies[0].HTTPOnly && cookies[0].Secure && cookies[0].SameSite == network.CookieSameSiteLax, "%+v", cookies[0])
		})
	}
}

// Two tabs sign in at once, each to its own page.
func TestTwoTabs(t *testing.T) {
	w := newWorld(t, tenantconfig.BindingRedirect)
	first := w.browser(t, "en")
	second, cancel := chromedp.NewContext(first)
	defer cancel()
	run(first, t, chromedp.Navigate(site+"/first"), chromedp.WaitVisible("#password"))
	run(second, t, chromedp.Navigate(site+"/second"), chromedp.WaitVisible("#password"))
	for ctx, want := range map[context.Context]string{first: site + "/first", second: site + "/second"} {
		var location string
		run(ctx, t, submit(), titled("The application"), chromedp.Location(&location))
		assert.Equal(t, want, location)
	}
}

// Without scripts the form of the POST binding has a button.
func TestWithoutScripts(t *testing.T) {
	w := newWorld(t, tenantconfig.BindingPOST)
	ctx := w.browser(t, "en")
	run(ctx, t, emulation.SetScriptExecutionDisabled(true), chromedp.Navigate(site+"/saml/login"),
		chromedp.Click("button[type=submit]"), chromedp.WaitVisible("#password"))
}
