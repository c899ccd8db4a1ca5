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
	mu      sync.Mutex // serializes changes
	// unstored are those that the store has not told of yet.
	unstored map[string]time.Time
}

// NewRevocations begins with what the store remembers: each session with the
// time at which it would have ended anyway.
func NewRevocations(revoked map[string]time.Time) *Revocations {
	r := &Revocations{unstored: map[string]time.Time{}}
	r.current.Store(&revoked)
	return r
}

// Contains says whether the session was ended.
func (r *Revocations) Contains(id string) bool {
	_, ok := (*r.current.Load())[id]
	return ok
}

// Add ends sessions; each is mapped to when it would have ended anyway. Those
// that are over by now are forgotten. The caller has the store remember them
// too; where that fails, Follow does once it can.
func (r *Revocations) Add(ended map[string]time.Time, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, until := range ended {
		if !r.Contains(id) {
			r.unstored[id] = until
		}
	}
	r.add(ended, now)
}

// stored is Add for what the store tells of.
func (r *Revocations) stored(ended map[string]time.Time, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range ended {
		delete(r.unstored, id)
	}
	r.add(ended, now)
}

func (r *Revocations) add(ended map[string]time.Time, now time.Time) {
	if len(ended) == 0 {
		return
	}
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

// missing returns what the store has not told of yet, and forgets what is over.
func (r *Revocations) missing(now time.Time) map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.unstored, func(_ string, until time.Time) bool { return !now.Before(until) })
	return maps.Clone(r.unstored)
}
