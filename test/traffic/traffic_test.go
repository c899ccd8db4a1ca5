package traffic_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/crewjam/saml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/testidp"
	"cequence.cloud/saml-operator/test/traffic"
)

// gullible is a gateway that verifies nothing: whatever names a user signs that
// user in, as often as it comes.
type gullible struct {
	mu sync.Mutex
	// fault, if not nil, answers instead.
	fault http.HandlerFunc
	roots *x509.CertPool
	// address of both gateway and identity providers.
	address string
	sites   map[string]*traffic.Site
}

func newGullible(t *testing.T) *gullible {
	t.Helper()
	g := &gullible{roots: x509.NewCertPool(), sites: map[string]*traffic.Site{}}
	server := httptest.NewUnstartedServer(g)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	g.roots.AddCert(server.Certificate())
	g.address = server.Listener.Addr().String()
	// The names that the server's certificate has.
	for tenant, host := range map[string]string{"acme": "acme.example.com", "globex": "globex.example.com"} {
		user := testidp.User{Name: "ada@" + tenant + ".example", Password: "correct horse", Email: "ada@" + tenant + ".example"}
		idp, err := testidp.New(testidp.Options{BaseURL: server.URL + "/" + tenant, Users: []testidp.User{user}})
		require.NoError(t, err)
		g.sites[host] = &traffic.Site{Tenant: tenant, Origin: "https://" + host, IDP: idp, Users: []testidp.User{user}}
	}
	return g
}

func (g *gullible) setFault(fault http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fault = fault
}

func (g *gullible) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	site := g.sites[r.Host]
	if site == nil {
		for _, s := range g.sites {
			if prefix := "/" + s.Tenant; len(r.URL.Path) > len(prefix) && r.URL.Path[:len(prefix)] == prefix {
				http.StripPrefix(prefix, s.IDP).ServeHTTP(w, r)
			}
		}
		return
	}
	g.mu.Lock()
	fault := g.fault
	g.mu.Unlock()
	session, err := r.Cookie("__Host-saml-session")
	switch {
	case fault != nil:
		fault(w, r)
	case r.URL.Path == "/saml/login":
		http.SetCookie(w, &http.Cookie{Name: "__Host-saml-request-1", Value: "x", Path: "/", Secure: true, SameSite: http.SameSiteNoneMode})
		http.Redirect(w, r, authnRequest(site), http.StatusFound)
	case r.URL.Path == "/saml/acs":
		http.SetCookie(w, &http.Cookie{Name: "__Host-saml-session", Value: "x", Path: "/", Secure: true, SameSite: http.SameSiteLaxMode})
		http.Redirect(w, r, "/reports", http.StatusSeeOther)
	case err != nil || session.Value == "":
		http.Redirect(w, r, "/saml/login", http.StatusFound)
	default:
		_, _ = fmt.Fprintf(w, `{"tenant":%q,"user":"1","email":%q}`, site.Tenant, site.Users[0].Email)
	}
}

// authnRequest is the URL at which the site's identity provider is asked.
func authnRequest(site *traffic.Site) string {
	acs, err := url.Parse(site.Origin + "/saml/acs")
	if err != nil {
		panic(err)
	}
	sp := saml.ServiceProvider{EntityID: site.Origin + ":443/saml/metadata", AcsURL: *acs, AuthnNameIDFormat: saml.UnspecifiedNameIDFormat}
	request, err := sp.MakeAuthenticationRequest(site.IDP.SSOURL(), saml.HTTPRedirectBinding, saml.HTTPPostBinding)
	if err != nil {
		panic(err)
	}
	to, err := request.Redirect("", &sp)
	if err != nil {
		panic(err)
	}
	return to.String()
}

// work has people of acme at the gateway, and returns how to see what they met
// since the last look.
func work(t *testing.T, g *gullible) func(until func(traffic.Account) bool) traffic.Account {
	t.Helper()
	load := traffic.New(traffic.Options{Roots: g.roots, Gateway: g.address})
	require.NoError(t, load.Add(t.Context(), 3, g.sites["acme.example.com"]))
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { load.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	load.Set(20, 40)
	return func(until func(traffic.Account) bool) traffic.Account {
		t.Helper()
		from := time.Now()
		for deadline := from.Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			account := traffic.Judge(load.Attempts(t.Context(), from, time.Now()), nil)
			if until(account) || time.Now().After(deadline) {
				return account
			}
		}
	}
}

func enough(a traffic.Account) bool { return a.SignIns.Tried >= 5 && a.Requests.Tried >= 10 }

func TestPeopleSignInAndWork(t *testing.T) {
	account := work(t, newGullible(t))(enough)
	assert.Empty(t, account.Problems())
	assert.True(t, enough(account), "%+v", account)
}

func TestFailuresAreCountedWithTheirReasons(t *testing.T) {
	for name, c := range map[string]struct {
		fault http.HandlerFunc
		want  func(*testing.T, traffic.Account)
	}{
		"the gateway says that it cannot": {
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
			func(t *testing.T, a traffic.Account) {
				assert.Contains(t, a.SignIns.Why, "GET /reports: 503")
				assert.Contains(t, a.Requests.Why, "/reports: 503")
				assert.Zero(t, a.LostSessions)
			},
		},
		"the gateway cuts connections": {
			func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			func(t *testing.T, a traffic.Account) {
				assert.Equal(t, a.Requests.Tried, a.Requests.Unexpected)
				assert.Zero(t, a.LostSessions)
			},
		},
		"the gateway knows no session any more": {
			func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/saml/login", http.StatusFound) },
			func(t *testing.T, a traffic.Account) { assert.Equal(t, 3, a.LostSessions, "each of three people once") },
		},
		"the page is somebody else's": {
			func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"tenant":"acme","user":"2","email":"eve@acme.example"}`)
			},
			func(t *testing.T, a traffic.Account) {
				assert.Equal(t, a.SignIns.Tried+a.Requests.Tried, a.Confused)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGullible(t)
			meet := work(t, g)
			g.setFault(c.fault)
			account := meet(func(a traffic.Account) bool { return a.SignIns.Failed >= 5 && a.Requests.Failed >= 3 })
			assert.NotEmpty(t, account.Problems())
			c.want(t, account)
		})
	}
}

// A gateway that verifies nothing is found out by each kind of attack.
func TestAttackerFindsAGullibleGateway(t *testing.T) {
	g := newGullible(t)
	acme, globex := g.sites["acme.example.com"], g.sites["globex.example.com"]
	attacker := traffic.NewAttacker(g.roots, 1, func() []string { return []string{g.address, g.address} }, acme, globex)
	ctx, stop := context.WithCancel(t.Context())
	var attacking sync.WaitGroup
	attacking.Go(func() { attacker.Run(ctx, 5*time.Millisecond) })
	require.Eventually(t, func() bool {
		replays, crossed := attacker.Attacks()
		return replays.Accepted > 3 && crossed.Accepted > 3
	}, 20*time.Second, 10*time.Millisecond)
	stop()
	attacking.Wait()

	crossed, err := traffic.Strangers(t.Context(), g.roots, acme, g.address, globex, g.address)
	require.NoError(t, err)
	assert.Equal(t, traffic.Attacks{Tried: 2, Answered: 2, Accepted: 2}, crossed)
}

// A gateway that takes nothing is not one that refuses attacks.
func TestAttackerKnowsWhenNobodyAnswers(t *testing.T) {
	g := newGullible(t)
	attacker := traffic.NewAttacker(g.roots, 1, func() []string { return nil }, g.sites["acme.example.com"], g.sites["globex.example.com"])
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	attacker.Run(ctx, 5*time.Millisecond)
	replays, crossed := attacker.Attacks()
	assert.Zero(t, replays.Answered+crossed.Answered)
	assert.NotEmpty(t, replays.Problem("replays"))
	assert.NotEmpty(t, crossed.Problem("attempts"))
}
