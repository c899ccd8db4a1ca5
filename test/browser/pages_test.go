package browser_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// TestAccessibility holds the pages, in every shape that they have, to
// axe-core's rules. Screenshots go to the folder that SCREENSHOTS names.
func TestAccessibility(t *testing.T) {
	w := newWorld(t, by(tenantconfig.BindingPOST))
	for _, device := range devices {
		ctx := w.device(t, device)
		for _, page := range []struct {
			name string
			open chromedp.Action
		}{
			{"unknown", chromedp.Navigate(unknownSite)},
			{"not-found", chromedp.Navigate(site + "/saml/nothing")},
			{"refused", chromedp.Navigate(acs)},
			{"signed-out", chromedp.Navigate(site + "/saml/logout")},
			{"signing-in", chromedp.Tasks{ // without scripts it stays
				emulation.SetScriptExecutionDisabled(true), chromedp.Navigate(site + "/saml/login"), emulation.SetScriptExecutionDisabled(false),
			}},
			{"sign-out", chromedp.Tasks{
				chromedp.Navigate(site), submit("alice"), titled("The application"), follow(site + "/saml/logout"),
			}},
		} {
			t.Run(device.name+"/"+page.name, func(t *testing.T) {
				run(ctx, t, page.open)
				accessible(ctx, t, device.name+"-"+page.name)
			})
		}
	}
}

// device is what a page is looked at with.
type device struct {
	name, language, scheme string
	width, height          int64
	emulate                []chromedp.EmulateViewportOption
}

var devices = []device{
	{name: "desktop", language: "en", scheme: "light", width: 1280, height: 800},
	{name: "phone", language: "de", scheme: "dark", width: 360, height: 740, emulate: []chromedp.EmulateViewportOption{chromedp.EmulateMobile}},
}

func (w *world) device(t *testing.T, d device) context.Context {
	t.Helper()
	ctx := w.browser(t, d.language)
	run(ctx, t, chromedp.EmulateViewport(d.width, d.height, d.emulate...),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: d.scheme}}))
	return ctx
}

// accessible holds the page that is shown to axe-core's rules, and keeps a
// picture of it.
func accessible(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	axe, err := os.ReadFile("../../hack/axe/node_modules/axe-core/axe.min.js")
	require.NoError(t, err, "hack/install-test-packages.sh installs it")
	var violations []string
	var overflow bool
	run(ctx, t, chromedp.WaitVisible("main h1", chromedp.ByQuery),
		chromedp.Evaluate(string(axe)+";0", nil),
		chromedp.Evaluate(`axe.run({preload: false}).then(r => r.violations
			.filter(v => ["serious", "critical"].includes(v.impact))
			.map(v => v.id + ": " + v.nodes.map(n => n.html + " " + n.failureSummary).join(" ")))`,
			&violations, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }),
		chromedp.Evaluate(`document.documentElement.scrollWidth > document.documentElement.clientWidth`, &overflow))
	assert.Empty(t, violations)
	assert.False(t, overflow, "the page is wider than the device")
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		screenshot(ctx, t, filepath.Join(dir, name+".png"))
	}
}

func screenshot(ctx context.Context, t *testing.T, file string) {
	t.Helper()
	var picture []byte
	run(ctx, t, chromedp.FullScreenshot(&picture, 100))
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o750))
	require.NoError(t, os.WriteFile(file, picture, 0o600))
}
