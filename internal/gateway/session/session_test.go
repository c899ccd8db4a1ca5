package session_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
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

func TestPendingLogout(t *testing.T) {
	c := codec(t, 'k')
	want := session.Logout{RequestID: "id-1", IssuedAt: now}
	cookie, err := c.BeginLogout(binding, want)
	if err != nil {
		t.Fatal(err)
	}
	if !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteNoneMode || !session.IsOwnCookie(cookie.Name) {
		t.Errorf("cookie is %s", cookie)
	}
	if got := c.Logout(binding, with(cookie), now.Add(session.RequestLifetime-1)); got != want {
		t.Errorf("got %+v", got)
	}
	other := binding
	other.Tenant = "globex"
	for name, got := range map[string]session.Logout{
		"too late":       c.Logout(binding, with(cookie), now.Add(session.RequestLifetime)),
		"twice":          c.Logout(binding, with(cookie, cookie), now),
		"none":           c.Logout(binding, with(), now),
		"another tenant": c.Logout(other, with(cookie), now),
		"another key":    codec(t, 'l').Logout(binding, with(cookie), now),
	} {
		if got != (session.Logout{}) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	// An answer to it must not begin a session.
	cookie.Name = "__Host-saml-request-x"
	if got, _ := c.Pending(binding, with(cookie), now); len(got) != 0 {
		t.Errorf("a pending logout is a pending sign-in: %+v", got)
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

// The first key seals, all open, and one that is gone is worthless.
func TestSeveralKeys(t *testing.T) {
	before, after := []byte(strings.Repeat("a", session.KeyBytes)), []byte(strings.Repeat("b", session.KeyBytes))
	c, err := session.NewCodec(before)
	if err != nil {
		t.Fatal(err)
	}
	set := func(keys ...[]byte) {
		t.Helper()
		if err := c.SetKeys(keys...); err != nil {
			t.Fatal(err)
		}
	}
	seal := func() *http.Cookie {
		t.Helper()
		cookie, err := c.Seal(binding, example())
		if err != nil {
			t.Fatal(err)
		}
		return cookie
	}
	opens := func(cookie *http.Cookie) bool { _, err := c.Open(binding, with(cookie)); return err == nil }

	first := seal()
	set(before, after)
	stillFirst := seal()
	set(after, before)
	second := seal()
	pending := session.Pending{RequestID: "id-1", ReturnTo: "/", IssuedAt: now, Handle: session.NewHandle()}
	if !opens(first) || !opens(stillFirst) || !opens(second) {
		t.Error("a key does not open any more")
	}
	other := binding
	other.Tenant = "globex"
	if _, err := c.Open(other, with(second)); err == nil {
		t.Error("with two keys the cookie of one tenant counts at another")
	}
	set(after)
	if opens(first) || opens(stillFirst) || !opens(second) {
		t.Errorf("the key of before opens: %t, %t; the new one: %t", opens(first), opens(stillFirst), opens(second))
	}
	cookies, err := c.Begin(binding, with(), pending, now)
	if err != nil {
		t.Fatal(err)
	}
	set(before, after)
	if got, _ := c.Pending(binding, with(cookies[0]), now); len(got) != 1 {
		t.Error("a pending request is lost with a new key")
	}
	for _, keys := range [][][]byte{{}, {nil}, {after, []byte("short")}} {
		if err := c.SetKeys(keys...); err == nil {
			t.Errorf("%q were taken", keys)
		}
	}
	if !opens(first) || !opens(second) {
		t.Error("keys that are none have replaced those that are")
	}
}
