package main

import (
	"net"
	"sync"
	"sync/atomic"
)

// connections is a listener that has a number of connections open at most; zero
// is no limit. One more is closed at once: who sends it can go elsewhere, while
// one that waited for its turn would not know.
type connections struct {
	net.Listener
	most          int64
	open, refused atomic.Int64
}

// Accept implements net.Listener.
func (c *connections) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err //nolint:wrapcheck // a listener's
		}
		if c.open.Add(1) <= c.most || c.most <= 0 {
			return &connection{Conn: conn, closed: sync.OnceFunc(func() { c.open.Add(-1) })}, nil
		}
		c.open.Add(-1)
		c.refused.Add(1)
		_ = conn.Close()
	}
}

// connection is counted until it is closed.
type connection struct {
	net.Conn
	closed func()
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.closed()
	return c.Conn.Close() //nolint:wrapcheck // a connection's
}

// CloseWrite is for crypto/tls and net/http, which ask for it.
func (c *connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite() //nolint:wrapcheck // a connection's
	}
	return nil
}
