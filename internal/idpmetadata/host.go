package idpmetadata

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// defaultFetchesPerHost is a quarter of the tenants that the operator works
	// on at once: a host that does not answer holds no more of them, and one
	// that serves thousands of tenants, as that of Entra ID, gets them done.
	defaultFetchesPerHost = 16

	// reservedShare of a host's fetches, a quarter, is for those who cannot
	// wait, so that a refresh of thousands leaves room for a new tenant.
	reservedShare = 4

	// Times to come again when a host has enough to do. What is added to
	// spread the callers makes it half as much again. Those who let others go
	// first are told the time that it will really take: thousands that come
	// again and again for nothing take the processor from those who cannot wait.
	minRetryAfter     = 250 * time.Millisecond
	maxRetryAfter     = 20 * time.Second
	maxRetryOfWaiting = 2 * time.Minute

	// How long a fetch takes is smoothed, so that each counts for a quarter.
	firstGuess = 250 * time.Millisecond
	smoothing  = 4

	// A host is down after so many failures in a row over so long a time. The
	// latter keeps a tenant with an address of its own, at a host that serves
	// others well, from having them turned away.
	failuresUntilDown = 5
	failingUntilDown  = 10 * time.Second
	// Pauses between the fetches by which a host that is down is probed.
	firstPause, maxPause = time.Second, time.Minute
	// maxTroubled bounds what is kept about hosts that failed.
	maxTroubled = 4096
)

// ErrHostBusy is what every [HostBusyError] is.
var ErrHostBusy = errors.New("fetch metadata: too many fetches from this host are under way")

// HostBusyError is what [Fetcher.Fetch] returns at once, without having asked
// anybody, while as many fetches from the same host are under way as one host
// has to bear. It says nothing of the tenant or its IdP.
type HostBusyError struct {
	// RetryAfter is when to come again, from 250 ms to 30 s, and to 3 min for
	// whoever may wait: those who are turned away get times at which the host can be done with those before.
	RetryAfter time.Duration
}

func (e *HostBusyError) Error() string { return ErrHostBusy.Error() }

// Is makes every HostBusyError an [ErrHostBusy].
func (e *HostBusyError) Is(target error) bool { return target == ErrHostBusy }

// visit is a fetch as far as its host is concerned.
type visit struct {
	host  string // as hostPort writes it
	trust [sha256.Size]byte
	url   string
	waits bool // lets others go first
}

func newVisit(u *url.URL, request Request) visit {
	return visit{host: hostPort(u), trust: sha256.Sum256(request.CABundle), url: request.URL, waits: request.MayWait}
}

// hosts decides who may fetch from which host now. It keeps the hosts that are
// being asked, and a limited number of those that failed.
type hosts struct {
	limit  int // fetches from one host at once, and probes of all hosts
	now    func() time.Time
	random func() float64 // in [0,1)

	mu       sync.Mutex
	loads    map[string]*load
	troubles map[troubleKey]*trouble
	probes   int
}

func newHosts(limit int) *hosts {
	return &hosts{
		limit: limit, now: time.Now, random: rand.Float64,
		loads: make(map[string]*load), troubles: make(map[troubleKey]*trouble),
	}
}

// enter admits a fetch, which lasts until leave is called. One of a host that
// is down gets the host's last failure, as if it had tried.
func (h *hosts) enter(v visit) (leave func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	t := h.troubles[v.key()]
	probe := t.concerns(v, now)
	if probe && (t.probing || now.Before(t.retry) || h.probes == h.limit) {
		return nil, &Error{Reason: t.last.Reason, Message: t.last.Message, Err: fmt.Errorf("host is not asked again yet: %w", t.last)}
	}
	l := h.loads[v.host]
	if l == nil {
		l = &load{took: firstGuess}
		h.loads[v.host] = l
	}
	limit, booked, longest := h.limit, &l.booked, maxRetryAfter
	if v.waits {
		limit, booked, longest = h.limit-h.limit/reservedShare, &l.bookedWaiting, maxRetryOfWaiting
	}
	if l.running >= limit {
		return nil, &HostBusyError{RetryAfter: l.turnAway(booked, now, limit, longest, h.random())}
	}
	l.running++
	if probe {
		t.probing = true
		h.probes++
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if probe {
			t.probing = false
			h.probes--
		}
		if l.running--; l.running == 0 {
			delete(h.loads, v.host)
		}
	}, nil
}

// ended takes note of a download that came to its end, before its last caller
// leaves. failure is nil if the host has done its part.
func (h *hosts) ended(v visit, took time.Duration, failure *hostFailure) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.loads[v.host]; l != nil {
		l.took += (took - l.took) / smoothing
	}
	key := v.key()
	if failure == nil {
		delete(h.troubles, key)
		return
	}
	t := h.troubles[key]
	if t == nil {
		for other := range h.troubles {
			if len(h.troubles) < maxTroubled {
				break
			}
			delete(h.troubles, other) // any: it is noticed again if it lasts
		}
		t = &trouble{}
		h.troubles[key] = t
	}
	t.add(v, failure, h.now())
}

// load is what one host has to bear.
type load struct {
	running int
	took    time.Duration // what a download takes, smoothed
	// Until when those who were turned away keep it busy: those who cannot wait,
	// and those who let them go first.
	booked, bookedWaiting time.Time
}

// turnAway returns the time until a place is free that nobody was promised
// before, spread by random, and books it.
func (l *load) turnAway(booked *time.Time, now time.Time, limit int, longest time.Duration, random float64) time.Duration {
	if booked.Before(now) {
		*booked = now
	}
	*booked = booked.Add(l.took / time.Duration(limit))
	if latest := now.Add(longest); booked.After(latest) {
		*booked = latest
	}
	wait := max(booked.Sub(now), minRetryAfter)
	return wait + time.Duration(random*float64(wait)/2)
}

// hostFailure is a failure that others would meet at this host, too: not one
// of what a tenant has asked for, such as 404.
type hostFailure struct {
	*Error
	// reached tells that a safe connection was made. The failure may be that
	// of one URL then.
	reached bool
}

// troubleKey tells apart who trusts which authorities: a wrong metadataCA of
// one tenant is no failure for others.
type troubleKey struct {
	host  string
	trust [sha256.Size]byte
}

func (v visit) key() troubleKey { return troubleKey{v.host, v.trust} }

// trouble is a host that has failed since it answered last.
type trouble struct {
	failures int
	since    time.Time // the first of them
	last     *Error
	url      string // the only one that failed, empty if it is the host
	probing  bool
	pause    time.Duration
	retry    time.Time // when the next probe may start
}

// concerns tells whether the host is down for that visit. t may be nil.
func (t *trouble) concerns(v visit, now time.Time) bool {
	return t != nil && t.failures >= failuresUntilDown && now.Sub(t.since) >= failingUntilDown &&
		(t.url == "" || t.url == v.url)
}

func (t *trouble) add(v visit, failure *hostFailure, now time.Time) {
	if t.failures == 0 {
		t.since, t.url = now, v.url
	}
	if !failure.reached || t.url != v.url {
		t.url = ""
	}
	t.failures++
	t.last = failure.Error
	t.pause = max(t.pause, firstPause)
	t.retry = now.Add(t.pause)
	if t.probing {
		t.pause = min(2*t.pause, maxPause)
	}
}

// failureOf returns what err says against the host, or nil. Of several hops
// the first host has done its part.
func failureOf(err error, w *way) *hostFailure {
	var known *Error
	if !errors.As(err, &known) || w.redirected {
		return nil
	}
	switch known.Reason {
	case DNSFailed, ConnectFailed, TLSFailed:
	case Timeout:
		if errors.Is(err, errNoSlot) {
			return nil
		}
	case HTTPStatus:
		var code status
		if !errors.As(err, &code) || code < http.StatusInternalServerError && code != http.StatusTooManyRequests {
			return nil
		}
	default:
		return nil
	}
	return &hostFailure{known, w.connected.Load()}
}

// hostPort is the same for all spellings of the host and port of an https URL.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(hostName(u), port)
}

// hostName is the same for all spellings of the host of a URL.
func hostName(u *url.URL) string { return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".") }
