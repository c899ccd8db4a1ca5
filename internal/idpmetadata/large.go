package idpmetadata

import (
	"context"
	"errors"
	"slices"
	"sync"
)

const (
	// largeDocument is the size beyond which a document needs a slot. An IdP's
	// own metadata has a few KiB, so only aggregates and attackers need one.
	largeDocument     = 1 << 20
	defaultLargeSlots = 2
)

var errNoSlot = errors.New("no slot for a large document became free in time")

// slots limit how many large documents are in memory at once. A host has one
// of them at most, so that none keeps the others waiting.
type slots struct {
	mu      sync.Mutex
	free    int
	holders map[string]bool
	waiting []*waiter // in the order in which they came
}

type waiter struct {
	host  string
	ready chan struct{}
}

func newSlots(n int) *slots { return &slots{free: n, holders: make(map[string]bool)} }

// acquire waits for a slot until ctx ends. The function it returns gives the
// slot back, once.
func (s *slots) acquire(ctx context.Context, host string) (release func(), err error) {
	w := &waiter{host, make(chan struct{})}
	s.mu.Lock()
	s.waiting = append(s.waiting, w)
	s.serve()
	s.mu.Unlock()

	select {
	case <-w.ready:
	case <-ctx.Done():
		s.mu.Lock()
		i := slices.Index(s.waiting, w)
		if i >= 0 {
			s.waiting = slices.Delete(s.waiting, i, i+1)
		}
		s.mu.Unlock()
		if i >= 0 {
			return nil, errNoSlot
		}
	}
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.holders, host)
		s.free++
		s.serve()
	}), nil
}

// serve gives the free slots to those who may have them.
func (s *slots) serve() {
	s.waiting = slices.DeleteFunc(s.waiting, func(w *waiter) bool {
		if s.free == 0 || s.holders[w.host] {
			return false
		}
		s.free--
		s.holders[w.host] = true
		close(w.ready)
		return true
	})
}
