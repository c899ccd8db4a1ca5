package idpmetadata

import (
	"context"
	"sync"
)

// flightKey is what makes two fetches the same.
type flightKey struct{ url, caBundle, etag, lastModified string }

// flights let callers that ask for the same at the same time share one
// download, each with a result and a context of its own.
type flights struct {
	mu    sync.Mutex
	byKey map[flightKey]*flight
}

type flight struct {
	done   chan struct{} // closed when the download has ended
	cancel context.CancelFunc

	// callers are those who wait, and later those who hold the document. The
	// last one to leave ends the download, or gives back the document's slot.
	callers int
	ended   bool
	result  *Result
	err     error
}

func newFlights() *flights { return &flights{byKey: make(map[flightKey]*flight)} }

// do waits for the download by that key, and starts it if there is none.
// The context that download gets ends when nobody waits for it any more. If
// that is by the end of this caller's ctx, the error is the download's, else
// that of ctx.
func (f *flights) do(ctx context.Context, key flightKey, download func(context.Context) (*Result, error)) (*Result, error) {
	joined := f.join(ctx, key, download)
	select {
	case <-joined.done:
	case <-ctx.Done():
		if !f.leave(key, joined) {
			return nil, ctx.Err()
		}
		<-joined.done
		if joined.err == nil {
			return nil, ctx.Err()
		}
		return nil, joined.err
	}
	if joined.err != nil {
		f.leave(key, joined)
		return nil, joined.err
	}
	own := *joined.result
	if own.release == nil {
		f.leave(key, joined)
	} else {
		own.release = sync.OnceFunc(func() { f.leave(key, joined) })
	}
	return &own, nil
}

func (f *flights) join(ctx context.Context, key flightKey, download func(context.Context) (*Result, error)) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if under, ok := f.byKey[key]; ok {
		under.callers++
		return under
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	started := &flight{done: make(chan struct{}), cancel: cancel, callers: 1}
	f.byKey[key] = started
	go func() {
		defer cancel()
		result, err := download(ctx)
		f.mu.Lock()
		defer f.mu.Unlock()
		started.result, started.err, started.ended = result, err, true
		f.forget(key, started)
		if started.callers == 0 {
			result.Close()
		}
		close(started.done)
	}()
	return started
}

// leave tells whether the caller was the last.
func (f *flights) leave(key flightKey, left *flight) (last bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if left.callers--; left.callers > 0 {
		return false
	}
	f.forget(key, left)
	left.cancel()
	if left.ended {
		left.result.Close()
	}
	return true
}

// forget makes the next caller start anew, unless another has already.
func (f *flights) forget(key flightKey, old *flight) {
	if f.byKey[key] == old {
		delete(f.byKey, key)
	}
}
