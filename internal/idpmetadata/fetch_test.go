package idpmetadata_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"cequence.cloud/saml-operator/internal/idpmetadata"
)

const maxBytes = 1 << 20

// TestMain names a proxy that does not exist before net/http reads the
// environment, which it does once.
func TestMain(m *testing.M) {
	if err := os.Setenv("HTTPS_PROXY", "http://127.0.0.1:9"); err != nil {
		panic(err)
	}
	m.Run()
}

// idpHost is the name in the certificate of httptest.
const idpHost = "example.com"

// web is a metadata server and the DNS that leads to it.
type web struct {
	port     string
	ca       []byte
	resolver *net.Resolver

	mu       sync.Mutex
	requests []*http.Request
	answers  map[string][]string // addresses per host, the last one repeats
}

func newWeb(t *testing.T, configure func(*httptest.Server)) *web {
	t.Helper()
	w := &web{answers: map[string][]string{idpHost: {"127.0.0.1"}}}
	server := httptest.NewUnstartedServer(w.handler(t))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if configure != nil {
		configure(server)
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	w.port = u.Port()
	w.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	w.resolver = w.startDNS(t)
	return w
}

// startDNS serves answers over UDP.
func (w *web) startDNS(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, client, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if reply := w.answer(buffer[:n]); reply != nil {
				_, _ = conn.WriteTo(reply, client)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (w *web) answer(query []byte) []byte {
	var message dnsmessage.Message
	if message.Unpack(query) != nil || len(message.Questions) != 1 {
		return nil
	}
	question := message.Questions[0]
	host := strings.TrimSuffix(question.Name.String(), ".")

	w.mu.Lock()
	defer w.mu.Unlock()
	addresses := w.answers[host]
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: message.ID, Response: true, RecursionAvailable: true},
		Questions: message.Questions,
	}
	if len(addresses) == 0 {
		reply.RCode = dnsmessage.RCodeNameError
	} else {
		address := netip.MustParseAddr(addresses[0])
		header := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 0}
		switch {
		case question.Type == dnsmessage.TypeA && address.Is4():
			reply.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: address.As4()}}}
		case question.Type == dnsmessage.TypeAAAA && address.Is6():
			reply.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AAAAResource{AAAA: address.As16()}}}
		}
		if question.Type == dnsmessage.TypeA && len(addresses) > 1 {
			w.answers[host] = addresses[1:]
		}
	}
	packed, err := reply.Pack()
	if err != nil {
		return nil
	}
	return packed
}

func (w *web) resolve(host string, addresses ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers[host] = addresses
}

func (w *web) seen() []*http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*http.Request(nil), w.requests...)
}

func (w *web) url(path string) string { return "https://" + idpHost + ":" + w.port + path }

// bomb is 32 MiB, zipped to 32 KiB.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	for range 32 {
		_, _ = zip.Write(bytes.Repeat([]byte(" "), maxBytes))
	}
	_ = zip.Close()
	return b.Bytes()
})

func (w *web) handler(t *testing.T) http.Handler {
	document := readFile(t, "hostile", "control-good.xml")
	mux := http.NewServeMux()
	mux.HandleFunc("/metadata", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("ETag", `"v1"`)
		rw.Header().Set("Last-Modified", "Tue, 24 Nov 2026 00:00:00 GMT")
		if r.Header.Get("If-None-Match") == `"v1"` {
			rw.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = rw.Write(document)
	})
	mux.HandleFunc("/gzip", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(rw)
		_, _ = zip.Write(document)
		_ = zip.Close()
	})
	mux.HandleFunc("/gzip-bomb", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Encoding", "gzip")
		_, _ = rw.Write(bomb())
	})
	mux.HandleFunc("/gzip-broken", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Encoding", "gzip")
		_, _ = rw.Write(bomb()[:100])
	})
	mux.HandleFunc("/html", func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(rw, "<!doctype html><html><body>Sign in</body></html>")
	})
	mux.HandleFunc("/exact", func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write(bytes.Repeat([]byte(" "), maxBytes))
	})
	mux.HandleFunc("/one-too-many", func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write(bytes.Repeat([]byte(" "), maxBytes+1))
	})
	mux.HandleFunc("/endless", func(rw http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := rw.Write(bytes.Repeat([]byte(" "), 32<<10)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/slow-body", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "<")
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/slow-header", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/huge-header", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("X", strings.Repeat("x", 1<<20))
	})
	mux.HandleFunc("/cut-off", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(rw, "<a")
	})
	mux.HandleFunc("/bad-validators", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("ETag", strings.Repeat("x", 1000))
		rw.Header().Set("Last-Modified", "gestern früh")
	})
	mux.HandleFunc("/status/{code}", func(rw http.ResponseWriter, r *http.Request) {
		code := 0
		for _, c := range r.PathValue("code") {
			code = 10*code + int(c-'0')
		}
		rw.WriteHeader(code)
		if code != http.StatusNotModified {
			_, _ = io.WriteString(rw, "secret-token")
		}
	})
	mux.HandleFunc("/redirect", func(rw http.ResponseWriter, r *http.Request) {
		http.SetCookie(rw, &http.Cookie{Name: "session", Value: "x", Secure: true, HttpOnly: true})
		rw.Header().Set("Location", r.URL.Query().Get("to"))
		rw.WriteHeader(http.StatusFound)
	})
	mux.HandleFunc("/loop", func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/loop", http.StatusFound) })

	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.requests = append(w.requests, r.Clone(context.WithoutCancel(r.Context())))
		w.mu.Unlock()
		mux.ServeHTTP(rw, r)
	})
}

func (w *web) redirectTo(target string) string {
	return w.url("/redirect?to=" + url.QueryEscape(target))
}

// fetcher may reach the server's address and none besides.
func (w *web) fetcher(change ...func(*idpmetadata.FetcherOptions)) *idpmetadata.Fetcher {
	options := idpmetadata.FetcherOptions{
		AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		MaxBytes:   maxBytes,
		Resolver:   w.resolver,
	}
	for _, f := range change {
		f(&options)
	}
	return idpmetadata.NewFetcher(options)
}

func TestFetch(t *testing.T) {
	w := newWeb(t, nil)
	document := string(readFile(t, "hostile", "control-good.xml"))
	fetcher := w.fetcher(func(o *idpmetadata.FetcherOptions) { o.UserAgent = "test/1" })

	result, err := fetcher.Fetch(t.Context(), idpmetadata.Request{URL: w.url("/metadata"), CABundle: w.ca})
	require.NoError(t, err)
	assert.Equal(t, document, string(result.Document))
	assert.False(t, result.NotModified)
	assert.Equal(t, `"v1"`, result.ETag)
	assert.Equal(t, "Tue, 24 Nov 2026 00:00:00 GMT", result.LastModified)
	assert.Equal(t, "test/1", w.seen()[0].UserAgent())

	again, err := fetcher.Fetch(t.Context(), idpmetadata.Request{URL: w.url("/metadata"), CABundle: w.ca, ETag: result.ETag, LastModified: result.LastModified})
	require.NoError(t, err)
	assert.Equal(t, &idpmetadata.Result{NotModified: true, ETag: result.ETag, LastModified: result.LastModified}, again)
	assert.Equal(t, result.LastModified, w.seen()[1].Header.Get("If-Modified-Since"))

	again, err = fetcher.Fetch(t.Context(), idpmetadata.Request{URL: w.url("/status/304"), CABundle: w.ca, ETag: `"v0"`, LastModified: "then"})
	require.NoError(t, err)
	assert.Equal(t, &idpmetadata.Result{NotModified: true, ETag: `"v0"`, LastModified: "then"}, again, "kept if the answer repeats none")

	result, err = fetcher.Fetch(t.Context(), idpmetadata.Request{URL: w.url("/gzip"), CABundle: w.ca})
	require.NoError(t, err)
	assert.Equal(t, document, string(result.Document))

	result, err = fetcher.Fetch(t.Context(), idpmetadata.Request{URL: w.url("/exact"), CABundle: w.ca})
	require.NoError(t, err)
	assert.Len(t, result.Document, maxBytes)

	result, err = fetcher.Fetch(t.Context(), idpmetadata.Request{URL: w.url("/bad-validators"), CABundle: w.ca, ETag: "a\r\nX: y"})
	require.NoError(t, err)
	assert.Empty(t, result.ETag+result.LastModified)

	result, err = fetcher.Fetch(t.Context(), idpmetadata.Request{URL: w.url("/html"), CABundle: w.ca})
	require.NoError(t, err)
	_, err = idpmetadata.Accept(result.Document, idpmetadata.Requirements{Now: now})
	assertError(t, err, idpmetadata.ParseFailed)
	assert.Contains(t, err.Error(), "returned an HTML page, not SAML metadata")
}

func TestFetchFollowsRedirectsWithoutTracks(t *testing.T) {
	w := newWeb(t, nil)
	third := w.redirectTo(w.redirectTo(w.redirectTo("/metadata")))
	result, err := w.fetcher().Fetch(t.Context(), idpmetadata.Request{URL: third, CABundle: w.ca})
	require.NoError(t, err)
	assert.NotEmpty(t, result.Document)
	requests := w.seen()
	require.Len(t, requests, 4)
	for _, r := range requests {
		for _, name := range []string{"Cookie", "Referer", "Authorization"} {
			assert.Empty(t, r.Header.Get(name), name)
		}
	}

	_, err = w.fetcher().Fetch(t.Context(), idpmetadata.Request{URL: w.redirectTo(third), CABundle: w.ca})
	assertError(t, err, idpmetadata.RedirectNotAllowed)
}

func TestFetchFailures(t *testing.T) {
	w := newWeb(t, nil)
	w.resolve("inside.example", "10.0.0.1")
	w.resolve("metadata-service.example", "169.254.169.254")
	w.resolve("mapped.example", "::ffff:127.0.0.2")
	w.resolve("six.example", "fd00:ec2::254")
	w.resolve("other.example", "127.0.0.1")

	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	_, closedPort, err := net.SplitHostPort(closed.Addr().String())
	require.NoError(t, err)

	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	wrongCA, err := base64.StdEncoding.DecodeString(signingCertificate(t))
	require.NoError(t, err)

	short := func(o *idpmetadata.FetcherOptions) { o.Timeout = 300 * time.Millisecond }
	nothing := func(o *idpmetadata.FetcherOptions) { o.AllowCIDRs = nil }
	for name, tc := range map[string]struct {
		url     string
		ca      []byte
		options func(*idpmetadata.FetcherOptions)
		reason  idpmetadata.Reason
		message string
	}{
		"404":                     {url: w.url("/status/404"), reason: idpmetadata.HTTPStatus, message: "404 Not Found; check the path and the application ID"},
		"401":                     {url: w.url("/status/401"), reason: idpmetadata.HTTPStatus, message: "without signing in"},
		"403":                     {url: w.url("/status/403"), reason: idpmetadata.HTTPStatus, message: "without signing in"},
		"429":                     {url: w.url("/status/429"), reason: idpmetadata.HTTPStatus, message: "refreshInterval"},
		"502":                     {url: w.url("/status/502"), reason: idpmetadata.HTTPStatus, message: "502 Bad Gateway; the IdP has a problem"},
		"206":                     {url: w.url("/status/206"), reason: idpmetadata.HTTPStatus, message: "206"},
		"304 that nobody asked":   {url: w.url("/status/304"), reason: idpmetadata.HTTPStatus, message: "304"},
		"302 without target":      {url: w.url("/status/302"), reason: idpmetadata.HTTPStatus, message: "302 Found"},
		"unknown status":          {url: w.url("/status/799"), reason: idpmetadata.HTTPStatus, message: "answered 799;"},
		"one byte too many":       {url: w.url("/one-too-many"), reason: idpmetadata.TooLarge},
		"endless body":            {url: w.url("/endless"), reason: idpmetadata.TooLarge},
		"gzip bomb":               {url: w.url("/gzip-bomb"), reason: idpmetadata.TooLarge},
		"broken gzip":             {url: w.url("/gzip-broken"), reason: idpmetadata.ConnectFailed},
		"slow body":               {url: w.url("/slow-body"), options: short, reason: idpmetadata.Timeout, message: "within 300ms"},
		"slow header":             {url: w.url("/slow-header"), options: short, reason: idpmetadata.Timeout},
		"huge header":             {url: w.url("/huge-header"), reason: idpmetadata.ConnectFailed},
		"cut off":                 {url: w.url("/cut-off"), reason: idpmetadata.ConnectFailed},
		"redirect to http":        {url: w.redirectTo("http://" + idpHost + "/metadata"), reason: idpmetadata.RedirectNotAllowed, message: "not https"},
		"redirect to file":        {url: w.redirectTo("file:///etc/passwd"), reason: idpmetadata.RedirectNotAllowed},
		"redirect with password":  {url: w.redirectTo("https://u:p@" + idpHost + "/metadata"), reason: idpmetadata.RedirectNotAllowed, message: "password"},
		"redirect to inside":      {url: w.redirectTo("https://10.0.0.1/metadata"), reason: idpmetadata.URLNotAllowed, message: "--metadata-allow-cidrs"},
		"redirect to inside name": {url: w.redirectTo("https://metadata-service.example/latest"), reason: idpmetadata.URLNotAllowed},
		"redirect to decimal":     {url: w.redirectTo("https://2130706433/"), reason: idpmetadata.RedirectNotAllowed},
		"redirect to unknown":     {url: w.redirectTo("https://unknown.example/"), reason: idpmetadata.DNSFailed},
		"redirect loop":           {url: w.url("/loop"), reason: idpmetadata.RedirectNotAllowed, message: "more than 3 times"},

		"loopback":             {url: "https://127.0.0.1:" + w.port + "/metadata", options: nothing, reason: idpmetadata.URLNotAllowed},
		"loopback, other":      {url: "https://127.0.0.2:" + w.port + "/metadata", reason: idpmetadata.URLNotAllowed},
		"localhost":            {url: "https://localhost:" + w.port + "/metadata", options: nothing, reason: idpmetadata.URLNotAllowed},
		"name of the inside":   {url: "https://inside.example/", reason: idpmetadata.URLNotAllowed, message: "--metadata-allow-cidrs"},
		"name of the metadata": {url: "https://metadata-service.example/", reason: idpmetadata.URLNotAllowed},
		"name, IPv4-mapped":    {url: "https://mapped.example/", reason: idpmetadata.URLNotAllowed},
		"name, IPv6":           {url: "https://six.example/", reason: idpmetadata.URLNotAllowed},
		"IPv6 loopback":        {url: "https://[::1]:" + w.port + "/", reason: idpmetadata.URLNotAllowed},
		"IPv4-mapped":          {url: "https://[::ffff:127.0.0.2]:" + w.port + "/", reason: idpmetadata.URLNotAllowed},
		"IPv6 zone":            {url: "https://[fe80::1%25eth0]/", reason: idpmetadata.URLNotAllowed},
		"unspecified":          {url: "https://0.0.0.0:" + w.port + "/", reason: idpmetadata.URLNotAllowed},
		"decimal address":      {url: "https://2130706433:" + w.port + "/", reason: idpmetadata.URLNotAllowed, message: "unusual form"},
		"octal address":        {url: "https://0177.0.0.1:" + w.port + "/", reason: idpmetadata.URLNotAllowed, message: "unusual form"},
		"hexadecimal address":  {url: "https://0x7f000001:" + w.port + "/", reason: idpmetadata.URLNotAllowed, message: "unusual form"},
		"short address":        {url: "https://127.1:" + w.port + "/", reason: idpmetadata.URLNotAllowed, message: "unusual form"},
		"full-width address":   {url: "https://１２７.0.0.2:" + w.port + "/", reason: idpmetadata.URLNotAllowed},
		"http":                 {url: "http://" + idpHost + "/metadata", reason: idpmetadata.URLNotAllowed, message: "is not https"},
		"no scheme":            {url: idpHost + "/metadata", reason: idpmetadata.URLNotAllowed},
		"no host":              {url: "https:///metadata", reason: idpmetadata.URLNotAllowed, message: "names no host"},
		"opaque":               {url: "https:example.com", reason: idpmetadata.URLNotAllowed},
		"no URL":               {url: "https://a b:secret-token@x/", reason: idpmetadata.URLNotAllowed},
		"user":                 {url: "https://user:secret-token@" + idpHost + ":" + w.port + "/metadata", reason: idpmetadata.URLNotAllowed, message: "password"},
		"fragment":             {url: w.url("/metadata#a"), reason: idpmetadata.URLNotAllowed, message: "fragment"},

		"unknown host":       {url: "https://unknown.example/", reason: idpmetadata.DNSFailed, message: "spelling"},
		"refused connection": {url: "https://" + idpHost + ":" + closedPort + "/", reason: idpmetadata.ConnectFailed},
		"system's roots":     {url: w.url("/metadata"), ca: []byte{}, reason: idpmetadata.TLSFailed, message: "metadataCA"},
		"wrong CA": {
			url: w.url("/metadata"), ca: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: wrongCA}),
			reason: idpmetadata.TLSFailed, message: "not issued by a trusted authority",
		},
		"CA without certificate": {url: w.url("/metadata"), ca: []byte("nothing"), reason: idpmetadata.TLSFailed, message: "metadataCA holds no certificate"},
		"other host's TLS":       {url: "https://other.example:" + w.port + "/metadata", reason: idpmetadata.TLSFailed, message: "another host name"},
		"no TLS":                 {url: strings.Replace(plain.URL, "http:", "https:", 1), reason: idpmetadata.TLSFailed, message: "serves https"},
	} {
		t.Run(name, func(t *testing.T) {
			// Whatever else the machine is doing, only "slow" is too slow.
			options := []func(*idpmetadata.FetcherOptions){func(o *idpmetadata.FetcherOptions) { o.Timeout = time.Minute }}
			if tc.options != nil {
				options = append(options, tc.options)
			}
			ca := tc.ca
			if ca == nil {
				ca = w.ca
			}
			fetcher := w.fetcher(options...)
			result, err := fetcher.Fetch(t.Context(), idpmetadata.Request{URL: tc.url, CABundle: ca})
			assert.Nil(t, result)
			assertError(t, err, tc.reason)
			assert.Contains(t, err.Error(), tc.message)
			assert.NotContains(t, err.Error(), "127.0.0.1")
			for cause := err; cause != nil; cause = unwrap(cause) {
				assert.NotContains(t, cause.Error(), "secret-token")
			}

			_, again := fetcher.Fetch(t.Context(), idpmetadata.Request{URL: tc.url, CABundle: ca})
			assert.EqualError(t, again, err.Error(), "the same at each attempt")
		})
	}
}

// What answers behind an address that is not allowed must not show.
func TestO1_FetchDoesNotExploreTheInside(t *testing.T) {
	w := newWeb(t, nil)
	fetcher := w.fetcher(func(o *idpmetadata.FetcherOptions) { o.AllowCIDRs = nil })
	_, open := fetcher.Fetch(t.Context(), idpmetadata.Request{URL: w.url("/metadata"), CABundle: w.ca})
	assertError(t, open, idpmetadata.URLNotAllowed)
	_, closed := fetcher.Fetch(t.Context(), idpmetadata.Request{URL: "https://" + idpHost + ":1/metadata", CABundle: w.ca})
	assertError(t, closed, idpmetadata.URLNotAllowed)
	assert.Equal(t, open.Error(), closed.Error())
	assert.Empty(t, w.seen())
}

// A host that changes its address between two hops is checked at both.
func TestFetchChecksTheAddressOfEachConnection(t *testing.T) {
	w := newWeb(t, nil)
	w.resolve(idpHost, "127.0.0.1", "127.0.0.2")
	_, err := w.fetcher().Fetch(t.Context(), idpmetadata.Request{URL: w.redirectTo("/metadata"), CABundle: w.ca})
	assertError(t, err, idpmetadata.URLNotAllowed)
	assert.Len(t, w.seen(), 1)
}

// The trust that one tenant asked for must not serve the next.
func TestFetchSharesNoConnections(t *testing.T) {
	w := newWeb(t, nil)
	fetcher := w.fetcher()
	_, err := fetcher.Fetch(t.Context(), idpmetadata.Request{URL: w.url("/metadata"), CABundle: w.ca})
	require.NoError(t, err)
	_, err = fetcher.Fetch(t.Context(), idpmetadata.Request{URL: w.url("/metadata")})
	assertError(t, err, idpmetadata.TLSFailed)
	_, err = fetcher.Fetch(t.Context(), idpmetadata.Request{URL: w.url("/metadata"), CABundle: w.ca})
	require.NoError(t, err)
	requests := w.seen()
	require.Len(t, requests, 2)
	assert.NotEqual(t, requests[0].RemoteAddr, requests[1].RemoteAddr)
}

func TestFetchRefusesOldTLS(t *testing.T) {
	w := newWeb(t, func(s *httptest.Server) {
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	})
	_, err := w.fetcher().Fetch(t.Context(), idpmetadata.Request{URL: w.url("/metadata"), CABundle: w.ca})
	assertError(t, err, idpmetadata.TLSFailed)
	assert.Contains(t, err.Error(), "TLS 1.2")
}

func TestFetchCancelled(t *testing.T) {
	w := newWeb(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.fetcher().Fetch(ctx, idpmetadata.Request{URL: w.url("/metadata"), CABundle: w.ca})
	require.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, idpmetadata.ReasonOf(err), "a shutdown is not the tenant's fault")
}
