package browser_test

import (
	"context"
	"encoding/base64"
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/administration"
	"cequence.cloud/saml-operator/internal/gateway/admin"
	"cequence.cloud/saml-operator/internal/testidp"
)

// testLink is what kubectl saml check prints.
func (w *world) testLink(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(w.gateway.Internal())
	t.Cleanup(server.Close)
	link, err := (&administration.Client{BaseURL: server.URL, Token: "any"}).TestLink(t.Context(), "acme")
	require.NoError(t, err)
	return link.URL
}

func administered(s *setup) {
	s.options.Authorize = func(context.Context, string, admin.Access) (string, error) { return "somebody", nil }
}

// An administrator follows the link, presses the button and signs in at the
// identity provider, and reads what came of it: in both languages, on a bright
// desktop and a dark phone, for a connection that works, for a user who is kept
// out, and for an identity provider that signs by another key. Nobody is signed
// in afterwards.
func TestConnectionTestPage(t *testing.T) {
	stranger, err := testidp.NewKey(testidp.KeyOptions{CommonName: "the old certificate"})
	require.NoError(t, err)
	for _, c := range []struct {
		name, user     string
		alter          func(*setup)
		titles, advice [2]string
	}{
		{
			name: "passed", user: "alice", alter: func(*setup) {},
			titles: [2]string{"The sign-in works", "Die Anmeldung funktioniert"},
			advice: [2]string{"alice@acme.example would be let in", "alice@acme.example würde eingelassen"},
		},
		{
			name: "kept-out", user: "guest",
			alter:  func(s *setup) { s.config.Authorization.AllowedEmailDomains = []string{"acme.example"} },
			titles: [2]string{"The connection works, but this user is not let in", "Die Verbindung funktioniert, aber dieser Benutzer wird nicht eingelassen"},
			advice: [2]string{"Add the domain to spec.authorization.allowedEmailDomains", "Ergänzen Sie die Domäne im Manifest"},
		},
		{
			name: "failed", user: "alice",
			alter: func(s *setup) {
				s.config.IdentityProvider.SigningCertificates = []string{base64.StdEncoding.EncodeToString(stranger.Certificate.Raw)}
			},
			titles: [2]string{"The sign-in does not work", "Die Anmeldung funktioniert nicht"},
			advice: [2]string{"kubectl saml refresh acme", "kubectl saml refresh acme"},
		},
	} {
		w := newWorld(t, administered, c.alter)
		for i, device := range devices {
			t.Run(device.name+"/"+c.name, func(t *testing.T) {
				ctx := w.device(t, device)
				run(ctx, t, chromedp.Navigate(w.testLink(t)), titled([]string{"Test the connection", "Verbindung testen"}[i]))
				accessible(ctx, t, device.name+"-test")
				var shown string
				run(ctx, t, click("button[type=submit]"), submit(c.user), titled(c.titles[i]), chromedp.Text("main", &shown, chromedp.ByQuery))
				assert.Contains(t, shown, c.advice[i])
				accessible(ctx, t, device.name+"-test-"+c.name)
				// The next one begins by the button of the page.
				run(ctx, t, click("button[type=submit]"), submit(c.user), titled(c.titles[i]))
				run(ctx, t, chromedp.Navigate(site), chromedp.WaitVisible("#password"))
			})
		}
	}
}
