package streams

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"
)

// closeFrames close a WebSocket by a status, unmasked: 1001, the server goes
// away, and 1008, a policy forbids it [RFC 6455 5.5.1, 7.4.1].
var closeFrames = map[cause][]byte{
	stopping:    {0x88, 2, 0x03, 0xe9},
	sessionOver: {0x88, 2, 0x03, 0xf0},
}

// WebSocket returns the connection to the client of a WebSocket. What is
// written to it must begin with the first frame.
//
// A write that the client does not take within stall fails; zero is no limit.
// At the end of the set, or when alive says that the session is over, the client is sent a close frame between two frames of
// the application, and its answer goes to the application as any other frame:
// so both see a regular end. A client that does not answer soon is cut off.
func (s *Set) WebSocket(conn net.Conn, stall time.Duration, alive func() bool) net.Conn {
	w := &webSocket{Conn: conn, set: s, stall: stall, alive: alive}
	s.add(w)
	return w
}

type webSocket struct {
	net.Conn
	set   *Set
	stall time.Duration
	alive func() bool
	once  sync.Once

	// mu is held while something is written.
	mu     sync.Mutex
	frames frames
	// told: our close frame was written, after which nothing may follow.
	told bool
}

// Write implements net.Conn.
func (w *webSocket) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told {
		return len(p), nil
	}
	if w.stall > 0 {
		if err := w.SetWriteDeadline(time.Now().Add(w.stall)); err != nil {
			return 0, err //nolint:wrapcheck // a connection's
		}
	}
	n, err := w.Conn.Write(p)
	w.frames.advance(p[:n])
	return n, err //nolint:wrapcheck // a connection's
}

// CloseWrite passes on that the application has ended its side.
func (w *webSocket) CloseWrite() error {
	half, ok := w.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite() //nolint:wrapcheck // a connection's
}

// Close implements net.Conn.
func (w *webSocket) Close() error {
	w.set.remove(w)
	return w.Conn.Close() //nolint:wrapcheck // a connection's
}

func (w *webSocket) goesOn() bool { return w.alive() }

func (w *webSocket) end(why cause) {
	w.once.Do(func() {
		time.AfterFunc(grace, func() { _ = w.Conn.Close() })
		go w.tell(closeFrames[why])
	})
}

// tell writes a close frame if that can be done.
func (w *webSocket) tell(frame []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.frames.closed: // the application was first
	case !w.frames.between():
		// The rest of the frame may never come.
		_ = w.Conn.Close()
	default:
		w.told = true
		_ = w.SetWriteDeadline(time.Now().Add(grace))
		_, _ = w.Conn.Write(frame) // the client may be gone
	}
}

// frames follows a stream of frames by their headers [RFC 6455 5.2].
type frames struct {
	header [14]byte
	have   int
	// left is how much of the payload is still to come.
	left uint64
	// closed: there was a close frame.
	closed bool
}

// between says whether the next byte begins a frame.
func (f *frames) between() bool { return f.have == 0 && f.left == 0 }

func (f *frames) advance(p []byte) {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, uint64(len(p)))
			f.left -= n
			p = p[n:]
			continue
		}
		f.header[f.have] = p[0]
		f.have++
		p = p[1:]
		f.begin()
	}
}

// begin takes up the payload once the header is complete.
func (f *frames) begin() {
	const (
		opcode, opClose      = 0x0f, 0x08
		masked, lengthBits   = 0x80, 0x7f
		twoBytes, eightBytes = 126, 127
	)
	if f.have < 2 {
		return
	}
	size, length := 2, uint64(f.header[1]&lengthBits)
	switch length {
	case twoBytes:
		size += 2
	case eightBytes:
		size += 8
	}
	extended := f.header[2:size]
	if f.header[1]&masked != 0 {
		size += 4
	}
	if f.have < size {
		return
	}
	switch len(extended) {
	case 2:
		length = uint64(binary.BigEndian.Uint16(extended))
	case 8:
		length = binary.BigEndian.Uint64(extended)
	}
	f.closed = f.closed || f.header[0]&opcode == opClose
	f.left, f.have = length, 0
}
