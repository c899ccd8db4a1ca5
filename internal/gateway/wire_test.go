package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Row T10: what a server in front may read otherwise than we do is refused, and
// the connection ends, so that nothing of it is taken for a request.
func TestT10_OddRequests(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	cookie := "Cookie: " + p.cookies(acme)[0].String()
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: " + host(acme) + "\r\nConnection: close\r\n" + cookie + "\r\n\r\n"
	for name, test := range map[string]struct {
		// request is sent as it is, and a good request after it.
		request string
		// statuses of which one is fine.
		statuses string
		// next: the request after it is a request.
		next bool
	}{
		"obsolete folding":           {"GET / HTTP/1.1\r\nHost: " + host(acme) + "\r\nX-A: b\r\n c\r\n" + cookie + "\r\n\r\n", "200 400", true},
		"a folded identity":          {"GET / HTTP/1.1\r\nHost: " + host(acme) + "\r\nX-A: b\r\n X-Auth-Request-User: mallory\r\n" + cookie + "\r\n\r\n", "200 400", true},
		"folding at the beginning":   {"GET / HTTP/1.1\r\n X-Auth-Request-User: mallory\r\nHost: " + host(acme) + "\r\n" + cookie + "\r\n\r\n", "400", false},
		"line feeds alone":           {"GET / HTTP/1.1\nHost: " + host(acme) + "\n" + cookie + "\n\n", "200 400", true},
		"a zero in a header":         {"GET / HTTP/1.1\r\nHost: " + host(acme) + "\r\nX-A: b\x00c\r\n" + cookie + "\r\n\r\n", "400", false},
		"a zero in a name":           {"GET / HTTP/1.1\r\nHost: " + host(acme) + "\r\nX-Auth-Request\x00-User: mallory\r\n" + cookie + "\r\n\r\n", "400", false},
		"a zero in the path":         {"GET /\x00 HTTP/1.1\r\nHost: " + host(acme) + "\r\n" + cookie + "\r\n\r\n", "400", false},
		"a zero in the host":         {"GET / HTTP/1.1\r\nHost: " + host(acme) + "\x00\r\n" + cookie + "\r\n\r\n", "400", false},
		"a line without a colon":     {"GET / HTTP/1.1\r\nHost: " + host(acme) + "\r\nX-Auth-Request-User\r\n" + cookie + "\r\n\r\n", "400", false},
		"a blank in a name":          {"GET / HTTP/1.1\r\nHost: " + host(acme) + "\r\nX-Auth-Request-User : mallory\r\n" + cookie + "\r\n\r\n", "400", false},
		"an empty name":              {"GET / HTTP/1.1\r\nHost: " + host(acme) + "\r\n: mallory\r\n" + cookie + "\r\n\r\n", "400", false},
		"a carriage return":          {"GET / HTTP/1.1\r\nHost: " + host(acme) + "\r\nX-A: b\rX-Auth-Request-User: mallory\r\n" + cookie + "\r\n\r\n", "400", false},
		"chunks by HTTP/1.0":         {"POST / HTTP/1.0\r\nHost: " + host(acme) + "\r\nTransfer-Encoding: chunked\r\n" + cookie + "\r\n\r\n0\r\n\r\n", "200 400", false},
		"a chunk's size with a sign": {"POST / HTTP/1.1\r\nHost: " + host(acme) + "\r\nTransfer-Encoding: chunked\r\n" + cookie + "\r\n\r\n+0\r\n\r\n", "400", false},
		"a chunk's size too large":   {"POST / HTTP/1.1\r\nHost: " + host(acme) + "\r\nTransfer-Encoding: chunked\r\n" + cookie + "\r\n\r\n10000000000000000\r\n\r\n", "400", false},
		"a line feed ends a chunk":   {"POST / HTTP/1.1\r\nHost: " + host(acme) + "\r\nTransfer-Encoding: chunked\r\n" + cookie + "\r\n\r\n1;a\nb\r\nx\r\n0\r\n\r\n", "400", false},
		"a negative length":          {"POST / HTTP/1.1\r\nHost: " + host(acme) + "\r\nContent-Length: -1\r\n" + cookie + "\r\n\r\n", "400", false},
		"a length of two":            {"POST / HTTP/1.1\r\nHost: " + host(acme) + "\r\nContent-Length: 0, 5\r\n" + cookie + "\r\n\r\n", "400", false},
		"another version":            {"GET / HTTP/3.7\r\nHost: " + host(acme) + "\r\n" + cookie + "\r\n\r\n", "505 400", false},
		"a method that is none":      {"GE T / HTTP/1.1\r\nHost: " + host(acme) + "\r\n" + cookie + "\r\n\r\n", "400", false},
		"a path with a blank":        {"GET /a b HTTP/1.1\r\nHost: " + host(acme) + "\r\n" + cookie + "\r\n\r\n", "400", false},
		"HTTP/2 in plain text":       {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400 404 405 505", false},
		"too many headers":           {"GET / HTTP/1.1\r\nHost: " + host(acme) + "\r\n" + strings.Repeat("X-A: "+strings.Repeat("b", 1000)+"\r\n", 2000) + cookie + "\r\n\r\n", "431", false},
	} {
		t.Run(name, func(t *testing.T) {
			conn := w.dial()
			_, _ = io.WriteString(conn, test.request+smuggled) // it may be closed by now
			answers, _ := io.ReadAll(conn)
			status, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(string(answers), "HTTP/1.1 "), "HTTP/1.0 "), " ")
			assert.Contains(t, strings.Fields(test.statuses), status, "%.200q", answers)
			if !test.next {
				assert.NotContains(t, string(answers), "/smuggled")
			}
			for in := bufio.NewReader(bytes.NewReader(answers)); ; {
				response, err := http.ReadResponse(in, nil)
				if err != nil {
					break
				}
				body, err := io.ReadAll(response.Body)
				require.NoError(t, err)
				if response.StatusCode == http.StatusOK {
					assert.Equal(t, "alice@acme.example", decodeEcho(t, string(body)).Header.Get("X-Auth-Request-User"))
				}
			}
		})
	}
}

// Rows T4, T8 and T10: HTTP/2 as no client of ours would write it.
func TestT10_OddHTTP2(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	cookie := p.cookies(acme)[0].String()
	good := [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", host(acme)}, {":path", "/"}, {"cookie", cookie}}
	with := func(fields ...[2]string) [][2]string { return append(append([][2]string{}, good...), fields...) }
	without := func(name string) (fields [][2]string) {
		for _, field := range good {
			if field[0] != name {
				fields = append(fields, field)
			}
		}
		return fields
	}
	instead := func(name, value string) [][2]string {
		fields := without(name)
		return append([][2]string{{name, value}}, fields...)
	}
	for name, test := range map[string]struct {
		fields [][2]string
		// status is empty if the stream is reset, or the connection closed.
		status string
	}{
		"as it should be":              {good, "200"},
		"identity":                     {with([2]string{"x-auth-request-user", "mallory"}, [2]string{"x_auth_request_user", "mallory"}), "200"},
		"cookie in pieces":             {append(without("cookie"), [2]string{"cookie", "a=1"}, [2]string{"cookie", cookie}), "200"},
		"two authorities":              {append([][2]string{{":authority", host(globex)}}, good...), ""},
		"authority that differs":       {with([2]string{"host", host(globex)}), "200"},
		"no authority":                 {without(":authority"), "404"},
		"host alone":                   {append(without(":authority"), [2]string{"host", host(acme)}), "200"},
		"user in the authority":        {instead(":authority", "mallory@"+host(acme)), ""},
		"slash in the authority":       {instead(":authority", host(acme)+"/x"), "404"},
		"two paths":                    {append([][2]string{{":path", "/other"}}, good...), ""},
		"no path":                      {without(":path"), ""},
		"empty path":                   {instead(":path", ""), ""},
		"path without a slash":         {instead(":path", "other"), ""},
		"no scheme":                    {without(":scheme"), ""},
		"unknown pseudo-header":        {append([][2]string{{":user", "mallory"}}, good...), ""},
		"pseudo-header at the end":     {append(without(":path"), [2]string{":path", "/"}), ""},
		"response's pseudo-header":     {append([][2]string{{":status", "200"}}, good...), ""},
		"upper case":                   {with([2]string{"X-Auth-Request-User", "mallory"}), ""},
		"line break in a value":        {with([2]string{"x-a", "b\r\nx-auth-request-user: mallory"}), ""},
		"zero in a value":              {with([2]string{"x-a", "b\x00"}), ""},
		"line break in the path":       {instead(":path", "/ HTTP/1.1\r\nX-Auth-Request-User: mallory\r\n\r\n"), ""},
		"colon in a name":              {with([2]string{"x-a: b\r\nx-auth-request-user", "mallory"}), ""},
		"connection":                   {with([2]string{"connection", "x-auth-request-user"}), "400"},
		"transfer-encoding":            {with([2]string{"transfer-encoding", "chunked"}), "400"},
		"upgrade":                      {with([2]string{"upgrade", "h2c"}), "400"},
		"extended CONNECT":             {append([][2]string{{":protocol", "websocket"}}, instead(":method", "CONNECT")...), ""},
		"length of more than there is": {with([2]string{"content-length", "5"}), "200"},
		"blank in the method":          {instead(":method", "GET /admin"), "400"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := w.http2Request(test.fields)
			assert.Equal(t, test.status, status, body)
			assert.NotContains(t, body, "mallory")
			if status == "200" {
				e := decodeEcho(t, body)
				assert.Equal(t, "alice@acme.example", e.Header.Get("X-Auth-Request-User"))
				assert.Equal(t, acme, e.Header.Get("X-Auth-Request-Tenant"))
				assert.Equal(t, host(acme), e.Host)
				assert.Empty(t, e.Body)
				assert.Empty(t, e.Header.Values("Content-Length"))
			}
		})
	}
}

// http2Request sends one request of these fields, as they are, and returns what
// answered it; no status if nothing did.
func (w *world) http2Request(fields [][2]string) (status, body string) {
	w.t.Helper()
	conn, err := tls.Dial("tcp", w.server.Listener.Addr().String(), &tls.Config{RootCAs: w.roots, ServerName: host(acme), MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}})
	require.NoError(w.t, err)
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	_, err = io.WriteString(conn, http2.ClientPreface)
	require.NoError(w.t, err)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	require.NoError(w.t, framer.WriteSettings())
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range fields {
		require.NoError(w.t, encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}))
	}
	require.NoError(w.t, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}))
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return "", body
		}
		switch frame := frame.(type) {
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return "", body
		case *http2.MetaHeadersFrame:
			status = frame.PseudoValue("status")
			if frame.StreamEnded() {
				return status, body
			}
		case *http2.DataFrame:
			body += string(frame.Data())
			if frame.StreamEnded() {
				return status, body
			}
		}
	}
}
