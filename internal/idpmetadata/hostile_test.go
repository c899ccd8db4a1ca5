package idpmetadata_test

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/idpmetadata"
)

// raw answers with bytes of its own making, whatever HTTP says of them.
func raw(talk func(io.Writer) error) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		conn, _, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_ = talk(conn)
	}
}

// endlessly writes, slowly if asked to, until the other side has had enough.
func endlessly(w io.Writer, pause time.Duration, format string) error {
	for i := 0; ; i++ {
		text := format
		if strings.Contains(format, "%d") {
			text = fmt.Sprintf(format, i)
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		time.Sleep(pause)
	}
}

const answer = "HTTP/1.1 200 OK\r\n"

func TestO2_FetchFromHostileServers(t *testing.T) {
	zipped := func(content []byte) []byte {
		var b bytes.Buffer
		zip := gzip.NewWriter(&b)
		_, _ = zip.Write(content)
		_ = zip.Close()
		return b.Bytes()
	}
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		reason  idpmetadata.Reason
	}{
		"body, byte by byte": {raw(func(w io.Writer) error {
			_, _ = io.WriteString(w, answer+"\r\n<")
			return endlessly(w, time.Millisecond, "a")
		}), idpmetadata.Timeout},
		"chunks, byte by byte": {raw(func(w io.Writer) error {
			_, _ = io.WriteString(w, answer+"Transfer-Encoding: chunked\r\n\r\n")
			return endlessly(w, time.Millisecond, "1\r\na\r\n")
		}), idpmetadata.Timeout},
		"header, byte by byte": {raw(func(w io.Writer) error {
			_, _ = io.WriteString(w, answer+"X: ")
			return endlessly(w, time.Millisecond, "a")
		}), idpmetadata.Timeout},
		"status line without end": {raw(func(w io.Writer) error { return endlessly(w, 0, strings.Repeat("a", 4<<10)) }), idpmetadata.ConnectFailed},
		"headers without end": {raw(func(w io.Writer) error {
			_, _ = io.WriteString(w, answer)
			return endlessly(w, 0, "X-%d: a\r\n")
		}), idpmetadata.ConnectFailed},
		"early hints without end": {raw(func(w io.Writer) error {
			return endlessly(w, 0, "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n")
		}), idpmetadata.ConnectFailed},
		"chunks without end": {raw(func(w io.Writer) error {
			_, _ = io.WriteString(w, answer+"Transfer-Encoding: chunked\r\n\r\n")
			return endlessly(w, 0, "1000\r\n"+strings.Repeat("a", 0x1000)+"\r\n")
		}), idpmetadata.TooLarge},
		"chunk extensions without end": {raw(func(w io.Writer) error {
			_, _ = io.WriteString(w, answer+"Transfer-Encoding: chunked\r\n\r\n1;")
			return endlessly(w, 0, strings.Repeat("a", 4<<10))
		}), idpmetadata.ConnectFailed},
		"trailers without end": {raw(func(w io.Writer) error {
			_, _ = io.WriteString(w, answer+"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
			return endlessly(w, 0, "X-%d: a\r\n")
		}), idpmetadata.ConnectFailed},
		"shorter than announced": {raw(func(w io.Writer) error {
			_, err := io.WriteString(w, answer+"Content-Length: 100\r\n\r\na")
			return err
		}), idpmetadata.ConnectFailed},
		"two lengths": {raw(func(w io.Writer) error {
			_, err := io.WriteString(w, answer+"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")
			return err
		}), idpmetadata.ConnectFailed},
		"no HTTP": {raw(func(w io.Writer) error {
			_, err := io.WriteString(w, "SSH-2.0-OpenSSH_9.2\r\n")
			return err
		}), idpmetadata.ConnectFailed},
		"gzip without end": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Encoding", "gzip")
			zip := gzip.NewWriter(rw)
			_ = endlessly(zip, 0, strings.Repeat(" ", 1<<20))
		}, idpmetadata.TooLarge},
		"gzip members without end": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Encoding", "gzip")
			_ = endlessly(rw, 0, string(zipped(nil)))
		}, idpmetadata.Timeout},
		"switch of protocols": {raw(func(w io.Writer) error {
			_, err := io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			return err
		}), idpmetadata.HTTPStatus},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWebOf(t, tc.handler)
			fetcher := w.fetcher(func(o *idpmetadata.FetcherOptions) {
				o.Timeout = time.Minute
				if tc.reason == idpmetadata.Timeout {
					o.Timeout = 300 * time.Millisecond
				}
			})
			result, err := fetcher.Fetch(t.Context(), idpmetadata.Request{URL: w.url("/"), CABundle: w.ca})
			assert.Nil(t, result)
			assertError(t, err, tc.reason)
		})
	}

	// What is zipped more than once, or otherwise, is no document.
	for encoding, content := range map[string][]byte{
		"gzip": zipped(zipped([]byte("<a/>"))), "br": {0x0b, 0x02, 0x80, 'x', 0x03}, "gzip, gzip": zipped(zipped([]byte("<a/>"))),
	} {
		w := newWebOf(t, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Encoding", encoding)
			_, _ = rw.Write(content)
		}))
		result, err := w.fetcher().Fetch(t.Context(), idpmetadata.Request{URL: w.url("/"), CABundle: w.ca})
		require.NoError(t, err)
		_, err = idpmetadata.Accept(result.Document, idpmetadata.Requirements{Now: now})
		assertError(t, err, idpmetadata.ParseFailed)
	}
}

// Somebody who accepts connections and says nothing costs the time limit.
func TestFetchFromASilentPort(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	w := newWeb(t, nil)
	fetcher := w.fetcher(func(o *idpmetadata.FetcherOptions) { o.Timeout = 300 * time.Millisecond })
	_, err = fetcher.Fetch(t.Context(), idpmetadata.Request{URL: "https://" + silent.Addr().String() + "/", CABundle: w.ca})
	assertError(t, err, idpmetadata.Timeout)
}

// A name that leads elsewhere at the next look-up is checked at each fetch.
func TestFetchFromANameThatIsBoundAnew(t *testing.T) {
	w := newWeb(t, nil)
	fetcher := w.fetcher()
	fetch := func() error {
		_, err := fetcher.Fetch(t.Context(), idpmetadata.Request{URL: w.url("/metadata"), CABundle: w.ca})
		return err
	}
	w.resolve(idpHost, "127.0.0.1", "169.254.169.254", "127.0.0.1")
	require.NoError(t, fetch())
	assertError(t, fetch(), idpmetadata.URLNotAllowed)
	require.NoError(t, fetch())
}

// A server that says each time something else gets no further than its first
// word, and one that claims that nothing has changed is not asked what.
func TestFetchFromAServerThatChangesItsMind(t *testing.T) {
	documents := [][]byte{
		readFile(t, "hostile", "control-good.xml"), idp("", certificateElement(signingCertificate(t))+httpsSSO),
		readFile(t, "hostile", "html-login-page.xml"), readFile(t, "hostile", "entities-three-idps.xml"),
	}
	var asked atomic.Int32
	w := newWebOf(t, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("ETag", `"same"`)
		_, _ = rw.Write(documents[(int(asked.Add(1))-1)%len(documents)])
	}))
	fetcher := w.fetcher()
	previous := ""
	for _, reason := range []idpmetadata.Reason{"", idpmetadata.EntityIDMismatch, idpmetadata.ParseFailed, idpmetadata.EntityIDMismatch} {
		result, err := fetcher.Fetch(t.Context(), idpmetadata.Request{URL: w.url("/"), CABundle: w.ca, ETag: `"same"`})
		require.NoError(t, err)
		require.False(t, result.NotModified, "a document came")
		d, err := idpmetadata.Accept(result.Document, idpmetadata.Requirements{PreviousEntityID: previous, Now: now})
		if reason != "" {
			assertError(t, err, reason)
			continue
		}
		require.NoError(t, err)
		previous = d.EntityID
		assert.Equal(t, "https://idp.hostile.example/metadata", d.EntityID)
	}
}

// The negotiation of HTTP/2 leads to no second, less guarded client.
func TestFetchSpeaksHTTP1(t *testing.T) {
	var protocols atomic.Pointer[tls.ConnectionState]
	w := newWebOf(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { protocols.Store(r.TLS) }))
	_, err := w.fetcher().Fetch(t.Context(), idpmetadata.Request{URL: w.url("/"), CABundle: w.ca})
	require.NoError(t, err)
	assert.Empty(t, protocols.Load().NegotiatedProtocol)
}
