package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// inFrontOf has the gateway in front of another application.
func inFrontOf(app http.HandlerFunc) func(*world, *gateway.Options) {
	return func(w *world, o *gateway.Options) {
		server := httptest.NewServer(app)
		w.t.Cleanup(server.Close)
		o.Upstream, _ = url.Parse(server.URL)
	}
}

// http2 is the same person in a browser that speaks HTTP/2.
func (p *person) http2() *person {
	transport := p.client.Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = true
	p.browsers = append(p.browsers, transport)
	client := *p.client
	client.Transport = transport
	return &person{world: p.world, client: &client}
}

// inBothVersions runs a test with a person who is signed in, by HTTP/1.1 and by
// HTTP/2.
func inBothVersions(t *testing.T, app http.HandlerFunc, test func(t *testing.T, p *person), options ...func(*world, *gateway.Options)) {
	t.Helper()
	for version, as := range map[string]func(*person) *person{"HTTP/1.1": func(p *person) *person { return p }, "HTTP/2.0": (*person).http2} {
		t.Run(version, func(t *testing.T) {
			w := newWorld(t, append([]func(*world, *gateway.Options){inFrontOf(app)}, options...)...)
			p := w.person()
			p.signIn(acme)
			p = as(p)
			require.Equal(t, version, p.get(site(acme)+"/saml/session").Proto)
			test(t, p)
		})
	}
}

// open sends a request and returns before the body of the response has come.
func (p *person) open(r *http.Request) *http.Response {
	p.t.Helper()
	response, err := p.client.Do(r)
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func TestUploadAndDownloadPassWithoutBeingKept(t *testing.T) {
	const size = 64 << 20
	var taken atomic.Int64
	more := make(chan struct{}, 1)
	inBothVersions(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			rw.Header().Set("Content-Length", fmt.Sprint(size))
			piece := make([]byte, 64<<10)
			for range size / len(piece) {
				n, err := rw.Write(piece)
				taken.Add(int64(n))
				if err != nil {
					return
				}
			}
			return
		}
		<-more
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(rw, n, err)
	}, func(t *testing.T, p *person) {
		// As long as the application takes nothing, the gateway takes no more than
		// fits into some buffers; and all that there is once it does.
		var sent atomic.Int64
		r := p.request(http.MethodPost, site(acme)+"/", io.LimitReader(counting{&sent}, size))
		answered := make(chan answer, 1)
		go func() { answered <- p.do(r) }()
		assert.Less(t, settled(t, &sent), int64(size/2), "the gateway holds what the application does not take")
		more <- struct{}{}
		assert.Equal(t, fmt.Sprint(size, nil), (<-answered).body)

		taken.Store(0)
		response := p.open(p.request(http.MethodGet, site(acme)+"/", nil))
		assert.Less(t, settled(t, &taken), int64(size/2), "the gateway holds what the client does not take")
		n, err := io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		assert.EqualValues(t, size, n)
	})
}

// counting is a body without end that counts what was taken of it.
type counting struct{ taken *atomic.Int64 }

func (c counting) Read(p []byte) (int, error) {
	c.taken.Add(int64(len(p)))
	return len(p), nil
}

// settled returns a number that has begun to rise and does not rise any more.
func settled(t *testing.T, n *atomic.Int64) int64 {
	t.Helper()
	var last int64
	calm := 0
	require.Eventually(t, func() bool {
		now := n.Load()
		if now == last && now > 0 {
			calm++
		} else {
			calm = 0
		}
		last = now
		return calm == 20
	}, 60*time.Second, 25*time.Millisecond)
	return last
}

func TestContentArrivesAsItWas(t *testing.T) {
	content := make([]byte, 3<<20+17)
	_, _ = rand.Read(content)
	inBothVersions(t, func(rw http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(rw).EnableFullDuplex()
		_, _ = io.Copy(rw, r.Body)
	}, func(t *testing.T, p *person) {
		for _, body := range []io.Reader{bytes.NewReader(content), io.MultiReader(bytes.NewReader(content))} { // with its length, and in chunks
			a := p.do(p.request(http.MethodPut, site(acme)+"/", body))
			assert.Equal(t, sha256.Sum256(content), sha256.Sum256([]byte(a.body)))
		}
	})
}

func TestEventsArriveAtOnce(t *testing.T) {
	next := make(chan string)
	inBothVersions(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case event := <-next:
				_, _ = io.WriteString(rw, "data: "+event+"\n\n")
				_ = http.NewResponseController(rw).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}, func(t *testing.T, p *person) {
		go func() { next <- "0" }()
		response := p.open(p.request(http.MethodGet, site(acme)+"/", nil))
		events := bufio.NewReader(response.Body)
		for i := range 3 {
			line, err := events.ReadString('\n')
			require.NoError(t, err)
			assert.Equal(t, fmt.Sprintf("data: %d\n", i), line)
			_, err = events.ReadString('\n')
			require.NoError(t, err)
			if i < 2 {
				next <- fmt.Sprint(i + 1)
			}
		}
	})
}

// Row T8: what is reserved is removed from trailers, and the others arrive.
func TestT8_Trailers(t *testing.T) {
	inBothVersions(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Trailer", "X-Announced")
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(rw, r.Trailer)
		rw.Header().Set("X-Announced", "1")
		rw.Header().Set(http.TrailerPrefix+"X-Sudden", "2")
	}, func(t *testing.T, p *person) {
		r := p.request(http.MethodPost, site(acme)+"/", io.MultiReader(strings.NewReader("body")))
		r.Trailer = http.Header{"X-Checksum": nil, "X-Auth-Request-User": nil, "X_Auth_Request_Email": nil, "Remote-User": nil}
		r.Body = io.NopCloser(io.MultiReader(r.Body, atEnd(func() {
			for name := range r.Trailer {
				r.Trailer[name] = []string{"root"}
			}
		})))
		a := p.do(r)
		assert.Equal(t, fmt.Sprint(http.Header{"X-Checksum": {"root"}}), a.body)
		assert.Equal(t, http.Header{"X-Announced": {"1"}, "X-Sudden": {"2"}}, a.Trailer)
	})
}

// atEnd is an empty body that does something before it ends.
type atEnd func()

func (f atEnd) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}

// The application's answer comes after hints. The renewed cookie is no hint.
func TestInformationalResponses(t *testing.T) {
	inBothVersions(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Link", "</style.css>; rel=preload")
		rw.WriteHeader(http.StatusEarlyHints)
		rw.Header().Set("X-Final", "1")
		_, _ = io.WriteString(rw, "page")
	}, func(t *testing.T, p *person) {
		p.clock.advance(30 * time.Minute)
		r := p.request(http.MethodGet, site(acme)+"/", nil)
		var hints []string
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(code, h.Get("Link"), h.Get("Set-Cookie")))
				return nil
			},
		}))
		a := p.do(r)
		assert.Equal(t, []string{"103</style.css>; rel=preload"}, hints)
		assert.Equal(t, "page", a.body)
		assert.Equal(t, "1", a.Header.Get("X-Final"))
		cookies := a.Cookies()
		require.Len(t, cookies, 1)
		assert.Equal(t, session.CookieName, cookies[0].Name)
		assert.Equal(t, "no-store", a.Header.Get("Cache-Control"))
	})
}

// A client that asks before it sends is answered by the application.
func TestExpectContinue(t *testing.T) {
	w := newWorld(t, inFrontOf(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refused" {
			rw.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		_, _ = io.Copy(rw, r.Body)
	}))
	p := w.person()
	p.signIn(acme)
	for path, want := range map[string][]string{
		"/taken":   {"HTTP/1.1 100 Continue", "HTTP/1.1 200 OK"},
		"/refused": {"HTTP/1.1 413 Request Entity Too Large"},
	} {
		conn := w.dial()
		_, err := io.WriteString(conn, strings.Join([]string{
			"POST " + path + " HTTP/1.1", "Host: " + host(acme), "Cookie: " + p.cookies(acme)[0].String(),
			"Content-Length: 4", "Expect: 100-continue", "Connection: close", "", "",
		}, "\r\n"))
		require.NoError(t, err)
		var got []string
		for in := bufio.NewReader(conn); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			if strings.HasPrefix(line, "HTTP/") {
				got = append(got, strings.TrimSpace(line))
			}
			if strings.Contains(line, " 100 ") {
				_, err := io.WriteString(conn, "body")
				require.NoError(t, err)
			}
		}
		assert.Equal(t, want, got, path)
	}
}

// dial opens a TLS connection without saying a word.
func (w *world) dial() *tls.Conn {
	w.t.Helper()
	conn, err := tls.Dial("tcp", w.server.Listener.Addr().String(), &tls.Config{RootCAs: w.roots, ServerName: host(acme), MinVersion: tls.VersionTLS12})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	return conn
}

func TestWebSocket(t *testing.T) {
	w := newWorld(t, inFrontOf(func(rw http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(rw, r, &websocket.AcceptOptions{Subprotocols: []string{"chat"}, OriginPatterns: []string{"*"}})
		if err != nil {
			return
		}
		defer func() { _ = conn.CloseNow() }()
		conn.SetReadLimit(1 << 20)
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			if string(message) == "bye" {
				_ = conn.Close(4000, "as you like")
				return
			}
			if err := conn.Write(r.Context(), kind, append([]byte(r.Header.Get("X-Auth-Request-User")+" says "), message...)); err != nil {
				return
			}
		}
	}))
	p := w.person()
	socket := "wss://" + host(acme) + "/"
	_, response, err := websocket.Dial(t.Context(), socket, &websocket.DialOptions{HTTPClient: p.client}) //nolint:bodyclose // closed by Dial
	require.Error(t, err, "without a session")
	assert.Equal(t, http.StatusUnauthorized, response.StatusCode)

	p.signIn(acme)
	w.clock.advance(30 * time.Minute)
	conn, response, err := websocket.Dial(t.Context(), socket, &websocket.DialOptions{HTTPClient: p.client, Subprotocols: []string{"chat"}}) //nolint:bodyclose // a WebSocket
	require.NoError(t, err)
	require.Len(t, response.Cookies(), 1, "it renews the session as any request")
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(1 << 20)
	assert.Equal(t, "chat", conn.Subprotocol())
	for _, message := range []string{"hello", strings.Repeat("x", 300), strings.Repeat("y", 70_000)} {
		require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte(message)))
		_, got, err := conn.Read(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "alice@acme.example says "+message, string(got))
	}
	assert.Equal(t, 1, w.gateway.Streams().Open())
	require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte("bye")))
	_, _, err = conn.Read(t.Context())
	var closed websocket.CloseError
	require.ErrorAs(t, err, &closed)
	assert.Equal(t, websocket.CloseError{Code: 4000, Reason: "as you like"}, closed)
	w.eventually("the WebSocket is forgotten", func() bool { return w.gateway.Streams().Open() == 0 })
}

// An application that does not answer in time is told from one that is not
// there, and each has its page.
func TestApplicationThatDoesNotAnswer(t *testing.T) {
	inBothVersions(t, func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/late":
			<-r.Context().Done()
		case "/hangs-up":
			panic(http.ErrAbortHandler)
		case "/talks-on":
			for i := range 300 {
				rw.Header().Set(fmt.Sprint("X-Long-", i), strings.Repeat("x", 1000))
			}
		}
	}, func(t *testing.T, p *person) {
		for path, want := range map[string]struct {
			status int
			code   string
		}{
			"/late":     {http.StatusGatewayTimeout, "upstream_timeout"},
			"/hangs-up": {http.StatusBadGateway, "upstream_unreachable"},
			"/talks-on": {http.StatusBadGateway, "upstream_unreachable"},
		} {
			a := p.get(site(acme) + path)
			assert.Equal(t, want.status, a.StatusCode, path)
			assert.Contains(t, a.body, "Support ID", path)
			assert.Equal(t, want.code, p.log.lastCode(t), path)
		}
	}, func(_ *world, o *gateway.Options) { o.UpstreamTimeout = 500 * time.Millisecond })
}

// A response that is cut off does not look like one that is complete.
func TestApplicationThatBreaksOff(t *testing.T) {
	inBothVersions(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/length" {
			rw.Header().Set("Content-Length", "1000")
		}
		_, _ = io.WriteString(rw, "half of")
		_ = http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	}, func(t *testing.T, p *person) {
		for _, path := range []string{"/length", "/chunks"} {
			response, err := p.client.Do(p.request(http.MethodGet, site(acme)+path, nil))
			if err == nil {
				_, err = io.ReadAll(response.Body)
				_ = response.Body.Close()
			}
			require.Error(t, err, path)
		}
	})
}

// A body that does not come, or is none, is the client's fault and not the
// application's.
func TestClientsThatStall(t *testing.T) {
	broken := make(chan error, 16)
	inBothVersions(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.Copy(io.Discard, r.Body)
			return
		}
		piece := make([]byte, 64<<10)
		for {
			if _, err := rw.Write(piece); err != nil {
				broken <- err
				return
			}
		}
	}, func(t *testing.T, p *person) {
		body, writer := io.Pipe()
		go func() { _, _ = io.WriteString(writer, "some") }()
		a := p.do(p.request(http.MethodPost, site(acme)+"/", body))
		assert.Equal(t, http.StatusRequestTimeout, a.StatusCode)
		assert.Equal(t, "request_stalled", p.log.lastCode(t))
		_ = writer.Close()

		response := p.open(p.request(http.MethodGet, site(acme)+"/", nil))
		require.Error(t, <-broken, "the application learns that nobody takes what it sends")
		_, err := io.Copy(io.Discard, response.Body)
		require.Error(t, err, "and a client that comes back that it is not all")
	}, func(_ *world, o *gateway.Options) { o.StallTimeout = 500 * time.Millisecond })
}

func TestUnreadableBody(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	a := w.raw("POST / HTTP/1.1", "Host: "+host(acme), "Cookie: "+p.cookies(acme)[0].String(), "Transfer-Encoding: chunked", "", "four", "body", "0", "", "")
	assert.Equal(t, http.StatusBadRequest, a.StatusCode)
	assert.Equal(t, "request_unreadable", w.log.lastCode(t))
}

// A slow conversation is no stall: either side may be silent for as long as it
// likes.
func TestSilenceIsNoStall(t *testing.T) {
	const stall = 100 * time.Millisecond
	next := make(chan struct{})
	inBothVersions(t, func(rw http.ResponseWriter, r *http.Request) {
		for range 2 {
			_, _ = io.WriteString(rw, "event\n")
			_ = http.NewResponseController(rw).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
		_, _ = io.WriteString(rw, "end\n")
	}, func(t *testing.T, p *person) {
		response := p.open(p.request(http.MethodGet, site(acme)+"/", nil))
		lines := bufio.NewReader(response.Body)
		for range 2 {
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			assert.Equal(t, "event\n", line)
			<-time.After(3 * stall) // longer than a client may take for nothing
			next <- struct{}{}
		}
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, "end\n", line)
	}, func(_ *world, o *gateway.Options) { o.StallTimeout = stall })
}

// Row T11: what began with a session ends with it, and not with another's.
func TestT11_StreamsEndWithTheSession(t *testing.T) {
	for name, over := range map[string]func(w *world, p *person){
		"signed out": func(_ *world, p *person) { p.do(p.request(http.MethodPost, site(acme)+"/saml/logout", nil)) },
		"too old":    func(w *world, _ *person) { w.clock.advance(8 * time.Hour) },
		"disabled": func(w *world, _ *person) {
			c := w.config(acme)
			c.Disabled = true
			w.write(c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 2)
			w := newWorld(t, inFrontOf(func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/events" {
					rw.Header().Set("Content-Type", "text/event-stream")
					_, _ = io.WriteString(rw, "data: hello\n\n")
					_ = http.NewResponseController(rw).Flush()
					<-r.Context().Done()
					return
				}
				if conn, err := websocket.Accept(rw, r, nil); err == nil {
					_, _, err = conn.Read(r.Context())
					ended <- err
				}
			}))
			dial := func(tenant string) (*person, *websocket.Conn) {
				p := w.person()
				p.signIn(tenant)
				conn, _, err := websocket.Dial(t.Context(), "wss://"+host(tenant)+"/", &websocket.DialOptions{HTTPClient: p.client}) //nolint:bodyclose // a WebSocket
				require.NoError(t, err)
				t.Cleanup(func() { _ = conn.CloseNow() })
				return p, conn
			}
			p, conn := dial(acme)
			events := p.open(p.request(http.MethodGet, site(acme)+"/events", nil))
			if name != "too old" {
				dial(globex)
			}
			over(w, p)
			_, _, err := conn.Read(t.Context())
			assert.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err), "the client: %v", err)
			assert.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(<-ended), "the application")
			body, err := io.ReadAll(events.Body)
			require.NoError(t, err)
			assert.Equal(t, "data: hello\n\n", string(body))
			if name != "too old" {
				w.eventually("the streams are forgotten", func() bool { return w.gateway.Streams().Open() == 1 })
			}
		})
	}
}

// Row T11: a stream that a stranger may have goes on without a session, until
// its path is public no more; one for a role ends with the role.
func TestT11_StreamsFollowPathRules(t *testing.T) {
	w := newWorld(t, inFrontOf(func(rw http.ResponseWriter, r *http.Request) {
		if conn, err := websocket.Accept(rw, r, nil); err == nil {
			for {
				kind, message, err := conn.Read(r.Context())
				if err != nil || conn.Write(r.Context(), kind, message) != nil {
					return
				}
			}
		}
	}), pathRules(gatewayRules), configured(withRules))
	dial := func(p *person, path string) *websocket.Conn {
		conn, _, err := websocket.Dial(t.Context(), "wss://"+host(acme)+path, &websocket.DialOptions{HTTPClient: p.client}) //nolint:bodyclose // a WebSocket
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.CloseNow() })
		return conn
	}
	ended := func(conn *websocket.Conn) {
		_, _, err := conn.Read(t.Context())
		assert.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err), "%v", err)
	}
	stranger, admin := dial(w.person(), "/open"), w.person()
	admin.signIn(acme)
	atRole := dial(admin, "/admin")
	for range 2 { // all streams are looked at between the ends of these
		p := w.person()
		p.signIn(acme)
		conn := dial(p, "/")
		p.do(p.request(http.MethodPost, site(acme)+"/saml/logout", nil))
		ended(conn)
	}
	for _, conn := range []*websocket.Conn{stranger, atRole} {
		require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte("still here")))
		_, got, err := conn.Read(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "still here", string(got))
	}
	c := w.config(acme)
	withRules(&c)
	c.Application.Paths[0].Roles, c.Application.Paths[3] = []string{"other"}, tenantconfig.PathRule{Path: "/open"}
	w.write(c)
	ended(stranger)
	ended(atRole)
}

// An application that says of a connection that it is a stream of events leaves
// nothing behind.
func TestUpgradeThatClaimsToBeEvents(t *testing.T) {
	w := newWorld(t, inFrontOf(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		if conn, err := websocket.Accept(rw, r, nil); err == nil {
			_, _, _ = conn.Read(r.Context())
		}
	}))
	p := w.person()
	p.signIn(acme)
	conn, _, err := websocket.Dial(t.Context(), "wss://"+host(acme)+"/", &websocket.DialOptions{HTTPClient: p.client}) //nolint:bodyclose // a WebSocket
	require.NoError(t, err)
	_ = conn.Close(websocket.StatusNormalClosure, "")
	w.eventually("the stream is forgotten", func() bool { return w.gateway.Streams().Open() == 0 })
}

// So does one whose stream of events has no status of HTTP.
func TestEventsWithoutAStatus(t *testing.T) {
	w := newWorld(t, inFrontOf(func(rw http.ResponseWriter, _ *http.Request) {
		if conn, _, err := http.NewResponseController(rw).Hijack(); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 099 Odd\r\nContent-Type: text/event-stream\r\n\r\n")
			_ = conn.Close()
		}
	}))
	p := w.person()
	p.signIn(acme)
	assert.Equal(t, http.StatusBadGateway, p.get(site(acme)+"/").StatusCode)
	assert.Zero(t, w.gateway.Streams().Open())
}
