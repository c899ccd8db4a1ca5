// Package browser_test signs in with Chromium, at a gateway and an identity
// provider on two sites, and holds the gateway's pages to axe-core.
package browser_test

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"html/template"
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
	acs  = site + "/saml/acs"
	// idpSite is another site, so that cookies are those of a cross-site POST.
	idpSite = "https://login.customer.example"
	// unknownSite is of no tenant.
	unknownSite = "https://nobody.gateway.example"

	password = "correct horse"

	// patience is for a machine that has much else to do.
	patience = 90 * time.Second
)

// world is a gateway in front of an application, and an IdP.
type world struct {
	idp     *testidp.IDP
	clock   atomic.Int64 // seconds
	address string
	spki    string
	gateway *gateway.Gateway
}

func (w *world) now() time.Time { return time.Unix(w.clock.Load(), 0).UTC() }

// setup is what a test may alter before the gateway starts.
type setup struct {
	idp     *testidp.IDP
	config  tenantconfig.Config
	options gateway.Options
	files   map[string][]byte // of the tenant
}

func newWorld(t *testing.T, alter ...func(*setup)) *world {
	t.Helper()
	w := &world{}
	w.clock.Store(time.Now().Unix())
	idp, err := testidp.New(testidp.Options{BaseURL: idpSite, TenantID: "acme", Clock: w.now, Users: []testidp.User{
		{Name: "alice", Password: password, NameID: "alice@acme.example", Email: "alice@acme.example"},
		{Name: "guest", Password: password, NameID: "guest@elsewhere.example", Email: "guest@elsewhere.example"},
	}})
	require.NoError(t, err)
	w.idp = idp
	s := setup{idp: idp, files: map[string][]byte{tenantconfig.FileSPMetadata: []byte("<EntityDescriptor/>")}}
	s.config = tenantconfig.Config{
		Tenant: "acme", CustomerName: "acme", DisplayName: "Acme Corporation", Host: host,
		ServiceProvider: tenantconfig.ServiceProvider{
			EntityID: site + "/saml/metadata", SignOnURL: site, ACSURL: acs, MetadataURL: site + "/saml/metadata",
		},
		IdentityProvider: tenantconfig.IdentityProvider{
			EntityID: idp.EntityID(), SSO: []tenantconfig.Endpoint{{Binding: tenantconfig.BindingRedirect, Location: idp.SSOURL()}},
		},
		AttributeMapping: tenantconfig.AttributeMapping{Email: []string{testidp.ClaimEmail}},
		Session:          tenantconfig.Session{MaxDuration: 8 * 3600, IdleTimeout: 3600},
	}
	for _, certificate := range idp.Certificates() {
		s.config.IdentityProvider.SigningCertificates = append(s.config.IdentityProvider.SigningCertificates, base64.StdEncoding.EncodeToString(certificate.Raw))
	}
	app := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		_, _ = rw.Write([]byte(`<!DOCTYPE html><title>The application</title><h1>The application</h1>`))
	}))
	t.Cleanup(app.Close)
	upstream, err := url.Parse(app.URL)
	require.NoError(t, err)
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	s.options = gateway.Options{
		Source:  &configsource.Directory{Dir: dir, PollInterval: 5 * time.Millisecond, Log: log},
		DataDir: t.TempDir(), Upstream: upstream, ClockSkew: -1, Now: w.now, Log: log,
	}
	for _, a := range alter {
		a(&s)
	}
	s.files[tenantconfig.FileConfig], err = tenantconfig.Encode(s.config)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "acme"), 0o700))
	for name, content := range s.files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "acme", name), content, 0o600))
	}
	g, err := gateway.New(t.Context(), s.options)
	require.NoError(t, err)
	w.gateway = g
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()

	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case "https://"+r.Host != idpSite:
			g.Handler().ServeHTTP(rw, r)
		case r.URL.Path == "/portal":
			w.portal(t, rw, r)
		default:
			idp.ServeHTTP(rw, r)
		}
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

// by has requests go out by a binding.
func by(binding string) func(*setup) {
	return func(s *setup) { s.config.IdentityProvider.SSO[0].Binding = binding }
}

var portal = template.Must(template.New("portal").Parse(`<!DOCTYPE html><title>Portal</title>
<a href="{{.Link}}">Link</a>
<form method="post" action="{{.ACS}}"><input type="hidden" name="SAMLResponse" value="{{.Response}}">
<input type="hidden" name="RelayState" value="/reports"><button>The application</button></form>`))

// portal is a page at the IdP from which users start: by a link, or by a form
// with a response to no request.
func (w *world) portal(t *testing.T, rw http.ResponseWriter, r *http.Request) {
	response, err := w.idp.IssueResponse(testidp.ResponseOptions{UserName: "alice", Audience: site + "/saml/metadata", ACSURL: acs})
	if assert.NoError(t, err) {
		assert.NoError(t, portal.Execute(rw, map[string]string{
			"Link": r.URL.Query().Get("link"), "ACS": acs, "Response": base64.StdEncoding.EncodeToString(response),
		}))
	}
}

// follow follows a link of another site.
func follow(address string) chromedp.Action {
	return chromedp.Tasks{chromedp.Navigate(idpSite + "/portal?link=" + url.QueryEscape(address)), click("a")}
}

func (w *world) certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{host, "nobody.gateway.example", "login.customer.example"},
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
	return ctx
}

// run runs actions, and says what the browser shows if one fails.
func run(ctx context.Context, t *testing.T, actions ...chromedp.Action) {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := chromedp.Run(limited, actions...); err != nil {
		late, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		var shown string
		_ = chromedp.Run(late, chromedp.Evaluate(`location.href + "\n" + document.documentElement.outerHTML`, &shown))
		require.NoError(t, err, shown)
	}
}

// submit enters name and password at the IdP.
func submit(user string) chromedp.Action {
	return chromedp.Tasks{
		chromedp.WaitVisible("#password"),
		chromedp.SetValue("#username", user), chromedp.SetValue("#password", password),
		click("button[type=submit]"),
	}
}

// click takes the selector for nothing but that: chromedp's default also finds
// it as text, and then waits for a title to become visible.
func click(selector string) chromedp.Action { return chromedp.Click(selector, chromedp.ByQuery) }

func titled(title string) chromedp.Action {
	return chromedp.WaitVisible(fmt.Sprintf("//h1[text()=%q]", title), chromedp.BySearch)
}

// A sign-in by either binding comes back to path and query. The fragment is
// never sent, and does not survive the form that the IdP's page posts.
func TestSignIn(t *testing.T) {
	for _, binding := range []string{tenantconfig.BindingRedirect, tenantconfig.BindingPOST} {
		t.Run(binding[strings.LastIndex(binding, ":")+1:], func(t *testing.T) {
			w := newWorld(t, by(binding))
			ctx := w.browser(t, "en")
			var location string
			var cookies []*network.Cookie
			run(ctx, t, chromedp.Navigate(site+"/reports?year=2026#may"), submit("alice"), titled("The application"),
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
	w := newWorld(t)
	first := w.browser(t, "en")
	second, cancel := chromedp.NewContext(first)
	defer cancel()
	require.NoError(t, chromedp.Run(second))
	run(first, t, chromedp.Navigate(site+"/first"), chromedp.WaitVisible("#password"))
	run(second, t, chromedp.Navigate(site+"/second"), chromedp.WaitVisible("#password"))
	for ctx, want := range map[context.Context]string{first: site + "/first", second: site + "/second"} {
		var location string
		run(ctx, t, submit("alice"), titled("The application"), chromedp.Location(&location))
		assert.Equal(t, want, location)
	}
}

// The user has 15 minutes at the IdP. Whoever took longer signs in by the link
// of the page that says so.
func TestFifteenMinutes(t *testing.T) {
	w := newWorld(t)
	ctx := w.browser(t, "en")
	run(ctx, t, chromedp.Navigate(site+"/reports"), chromedp.WaitVisible("#password"))
	w.clock.Add(15*60 - 1)
	run(ctx, t, submit("alice"), titled("The application"))

	run(ctx, t, network.ClearBrowserCookies(), chromedp.Navigate(site+"/reports"), chromedp.WaitVisible("#password"))
	w.clock.Add(15*60 + 1)
	run(ctx, t, submit("alice"), titled("You could not be signed in"))
	run(ctx, t, click(`a[href="/saml/login"]`), submit("alice"), titled("The application"))
}

// Who is refused can sign in as somebody else.
func TestNoAccess(t *testing.T) {
	w := newWorld(t, func(s *setup) { s.config.Authorization.AllowedEmailDomains = []string{"acme.example"} })
	ctx := w.browser(t, "en")
	run(ctx, t, chromedp.Navigate(site), submit("guest"), titled("You have no access"))
	run(ctx, t, click("a"), submit("alice"), titled("The application"))
}

// A response to no request comes by a POST from another site, with which
// browsers send none of our cookies.
func TestUnsolicited(t *testing.T) {
	reports := chromedp.Tasks{titled("The application"), chromedp.ActionFunc(func(ctx context.Context) error {
		var location string
		if err := chromedp.Location(&location).Do(ctx); err != nil || location == site+"/reports" {
			return err
		}
		return errors.New("at " + location)
	})}
	for mode, then := range map[tenantconfig.IDPInitiated]chromedp.Action{
		tenantconfig.IDPInitiatedRefuse:  titled("You could not be signed in"),
		tenantconfig.IDPInitiatedRestart: chromedp.Tasks{submit("alice"), reports},
		tenantconfig.IDPInitiatedAccept:  reports,
	} {
		t.Run(cmp.Or(string(mode), "Refuse"), func(t *testing.T) {
			w := newWorld(t, func(s *setup) { s.config.ServiceProvider.IDPInitiated = mode })
			run(w.browser(t, "en"), t, chromedp.Navigate(idpSite+"/portal"), click("button"), then)
		})
	}
}

// After the sign-out, going back does not show who was signed in. Chromium keeps
// the page in memory for that, whatever Cache-Control says.
func TestSignOut(t *testing.T) {
	w := newWorld(t, func(s *setup) { s.options.Upstream = nil })
	ctx := w.browser(t, "de-DE,de")
	var language string
	run(ctx, t, chromedp.Navigate(site), submit("alice"), titled("Sie sind angemeldet"))
	run(ctx, t, click("a"), titled("Sie sind abgemeldet"), chromedp.Evaluate("document.documentElement.lang", &language))
	assert.Equal(t, "de", language)
	run(ctx, t, chromedp.Evaluate("history.back()", nil), chromedp.WaitVisible("#password"))
}

// A link of another site cannot sign out; the user is asked.
func TestSignOutIsAskedFor(t *testing.T) {
	w := newWorld(t)
	ctx := w.browser(t, "en")
	run(ctx, t, chromedp.Navigate(site), submit("alice"), titled("The application"))
	run(ctx, t, follow(site+"/saml/logout"), titled("Sign out?"), chromedp.Navigate(site), titled("The application"))
	run(ctx, t, follow(site+"/saml/logout"), titled("Sign out?"), click("button"), titled("You are signed out"))
	run(ctx, t, chromedp.Navigate(site), chromedp.WaitVisible("#password"))
}

// Single logout begins here, and then at the IdP.
func TestSingleLogout(t *testing.T) {
	const slo = site + "/saml/slo"
	w := newWorld(t, func(s *setup) {
		key, err := testidp.NewKey(testidp.KeyOptions{})
		require.NoError(t, err)
		der, err := x509.MarshalPKCS8PrivateKey(key.Signer)
		require.NoError(t, err)
		s.files[tenantconfig.FileKey] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		s.files[tenantconfig.FileCertificate] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: key.Certificate.Raw})
		s.config.ServiceProvider.SLOURL = slo
		s.config.ServiceProvider.SignAuthnRequests = true
		s.config.IdentityProvider.SLO = []tenantconfig.Endpoint{{Binding: tenantconfig.BindingRedirect, Location: s.idp.SLOURL()}}
		s.idp.SetServiceProvider(s.config.ServiceProvider.EntityID, testidp.ServiceProvider{
			ACSURL: acs, LogoutURL: slo, VerificationCertificates: []*x509.Certificate{key.Certificate},
		})
	})
	ctx := w.browser(t, "en")
	run(ctx, t, chromedp.Navigate(site), submit("alice"), titled("The application"))
	run(ctx, t, chromedp.Navigate(site+"/saml/logout"), chromedp.WaitVisible(`//p[text()="You are signed out here and at your organization."]`))
	run(ctx, t, chromedp.Navigate(site), submit("alice"), titled("The application"))
	request, err := w.idp.LogoutRequestURL(testidp.LogoutOptions{LogoutURL: slo, NameID: "alice@acme.example"})
	require.NoError(t, err)
	run(ctx, t, follow(request), titled("You signed out of your account"))
	run(ctx, t, chromedp.Navigate(site), chromedp.WaitVisible("#password"))
}

// Without scripts the form of the POST binding has a button.
func TestWithoutScripts(t *testing.T) {
	w := newWorld(t, by(tenantconfig.BindingPOST))
	ctx := w.browser(t, "en")
	run(ctx, t, emulation.SetScriptExecutionDisabled(true), chromedp.Navigate(site+"/saml/login"),
		click("button[type=submit]"), chromedp.WaitVisible("#password"))
}
