package session_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/session"
)

var (
	now     = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	binding = session.Binding{Tenant: "acme", Host: "acme.s.localhost", IDPEntityID: "https://idp.example"}
	policy  = session.Policy{MaxDuration: 8 * time.Hour, IdleTimeout: time.Hour}
)

func codec(t *testing.T, fill byte) *session.Codec {
	t.Helper()
	c, err := session.NewCodec([]byte(strings.Repeat(string(fill), session.KeyBytes)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func example() session.Session {
	return session.Session{ID: session.NewID(), UserID: "u", StableID: "alice", Email: "alice@acme.example", Groups: []string{"a"},
		CreatedAt: now, SeenAt: now, ExpiresAt: now.Add(8 * time.Hour)}
}

func with(cookies ...*http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return r
}

func TestSealedSession(t *testing.T) {
	c := codec(t, 'k')
	want := example()
	cookie, err := c.Seal(binding, want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Open(binding, with(cookie)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if strings.Contains(cookie.Value, "alice") {
		t.Error("the cookie can be read")
	}
	for name, open := range map[string]func() (session.Session, error){
		"another key":    func() (session.Session, error) { return codec(t, 'l').Open(binding, with(cookie)) },
		"another tenant": func() (session.Session, error) { b := binding; b.Tenant = "x"; return c.Open(b, with(cookie)) },
		"another host":   func() (session.Session, error) { b := binding; b.Host = "x"; return c.Open(b, with(cookie)) },
		"another IdP":    func() (session.Session, error) { b := binding; b.IDPEntityID = "x"; return c.Open(b, with(cookie)) },
		"twice":          func() (session.Session, error) { return c.Open(binding, with(cookie, cookie)) },
		"none":           func() (session.Session, error) { return c.Open(binding, with()) },
	} {
		if got, err := open(); !errors.Is(err, session.ErrNone) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	for i := range cookie.Value {
		altered := *cookie
		altered.Value = cookie.Value[:i] + string(cookie.Value[i]^1) + cookie.Value[i+1:]
		if _, err := c.Open(binding, with(&altered)); err == nil {
			t.Errorf("byte %d may be altered", i)
		}
		altered.Value = cookie.Value[:i]
		if _, err := c.Open(binding, with(&altered)); err == nil {
			t.Errorf("%d bytes are enough", i)
		}
	}
}

func TestCookiesOfOnePurposeAreWorthlessForAnother(t *testing.T) {
	c := codec(t, 'k')
	pending := session.Pending{RequestID: "id-1", ReturnTo: "/", IssuedAt: now, Handle: session.NewHandle()}
	cookies, err := c.Begin(binding, with(), pending, now)
	if err != nil || len(cookies) != 1 {
		t.Fatalf("%v, %v", cookies, err)
	}
	if got, _ := c.Pending(binding, with(cookies[0]), now); len(got) != 1 || got[0].RequestID != "id-1" || got[0].Handle != pending.Handle {
		t.Errorf("pending: %+v", got)
	}
	asSession := *cookies[0]
	asSession.Name = session.CookieName
	if got, err := c.Open(binding, with(&asSession)); !errors.Is(err, session.ErrNone) {
		t.Errorf("a pending request is a session: %+v", got)
	}
	sealed, err := c.Seal(binding, example())
	if err != nil {
		t.Fatal(err)
	}
	sealed.Name = cookies[0].Name
	if got, useless := c.Pending(binding, with(sealed), now); len(got) != 0 || len(useless) != 1 {
		t.Errorf("a session is a pending request: %+v", got)
	}
	if got, _ := c.Pending(binding, with(cookies[0], cookies[0]), now); len(got) != 0 {
		t.Errorf("a cookie that is there twice counts: %+v", got)
	}
}

// Browsers drop a cookie of more than 4096 bytes, and with it the sign-in.
func TestPendingCookieIsNeverTooLarge(t *testing.T) {
	c := codec(t, 'k')
	for returnTo, want := range map[string]string{
		"/?" + strings.Repeat("&", 2046): "/?" + strings.Repeat("&", 2046),
		"/" + strings.Repeat("x", 2900):  "/",
		"/" + strings.Repeat("\"", 2000): "/",
	} {
		pending := session.Pending{RequestID: "id-" + strings.Repeat("1", 40), ReturnTo: returnTo, IssuedAt: now, Handle: session.NewHandle()}
		cookies, err := c.Begin(binding, with(), pending, now)
		if err != nil {
			t.Fatal(err)
		}
		if size := len(cookies[0].Name) + len(cookies[0].Value); size > 4000 {
			t.Errorf("%.10q: %d bytes", returnTo, size)
		}
		if got, _ := c.Pending(binding, with(cookies[0]), now); len(got) != 1 || got[0].ReturnTo != want || got[0].RequestID != pending.RequestID {
			t.Errorf("%.10q: pending %.100v", returnTo, got)
		}
	}
}

func TestSealRefusesWhatBrowsersWouldDrop(t *testing.T) {
	s := example()
	s.Groups = []string{strings.Repeat("x", 4000)}
	if cookie, err := codec(t, 'k').Seal(binding, s); !errors.Is(err, session.ErrTooLarge) {
		t.Errorf("got %v, %v", cookie, err)
	}
}

func TestCheck(t *testing.T) {
	revoked := session.NewRevocations(map[string]time.Time{"ended": now.Add(time.Hour)})
	for _, test := range []struct {
		name   string
		change func(*session.Session)
		policy session.Policy
		at     time.Time
		want   error
	}{
		{"fresh", func(*session.Session) {}, policy, now, nil},
		{"just before idle", func(*session.Session) {}, policy, now.Add(time.Hour - 1), nil},
		{"idle", func(*session.Session) {}, policy, now.Add(time.Hour), session.ErrExpired},
		{"in use to the end", func(s *session.Session) { s.SeenAt = now.Add(7 * time.Hour) }, policy, now.Add(8*time.Hour - 1), nil},
		{"at the end", func(s *session.Session) { s.SeenAt = now.Add(7*time.Hour + 59*time.Minute) }, policy, now.Add(8 * time.Hour), session.ErrExpired},
		{"the policy became longer", func(s *session.Session) { s.SeenAt = now.Add(8 * time.Hour) },
			session.Policy{MaxDuration: 24 * time.Hour, IdleTimeout: time.Hour}, now.Add(8 * time.Hour), session.ErrExpired},
		{"the policy became shorter", func(*session.Session) {}, session.Policy{MaxDuration: time.Minute, IdleTimeout: time.Hour}, now.Add(time.Minute), session.ErrExpired},
		{"ended", func(s *session.Session) { s.ID = "ended" }, policy, now, session.ErrRevoked},
	} {
		s := example()
		test.change(&s)
		if err := session.Check(s, test.policy, revoked, test.at); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
	if got := policy.ExpiresAt(now, now.Add(time.Minute), time.Second); !got.Equal(now.Add(time.Minute + time.Second)) {
		t.Errorf("SessionNotOnOrAfter does not win: %v", got)
	}
	if got := policy.ExpiresAt(now, now.Add(24*time.Hour), time.Second); !got.Equal(now.Add(8 * time.Hour)) {
		t.Errorf("SessionNotOnOrAfter prolongs: %v", got)
	}
	if got := policy.ExpiresAt(now, time.Time{}, time.Second); !got.Equal(now.Add(8 * time.Hour)) {
		t.Errorf("no SessionNotOnOrAfter ends the session: %v", got)
	}
}

func TestRevocationsForgetWhatIsOver(t *testing.T) {
	r := session.NewRevocations(nil)
	r.Add(map[string]time.Time{"a": now.Add(time.Minute)}, now)
	r.Add(map[string]time.Time{"b": now.Add(time.Hour)}, now.Add(time.Minute-1))
	if !r.Contains("a") || !r.Contains("b") {
		t.Error("a revocation is lost")
	}
	r.Add(map[string]time.Time{"c": now.Add(time.Hour)}, now.Add(time.Minute))
	if r.Contains("a") || !r.Contains("b") || !r.Contains("c") {
		t.Error("a revocation is kept for ever, or lost")
	}
}

func TestLoadOrCreateKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cookie.key")
	keys := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			key, err := session.LoadOrCreateKey(file)
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
		})
	}
	wg.Wait()
	for _, key := range keys {
		if len(key) != session.KeyBytes || !reflect.DeepEqual(key, keys[0]) {
			t.Errorf("two keys: %d and %d bytes", len(key), len(keys[0]))
		}
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", info, err)
	}
	if err := os.WriteFile(file, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if key, err := session.LoadOrCreateKey(file); err == nil {
		t.Errorf("a damaged key was taken: %d bytes", len(key))
	}
}
