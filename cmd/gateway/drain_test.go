package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

const (
	drainHost   = "acme.s.localhost"
	idpEntityID = "https://idp.example/"
)

// signedIn is a gateway's configuration with one tenant in front of an
// application, and the cookie of somebody who is signed in.
func signedIn(t *testing.T, app http.HandlerFunc) (config, *http.Cookie) {
	t.Helper()
	c := config{listen: freeAddress(t), internalListen: freeAddress(t), tenantsDir: t.TempDir(), dataDir: t.TempDir()}
	addTenant(t, c, "acme", drainHost)
	key, err := session.NewKey()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(c.dataDir, "cookie.key"), key, 0o600))
	codec, err := session.NewCodec(key)
	require.NoError(t, err)
	now := time.Now()
	cookie, err := codec.Seal(session.Binding{Tenant: "acme", Host: drainHost, IDPEntityID: idpEntityID}, session.Session{
		ID: "s", UserID: "u", StableID: "alice", CreatedAt: now, SeenAt: now, ExpiresAt: now.Add(time.Hour),
	})
	require.NoError(t, err)
	application := httptest.NewServer(app)
	t.Cleanup(application.Close)
	c.upstream, err = url.Parse(application.URL)
	require.NoError(t, err)
	return c, cookie
}

// addTenant writes a tenant's configuration.
func addTenant(t *testing.T, c config, name, host string) {
	t.Helper()
	idp, err := testidp.NewKey(testidp.KeyOptions{CommonName: "idp"})
	require.NoError(t, err)
	site := "https://" + host
	encoded, err := tenantconfig.Encode(tenantconfig.Config{
		Tenant: name, CustomerName: name, Host: host,
		ServiceProvider: tenantconfig.ServiceProvider{EntityID: site, SignOnURL: site, ACSURL: site + "/saml/acs", MetadataURL: site + "/saml/metadata"},
		IdentityProvider: tenantconfig.IdentityProvider{
			EntityID: idpEntityID, SSO: []tenantconfig.Endpoint{{Binding: tenantconfig.BindingRedirect, Location: idpEntityID}},
			SigningCertificates: []string{base64.StdEncoding.EncodeToString(idp.Certificate.Raw)},
		},
		Session: tenantconfig.Session{MaxDuration: 3600, IdleTimeout: 3600},
	})
	require.NoError(t, err)
	dir := filepath.Join(c.tenantsDir, name)
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, tenantconfig.FileConfig), encoded, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, tenantconfig.FileSPMetadata), []byte("<EntityDescriptor/>"), 0o600))
}

// untilReady waits until a gateway is.
func untilReady(t *testing.T, c config) {
	t.Helper()
	require.Eventually(t, func() bool { return ready(c.internalListen) }, time.Minute, 5*time.Millisecond, "not ready in time")
}

// request is one of somebody who is signed in.
func (c config) request(t *testing.T, path string, cookie *http.Cookie) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+c.listen+path, nil)
	require.NoError(t, err)
	r.Host = drainHost
	r.Header.Set("Cookie", cookie.Name+"="+cookie.Value)
	return r
}

// Readiness goes first and requests are served; then streams end, each as its
// protocol has it, and the requests that are under way finish.
func TestDrain(t *testing.T) {
	seen, finish := make(chan error, 1), make(chan struct{})
	c, cookie := signedIn(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/socket":
			conn, err := websocket.Accept(w, r, nil)
			if err != nil {
				seen <- err
				return
			}
			_ = conn.Write(r.Context(), websocket.MessageText, []byte("hello"))
			_, _, err = conn.Read(r.Context())
			seen <- err
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: hello\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "/slow":
			_ = http.NewResponseController(w).Flush()
			<-finish
			_, _ = io.WriteString(w, "done")
		}
	})
	waiting, delay := make(chan struct{}), make(chan time.Time)
	c.drainDelay = time.Hour
	c.after = func(time.Duration) <-chan time.Time {
		close(waiting)
		return delay
	}
	stop := startGateway(t, c)
	untilReady(t, c)

	socket, _, err := websocket.Dial(t.Context(), "ws://"+c.listen+"/socket", &websocket.DialOptions{ //nolint:bodyclose // a WebSocket
		Host: drainHost, HTTPHeader: http.Header{"Cookie": {cookie.Name + "=" + cookie.Value}},
	})
	require.NoError(t, err)
	defer func() { _ = socket.CloseNow() }()
	_, message, err := socket.Read(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "hello", string(message))
	events := open(t, c.request(t, "/events", cookie))
	slow := open(t, c.request(t, "/slow", cookie))

	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	<-waiting
	assert.False(t, ready(c.internalListen), "load balancers have to notice")
	late := open(t, c.request(t, "/", cookie))
	assert.Equal(t, http.StatusOK, late.StatusCode)
	assert.True(t, late.Close, "and to send the next request elsewhere")
	close(delay)

	_, _, err = socket.Read(t.Context())
	assert.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err), "the client: %v", err)
	err = <-seen
	assert.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err), "the application: %v", err)
	body, err := io.ReadAll(events.Body)
	require.NoError(t, err, "the events end regularly")
	assert.Equal(t, "data: hello\n\n", string(body))
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", c.listen)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, time.Minute, 5*time.Millisecond, "new connections are taken")
	close(finish)
	body, err = io.ReadAll(slow.Body)
	require.NoError(t, err)
	assert.Equal(t, "done", string(body))
	require.NoError(t, <-stopped)
}

// open sends a request and returns before the response's body has come.
func open(t *testing.T, r *http.Request) *http.Response {
	t.Helper()
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// By HTTP/2 a client is told to make no more requests here, and gets the answer
// to the last one.
func TestDrainOfHTTP2(t *testing.T) {
	arrived, finish := make(chan struct{}), make(chan struct{})
	c, cookie := signedIn(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-finish
		_, _ = io.WriteString(w, "done")
	})
	c.tlsCertFile, c.tlsKeyFile = filepath.Join(t.TempDir(), "tls.crt"), filepath.Join(t.TempDir(), "tls.key")
	certificate, key := newKeyPair(t, 1)
	require.NoError(t, os.WriteFile(c.tlsCertFile, certificate, 0o600))
	require.NoError(t, os.WriteFile(c.tlsKeyFile, key, 0o600))
	stop := startGateway(t, c)
	untilReady(t, c)
	conn, err := tls.Dial("tcp", c.listen, &tls.Config{InsecureSkipVerify: true, ServerName: drainHost, NextProtos: []string{"h2"}}) //nolint:gosec // a test's
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	_, err = io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	framer := http2.NewFramer(conn, conn)
	require.NoError(t, framer.WriteSettings())
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: drainHost}, {Name: ":path", Value: "/"},
		{Name: "cookie", Value: cookie.Name + "=" + cookie.Value},
	} {
		require.NoError(t, encoder.WriteField(field))
	}
	require.NoError(t, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}))
	<-arrived
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	var got string
	for told := false; ; {
		frame, err := framer.ReadFrame()
		require.NoError(t, err)
		switch frame := frame.(type) {
		case *http2.GoAwayFrame:
			assert.Equal(t, http2.ErrCodeNo, frame.ErrCode)
			if !told {
				close(finish)
			}
			told = true
		case *http2.DataFrame:
			got += string(frame.Data())
			if frame.StreamEnded() {
				assert.True(t, told)
				assert.Equal(t, "done", got)
				_ = conn.Close()
				require.NoError(t, <-stopped)
				return
			}
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	c, _ := signedIn(t, func(http.ResponseWriter, *http.Request) {})
	c.maxConnections = 2
	stop := startGateway(t, c)
	untilReady(t, c)
	// served says whether a connection is, which stays open.
	served := func() (net.Conn, bool) {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", c.listen)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = fmt.Fprintf(conn, "GET /saml/metadata HTTP/1.1\r\nHost: %s\r\n\r\n", drainHost)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			_ = response.Body.Close()
		}
		return conn, err == nil
	}
	first, ok := served()
	require.True(t, ok)
	_, ok = served()
	require.True(t, ok)
	_, ok = served()
	assert.False(t, ok, "the third")
	_ = first.Close()
	require.Eventually(t, func() bool { _, ok := served(); return ok }, time.Minute, 5*time.Millisecond, "room again")
	require.True(t, ready(c.internalListen), "health has room of its own")
	require.NoError(t, stop())
}
