package refresh

import (
	"math"
	"sync"
	"time"
)

// bucket is a token bucket, full at first. It may be used concurrently.
type bucket struct {
	now    func() time.Time
	mu     sync.Mutex
	tokens float64
	filled time.Time
}

func newBucket(now func() time.Time) *bucket {
	return &bucket{now: now, tokens: burst, filled: now()}
}

// take takes a token, or returns how long to wait for the next one.
func (b *bucket) take() (wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.tokens = math.Min(burst, b.tokens+math.Max(0, now.Sub(b.filled).Seconds())*rate)
	b.filled = now
	if b.tokens < 1 {
		return time.Duration((1 - b.tokens) / rate * float64(time.Second))
	}
	b.tokens--
	return 0
}

// turns remember which tenants had theirs within the last Interval, so they
// hold no more than a bucket lets through in that time. They may be used
// concurrently.
type turns struct {
	now func() time.Time
	mu  sync.Mutex
	had map[string]time.Time
}

func newTurns(now func() time.Time) *turns {
	return &turns{now: now, had: map[string]time.Time{}}
}

// take takes the tenant's turn, or returns how long to wait for it.
func (t *turns) take(tenant string) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for other, at := range t.had {
		if now.Sub(at) >= Interval {
			delete(t.had, other)
		}
	}
	if at, ok := t.had[tenant]; ok {
		return Interval - now.Sub(at)
	}
	t.had[tenant] = now
	return 0
}

// giveBack makes a turn count as not taken.
func (t *turns) giveBack(tenant string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.had, tenant)
}
