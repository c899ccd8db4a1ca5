// Package admission bounds how many requests are worked on at once. Those that
// come when all places are taken wait in a short queue for a short time, and are
// told to come again if that does not help: a server that takes on all work
// serves nobody.
package admission

import (
	"context"
	"sync/atomic"
	"time"
)

// Gate has a number of places. While there is one, entering and leaving take no
// lock. Its methods may be called concurrently.
type Gate struct {
	places, queue int64
	patience      time.Duration

	inside, waiting, refused atomic.Int64
	// left has a token for each place that became free while somebody waited.
	left chan struct{}
}

// New returns a gate with so many places and a queue in front of it, in which
// nobody waits for longer than patience. A gate without places lets everybody
// in.
func New(places, queue int, patience time.Duration) *Gate {
	return &Gate{places: int64(places), queue: int64(queue), patience: patience, left: make(chan struct{}, queue)}
}

// Enter returns true once there is a place, which Leave gives back, and false if
// there is none for too long, the queue is full, or ctx ends.
func (g *Gate) Enter(ctx context.Context) bool {
	// Who waits is first.
	if g.waiting.Load() == 0 && g.take() {
		return true
	}
	if g.waiting.Add(1) > g.queue {
		g.waiting.Add(-1)
		g.refused.Add(1)
		return false
	}
	defer g.waiting.Add(-1)
	patience := time.NewTimer(g.patience)
	defer patience.Stop()
	for !g.take() {
		select {
		case <-g.left:
		case <-patience.C:
			g.refused.Add(1)
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// take takes a place if there is one.
func (g *Gate) take() bool {
	for {
		inside := g.inside.Load()
		if g.places > 0 && inside >= g.places {
			return false
		}
		if g.inside.CompareAndSwap(inside, inside+1) {
			return true
		}
	}
}

// Leave gives a place back.
func (g *Gate) Leave() {
	g.inside.Add(-1)
	// Who comes to wait looks for a place after this, or is seen here.
	if g.waiting.Load() > 0 {
		select {
		case g.left <- struct{}{}:
		default: // there are as many tokens as may wait
		}
	}
}

// Inside is how many have entered and not left.
func (g *Gate) Inside() int { return int(g.inside.Load()) }

// Waiting is how many are in the queue.
func (g *Gate) Waiting() int { return int(g.waiting.Load()) }

// Refused is how many were not let in, but for those that did not wait.
func (g *Gate) Refused() int64 { return g.refused.Load() }
