package gateway_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/gateway/session"
)

// A rotation of the cookie key as docs/guides/rotate-cookie-keys.md has it: who
// uses the session notices nothing, and what only the key of before has sealed
// ends with it. Nothing is restarted.
func TestO5_RotationOfTheCookieKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cookie.key")
	before, after := strings.Repeat("a", session.KeyBytes), strings.Repeat("b", session.KeyBytes)
	write := func(suffix, key string) {
		t.Helper()
		if err := os.WriteFile(file+suffix+"~", []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+suffix+"~", file+suffix); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(suffix string) {
		t.Helper()
		if err := os.Remove(file + suffix); err != nil {
			t.Fatal(err)
		}
	}
	write("", before)
	w := newWorld(t, func(_ *world, o *gateway.Options) { o.CookieKeyFile = file })
	active, silent, atTheIDP := w.person(), w.person(), w.person()
	active.signIn(acme)
	silent.signIn(acme)
	requestID, relayState := atTheIDP.login(acme, "/late")

	// The next key opens what a replica seals that is a step ahead.
	write(".next", after)
	ahead, err := session.NewCodec([]byte(after))
	if err != nil {
		t.Fatal(err)
	}
	binding := session.Binding{Tenant: acme, Host: host(acme), IDPEntityID: w.idps[acme].EntityID()}
	cookie, err := ahead.Seal(binding, session.Session{ID: session.NewID(), StableID: "alice", CreatedAt: w.clock.Now(), SeenAt: w.clock.Now(), ExpiresAt: w.clock.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("the next key opens", func() bool {
		r := w.person().request(http.MethodGet, site(acme)+"/saml/session", nil)
		r.AddCookie(cookie)
		return w.person().do(r).StatusCode == http.StatusOK
	})
	sealedAhead := func(p *person) bool {
		r := p.request(http.MethodGet, site(acme), nil)
		for _, cookie := range p.cookies(acme) {
			r.AddCookie(cookie)
		}
		_, err := ahead.Open(binding, r)
		return err == nil
	}
	if newcomer := w.person(); newcomer.signIn(acme).StatusCode != http.StatusSeeOther || sealedAhead(newcomer) {
		t.Error("the next key seals already, which other replicas may not open yet")
	}

	// It takes over. A file that is no key changes nothing.
	write(".previous", before)
	write("", after)
	remove(".next")
	w.eventually("the next key seals", func() bool { p := w.person(); p.signIn(acme); return sealedAhead(p) })
	write("", "no key")
	w.eventually("the log tells of a file that is no key", func() bool { return strings.Contains(w.log.all(), "the keys before stay") })
	write("", after)
	for name, p := range map[string]*person{"active": active, "silent": silent} {
		if _, in := p.whoami(acme); !in {
			t.Errorf("the %s session has ended", name)
		}
	}
	if a := atTheIDP.post(acme, w.issue(acme, acme, requestID), relayState); a.Header.Get("Location") != "/late" {
		t.Errorf("the pending request is lost: status %d", a.StatusCode)
	}
	w.clock.advance(30 * time.Minute)
	if a := active.get(site(acme) + "/"); a.StatusCode != http.StatusOK || !sealedAhead(active) {
		t.Errorf("the session that is used is not sealed anew: status %d", a.StatusCode)
	}

	// The key of before is gone.
	remove(".previous")
	w.eventually("what the key of before has sealed is over", func() bool { _, in := silent.whoami(acme); return !in })
	if _, in := active.whoami(acme); !in {
		t.Error("the session that was used has ended")
	}
	if log := w.log.all(); strings.Contains(log, before) || strings.Contains(log, after) {
		t.Error("the log has a key")
	}
}
