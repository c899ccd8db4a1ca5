package server

import (
	"context"
	"net"
	"net/http"
	"time"
)

const (
	dialTimeout           = 10 * time.Second
	maxIdleConnections    = 256
	idleConnectionTimeout = 90 * time.Second
	// maxResponseHeaderBytes bounds what one answer keeps in memory before it can
	// be passed on.
	maxResponseHeaderBytes = 256 << 10
	// An HTTP/2 connection that is silent for pingAfter is asked whether it is
	// still there, and given up after pingTimeout: many requests share it.
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
)

// SchemeH2C is the scheme of an application that speaks HTTP/2 in plain text
// from the first byte [RFC 9113 3.3], as gRPC servers without TLS do.
const SchemeH2C = "h2c"

// transport is the way to applications. No proxy of the environment gets to see
// who is there.
type transport struct {
	// web speaks HTTP/1.1, or HTTP/2 where TLS agrees on it.
	web *http.Transport
	h2c *http.Transport
}

// dial opens a connection, as net.Dialer does.
type dial func(ctx context.Context, network, address string) (net.Conn, error)

// newTransport returns a transport that dials by open and keeps that many idle
// connections, zero for no limit. An answer may take as long as timeout to begin
// once the request has been sent, or as it likes if that is zero.
func newTransport(open dial, idle int, timeout time.Duration) *transport {
	web := &http.Transport{
		DialContext:            open,
		TLSHandshakeTimeout:    dialTimeout,
		ExpectContinueTimeout:  time.Second,
		ResponseHeaderTimeout:  timeout,
		MaxResponseHeaderBytes: maxResponseHeaderBytes,
		MaxIdleConns:           idle,
		MaxIdleConnsPerHost:    maxIdleConnections,
		IdleConnTimeout:        idleConnectionTimeout,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	h2c := web.Clone()
	h2c.Protocols = new(http.Protocols)
	h2c.Protocols.SetUnencryptedHTTP2(true)
	return &transport{web: web, h2c: h2c}
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != SchemeH2C {
		return t.web.RoundTrip(r) //nolint:wrapcheck // a transport's
	}
	plain, u := *r, *r.URL
	u.Scheme = "http"
	plain.URL = &u
	if r.Header.Get("Upgrade") != "" {
		// WebSockets begin with HTTP/1.1.
		return t.web.RoundTrip(&plain) //nolint:wrapcheck // a transport's
	}
	response, err := t.h2c.RoundTrip(&plain)
	if response != nil {
		response.Request = r
	}
	return response, err //nolint:wrapcheck // a transport's
}
