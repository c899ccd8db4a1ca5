package session

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Revocations is the set of ended sessions, in memory. Contains takes no lock.
type Revocations struct {
	current atomic.Pointer[map[string]time.Time]
	mu      sync.Mutex // serializes Add
}

// NewRevocations begins with what the store remembers: each session with the
// time at which it would have ended anyway.
func NewRevocations(revoked map[string]time.Time) *Revocations {
	r := &Revocations{}
	r.current.Store(&revoked)
	return r
}

// Contains says whether the session was ended.
func (r *Revocations) Contains(id string) bool {
	_, ok := (*r.current.Load())[id]
	return ok
}

// Add ends sessions; each is mapped to when it would have ended anyway. Those
// that are over by now are forgotten.
func (r *Revocations) Add(ended map[string]time.Time, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := *r.current.Load()
	after := make(map[string]time.Time, len(before)+len(ended))
	for other, end := range before {
		if now.Before(end) {
			after[other] = end
		}
	}
	maps.Copy(after, ended)
	r.current.Store(&after)
}
