package session_test

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"cequence.cloud/saml-operator/internal/gateway/session"
)

// FuzzCookieHeader sends what nobody has sealed: it is no session, and no
// pending request.
func FuzzCookieHeader(f *testing.F) {
	c := fuzzCodec(f)
	const pending = "__Host-saml-request-"
	f.Add(session.CookieName + "=")
	f.Add(session.CookieName + "=" + strings.Repeat("A", 100))
	f.Add(session.CookieName + "=a; " + session.CookieName + "=b; " + pending + "x=" + strings.Repeat("_", 80))
	f.Add(pending + "=\"\"; " + pending + "\x00=a")
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Cookie", header)
		if s, err := c.Open(binding, r); err == nil {
			t.Errorf("%q is a session: %+v", header, s)
		}
		requests, useless := c.Pending(binding, r, now)
		if len(requests) > 0 {
			t.Errorf("%q is a pending request: %+v", header, requests)
		}
		for _, name := range useless {
			if !strings.HasPrefix(name, pending) {
				t.Errorf("%q: the cookie %q is to be deleted, and not ours", header, name)
			}
		}
	})
}

// FuzzSealed seals for one binding and opens for another: what opens was
// sealed for that very binding and purpose, and nobody has changed it since.
func FuzzSealed(f *testing.F) {
	c := fuzzCodec(f)
	f.Add(binding.Tenant, binding.Host, binding.IDPEntityID, uint16(0), byte(0), "/a?b")
	f.Add(binding.Tenant, binding.Host, binding.IDPEntityID, uint16(40), byte(1), "/")
	f.Add(binding.Tenant, binding.Host, "https://other.example", uint16(0), byte(0), "")
	f.Add(binding.Tenant+"\x00"+binding.Host, binding.IDPEntityID, "", uint16(0), byte(0), strings.Repeat("/", 4000))
	f.Add("", binding.Tenant, binding.Host+"\x00"+binding.IDPEntityID, uint16(0), byte(0), "\xff")
	f.Fuzz(func(t *testing.T, tenant, host, idp string, at uint16, change byte, text string) {
		to := session.Binding{Tenant: tenant, Host: host, IDPEntityID: idp}
		good := to == binding && change == 0
		damage := func(cookie *http.Cookie) *http.Cookie {
			value := []byte(cookie.Value)
			value[int(at)%len(value)] ^= change
			damaged := *cookie
			damaged.Value = string(value)
			return &damaged
		}

		want := example()
		if utf8.ValidString(text) && len(text) < 1000 {
			want.DisplayName = text
		}
		sealed, err := c.Seal(to, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Open(binding, with(damage(sealed)))
		if opened := err == nil; opened != good || opened && !reflect.DeepEqual(got, want) {
			t.Errorf("a session sealed for %+v, changed by %d: %+v, %v", to, change, got, err)
		}

		pending := session.Pending{RequestID: "id-1", ReturnTo: text, IssuedAt: now, Handle: session.NewHandle()}
		cookies, err := c.Begin(to, with(), pending, now)
		if err != nil || len(cookies) != 1 {
			t.Fatalf("%v, %v", cookies, err)
		}
		requests, _ := c.Pending(binding, with(damage(cookies[0])), now)
		if opened := len(requests) == 1; opened != good {
			t.Errorf("a request sealed for %+v, changed by %d: %+v", to, change, requests)
		} else if opened && utf8.ValidString(text) && requests[0].ReturnTo != text && requests[0].ReturnTo != "/" {
			t.Errorf("%q became %q", text, requests[0].ReturnTo)
		}

		damaged := damage(sealed)
		damaged.Name = cookies[0].Name
		if requests, _ := c.Pending(binding, with(damaged), now); len(requests) > 0 {
			t.Errorf("a session is a pending request: %+v", requests)
		}
	})
}

func fuzzCodec(f *testing.F) *session.Codec {
	f.Helper()
	c, err := session.NewCodec(make([]byte, session.KeyBytes))
	if err != nil {
		f.Fatal(err)
	}
	return c
}
