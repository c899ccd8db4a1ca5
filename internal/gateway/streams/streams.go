// Package streams ends what would never end by itself, WebSockets and streams of
// events, when a gateway stops or the session is over with which they began.
// Everything else is a request that finishes.
package streams

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// grace is what a WebSocket's client has to answer the close frame in.
const grace = 2 * time.Second

// Set holds the streams that are open. Its zero value is ready for use, and its
// methods may be called concurrently.
type Set struct {
	mu     sync.Mutex
	ending bool
	open   map[stream]struct{}
	// empty is closed when the last stream ends, and nil while nobody waits.
	empty chan struct{}
	count atomic.Int64
}

// stream is open until it is removed from its set.
type stream interface {
	// end has the stream end soon, and says why. It does not block.
	end(cause)
	// goesOn says whether the session does.
	goesOn() bool
}

// cause is why a stream ends.
type cause int

const (
	stopping cause = iota
	sessionOver
)

// reviewInterval is how long a stream may outlive its session.
const reviewInterval = time.Second

// Run ends the streams whose sessions are over, until ctx ends.
func (s *Set) Run(ctx context.Context) {
	for tick := time.NewTicker(reviewInterval); ; {
		select {
		case <-tick.C:
			s.review()
		case <-ctx.Done():
			tick.Stop()
			return
		}
	}
}

func (s *Set) review() {
	s.mu.Lock()
	open := slices.Collect(maps.Keys(s.open))
	s.mu.Unlock()
	for _, stream := range open {
		if !stream.goesOn() {
			stream.end(sessionOver)
		}
	}
}

// Open is how many streams are open.
func (s *Set) Open() int { return int(s.count.Load()) }

// End ends all streams, and those that begin from now on.
func (s *Set) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	for open := range s.open {
		open.end(stopping)
	}
}

// Wait returns once no stream is open, or with the error of ctx. Streams must
// not begin meanwhile unless End was called.
func (s *Set) Wait(ctx context.Context) error {
	s.mu.Lock()
	if len(s.open) == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	empty := s.empty
	s.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Set) add(added stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[stream]struct{}{}
	}
	s.open[added] = struct{}{}
	s.count.Store(int64(len(s.open)))
	if s.ending {
		added.end(stopping)
	}
}

func (s *Set) remove(removed stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, removed)
	s.count.Store(int64(len(s.open)))
	if len(s.open) == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// Events returns the body of a stream of server-sent events, which comes to its
// regular end with the set. A client throws away the event that is cut off by
// that, and connects anew [HTML 9.2.6]. So it does when alive, which must not
// block, says that the session is over.
func (s *Set) Events(body io.ReadCloser, alive func() bool) io.ReadCloser {
	e := &events{ReadCloser: body, set: s, alive: alive}
	s.add(e)
	return e
}

type events struct {
	io.ReadCloser
	set   *Set
	alive func() bool
	ended atomic.Bool
}

func (e *events) goesOn() bool { return e.alive() }

func (e *events) end(cause) {
	if e.ended.CompareAndSwap(false, true) {
		go func() { _ = e.ReadCloser.Close() }() // Read returns
	}
}

// Read implements io.Reader.
func (e *events) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && e.ended.Load() {
		return n, io.EOF
	}
	return n, err //nolint:wrapcheck // a reader's
}

// Close implements io.Closer.
func (e *events) Close() error {
	e.set.remove(e)
	return e.ReadCloser.Close() //nolint:wrapcheck // a closer's
}
