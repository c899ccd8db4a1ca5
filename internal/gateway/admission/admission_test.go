package admission_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/admission"
)

func TestPlacesAndQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := admission.New(2, 1, time.Second)
		require.True(t, g.Enter(t.Context()))
		require.True(t, g.Enter(t.Context()))
		waited := make(chan bool)
		go func() { waited <- g.Enter(t.Context()) }()
		synctest.Wait()
		assert.Equal(t, []int{2, 1}, []int{g.Inside(), g.Waiting()})

		assert.False(t, g.Enter(t.Context()), "the queue is full")
		g.Leave()
		assert.True(t, <-waited, "a place became free in time")

		begun := time.Now()
		assert.False(t, g.Enter(t.Context()), "none became free")
		assert.Equal(t, time.Second, time.Since(begun))
		assert.EqualValues(t, 2, g.Refused())

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		assert.False(t, g.Enter(ctx), "nobody waits any more")
		assert.EqualValues(t, 2, g.Refused())
		assert.Equal(t, []int{2, 0}, []int{g.Inside(), g.Waiting()})
	})
}

func TestGateWithoutPlacesIsOpen(t *testing.T) {
	g := admission.New(0, 0, 0)
	for range 100 {
		require.True(t, g.Enter(t.Context()))
	}
	assert.Equal(t, 100, g.Inside())
}

// Nobody waits in vain: with room in the queue for all, all get in.
func TestManyAtOnce(t *testing.T) {
	const places, people = 3, 200
	g := admission.New(places, people, time.Minute)
	var inside, most, entered atomic.Int64
	var all sync.WaitGroup
	for range people {
		all.Go(func() {
			for range 20 {
				if !g.Enter(t.Context()) {
					continue
				}
				entered.Add(1)
				most.Store(max(most.Load(), inside.Add(1)))
				inside.Add(-1)
				g.Leave()
			}
		})
	}
	all.Wait()
	assert.EqualValues(t, people*20, entered.Load())
	assert.LessOrEqual(t, most.Load(), int64(places))
	assert.Equal(t, []int{0, 0}, []int{g.Inside(), g.Waiting()})
}

func BenchmarkGate(b *testing.B) {
	g := admission.New(1<<20, 16, time.Second)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if g.Enter(b.Context()) {
				g.Leave()
			}
		}
	})
}
