package idpmetadata

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"sync"
)

const (
	// largeDocument is the size beyond which a document needs a slot. An IdP's
	// own metadata has a few KiB, so only aggregates and attackers need one.
	largeDocument     = 1 << 20
	defaultLargeSlots = 2

	maxFetchesPerHost = 4
)

// ErrHostBusy is what [Fetcher.Fetch] returns at once, without having asked
// anybody, while as many fetches from the same host are under way as one host
// has to bear. It says nothing of the tenant or its IdP: come back in a second.
var ErrHostBusy = errors.New("fetch metadata: too many fetches from this host are under way")

var errNoSlot = errors.New("no slot for a large document became free in time")

// slots limit how many large documents are in memory at once.
type slots chan struct{}

// acquire waits for a slot until ctx ends. The function it returns gives the
// slot back, once.
func (s slots) acquire(ctx context.Context) (release func(), err error) {
	select {
	case s <- struct{}{}:
		return sync.OnceFunc(func() { <-s }), nil
	case <-ctx.Done():
		return nil, errNoSlot
	}
}

// hosts counts the fetches under way by host and port.
type hosts struct {
	mu      sync.Mutex
	fetches map[string]int
}

// enter counts a fetch until leave is called, unless the host has enough.
func (h *hosts) enter(host string) (leave func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fetches[host] >= maxFetchesPerHost {
		return nil, ErrHostBusy
	}
	h.fetches[host]++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.fetches[host]--; h.fetches[host] == 0 {
			delete(h.fetches, host)
		}
	}, nil
}

// hostPort is the same for all spellings of the host and port of an https URL.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), port)
}
