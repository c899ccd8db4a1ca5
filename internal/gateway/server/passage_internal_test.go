package server

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/admission"
	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/gateway/streams"
	"cequence.cloud/saml-operator/internal/gateway/tenant"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// BenchmarkPassage passes a request on to an application that costs nothing,
// with the bounds and timers around it and without.
func BenchmarkPassage(b *testing.B) {
	page := strings.Repeat("x", 10_000)
	log := slog.New(slog.DiscardHandler)
	s := &Server{Options: Options{
		Log: log, Streams: &streams.Set{}, StallTimeout: time.Minute, Application: admission.New(100, 10, time.Second),
	}}
	s.proxy = newProxy(&url.URL{Scheme: "http", Host: "app"}, roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/html"}}, Body: io.NopCloser(strings.NewReader(page)), ContentLength: int64(len(page)), Request: r}, nil
	}), log, s.notPassed)
	v := visit{tenant: "acme", host: "acme.s.localhost", session: session.Session{StableID: "alice", Email: "alice@acme.example"}}
	for name, pass := range map[string]func(*exchange){
		"plain":   func(x *exchange) { x.proxy.ServeHTTP(x.w, withVisit(x.r, v)) },
		"bounded": func(x *exchange) { x.pass(x.proxy, v) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				pass(&exchange{Server: s, w: w, r: httptest.NewRequest(http.MethodGet, "/", nil), tenant: &tenant.Tenant{}})
				if w.Body.Len() != len(page) {
					b.Fatal("not the page")
				}
			}
		})
	}
}
