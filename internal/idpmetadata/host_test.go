package idpmetadata

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, time.November, 24, 12, 0, 0, 0, time.UTC)

// testHosts have a clock that stands still and no randomness.
func testHosts(limit int) (*hosts, *time.Time) {
	h, now := newHosts(limit), noon
	h.now = func() time.Time { return now }
	h.random = func() float64 { return 0 }
	return h, &now
}

func to(host, url string) visit { return visit{host: host, url: url} }

func TestTurnAway(t *testing.T) {
	for name, tc := range map[string]struct {
		took   time.Duration
		before int     // turned away before
		random float64 // as rand gives it
		want   time.Duration
	}{
		"a quick host, soon":          {took: 160 * time.Millisecond, want: 250 * time.Millisecond},
		"spread":                      {took: 160 * time.Millisecond, random: 0.5, want: 312500 * time.Microsecond},
		"after those before":          {took: 160 * time.Millisecond, before: 99, want: time.Second},
		"a slow host, later":          {took: 10 * time.Second, before: 9, want: 6250 * time.Millisecond},
		"no later than there is room": {took: 10 * time.Second, before: 9999, want: 20 * time.Second},
		"and spread there":            {took: 10 * time.Second, before: 9999, random: 1, want: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			l := load{took: tc.took}
			for range tc.before {
				l.turnAway(&l.booked, noon, 16, maxRetryAfter, 0)
			}
			assert.Equal(t, tc.want, l.turnAway(&l.booked, noon, 16, maxRetryAfter, tc.random))
		})
	}
	l := load{took: 16 * time.Second}
	assert.Equal(t, time.Second, l.turnAway(&l.booked, noon, 16, maxRetryAfter, 0))
	assert.Equal(t, 2*time.Second, l.turnAway(&l.booked, noon, 16, maxRetryAfter, 0))
	assert.Equal(t, time.Second, l.turnAway(&l.booked, noon.Add(time.Minute), 16, maxRetryAfter, 0), "what was promised has passed")
}

func TestARefreshLeavesRoomForThoseWhoCannotWait(t *testing.T) {
	h, _ := testHosts(4)
	refresh, urgent := visit{host: "idp:443", waits: true}, visit{host: "idp:443"}
	for range 3 {
		_, err := h.enter(refresh)
		require.NoError(t, err)
	}
	var busy *HostBusyError
	for range 2000 {
		_, err := h.enter(refresh)
		require.ErrorAs(t, err, &busy)
	}
	assert.Equal(t, maxRetryOfWaiting, busy.RetryAfter)
	_, err := h.enter(urgent)
	require.NoError(t, err)
	_, err = h.enter(urgent)
	require.ErrorAs(t, err, &busy)
	assert.Equal(t, minRetryAfter, busy.RetryAfter, "the refreshes before do not count")

	h, _ = testHosts(1)
	_, err = h.enter(refresh)
	require.NoError(t, err, "one at least")
}

func TestHostsLearnHowLongAFetchTakes(t *testing.T) {
	h, _ := testHosts(1)
	v := to("idp:443", "/")
	_, err := h.enter(v)
	require.NoError(t, err)
	for range 50 {
		h.ended(v, 8*time.Second, nil)
	}
	_, err = h.enter(v)
	var busy *HostBusyError
	require.ErrorAs(t, err, &busy)
	assert.InDelta(t, 8*time.Second, busy.RetryAfter, float64(time.Second))
}

func TestHostsKeepNothingOfHostsThatAreWell(t *testing.T) {
	h, _ := testHosts(4)
	for i := range 100 {
		v := to(fmt.Sprint(i), "/")
		leave, err := h.enter(v)
		require.NoError(t, err)
		h.ended(v, time.Second, nil)
		leave()
	}
	assert.Empty(t, h.loads)
	assert.Empty(t, h.troubles)

	for i := range 2 * maxTroubled {
		v := to(fmt.Sprint(i), "/")
		leave, err := h.enter(v)
		require.NoError(t, err)
		h.ended(v, time.Second, &hostFailure{Error: fail(ConnectFailed, nil, "x; y")})
		leave()
	}
	assert.Empty(t, h.loads)
	assert.Len(t, h.troubles, maxTroubled)
}

// step is a fetch after some time: admitted and ended so, or turned away.
type step struct {
	after   time.Duration
	url     string
	trust   byte
	failure Reason // of the fetch, empty for none
	reached bool
	away    bool
}

func TestHostsThatAreDown(t *testing.T) {
	repeat := func(n int, s step) (steps []step) {
		for range n {
			steps = append(steps, s)
		}
		return steps
	}
	then := func(steps []step, more ...step) []step { return append(steps[:len(steps):len(steps)], more...) }
	refused := step{after: 3 * time.Second, url: "/a", failure: ConnectFailed}
	broken := step{after: 3 * time.Second, url: "/a", failure: HTTPStatus, reached: true}
	down := repeat(5, refused)

	for name, steps := range map[string][]step{
		"up":                           repeat(10, step{url: "/a"}),
		"not down by a few":            then(repeat(4, refused), step{url: "/a"}),
		"not down within moments":      then(repeat(5, step{url: "/a", failure: ConnectFailed}), step{url: "/b"}),
		"down":                         then(down, step{url: "/a", away: true}, step{url: "/b", away: true}),
		"up in between":                then(then(repeat(4, refused), step{url: "/b"}), then(repeat(4, refused), step{url: "/a"})...),
		"probed, up again":             then(down, step{after: time.Second, url: "/b"}, step{url: "/a"}, step{url: "/a"}),
		"other trust, other handshake": then(down, step{url: "/a", trust: 1}),
		"one URL, not the host":        then(repeat(5, broken), step{url: "/a", away: true}, step{url: "/b"}),
		"two URLs are the host":        then(then(repeat(5, broken), step{url: "/b", failure: HTTPStatus, reached: true}), step{url: "/c", away: true}),
		"probed with growing pauses": then(down,
			step{after: 999 * time.Millisecond, url: "/a", away: true},
			step{after: time.Millisecond, url: "/a", failure: ConnectFailed},
			step{after: 999 * time.Millisecond, url: "/a", away: true},
			step{after: time.Millisecond, url: "/a", failure: ConnectFailed},
			step{after: 1999 * time.Millisecond, url: "/a", away: true},
			step{after: time.Millisecond, url: "/a", failure: Timeout},
			step{after: 3999 * time.Millisecond, url: "/a", away: true},
		),
		"of a minute at most": then(then(down, repeat(20, step{after: time.Minute, url: "/a", failure: Timeout})...),
			step{after: 59 * time.Second, url: "/a", away: true}, step{after: time.Second, url: "/a"}, step{url: "/a"}),
	} {
		t.Run(name, func(t *testing.T) {
			h, now := testHosts(4)
			var last Reason
			for i, s := range steps {
				*now = now.Add(s.after)
				v := to("idp:443", s.url)
				v.trust[0] = s.trust
				leave, err := h.enter(v)
				if s.away {
					require.Equal(t, last, ReasonOf(err), "step %d", i)
					require.EqualError(t, err, string(last)+"; x")
					require.NotErrorIs(t, err, ErrHostBusy)
					continue
				}
				require.NoError(t, err, "step %d", i)
				var failure *hostFailure
				if s.failure != "" {
					failure = &hostFailure{fail(s.failure, nil, "%s; x", s.failure), s.reached}
					last = s.failure
				}
				h.ended(v, time.Second, failure)
				leave()
			}
		})
	}
}

// A host that is down has one worker, and all of them have a host's share.
func TestHostsThatAreDownHoldFewWorkers(t *testing.T) {
	h, now := testHosts(2)
	fall := func(host string) {
		for range 5 {
			leave, err := h.enter(to(host, "/"))
			require.NoError(t, err)
			h.ended(to(host, "/"), 10*time.Second, &hostFailure{Error: fail(Timeout, nil, "x; y")})
			leave()
			*now = now.Add(3 * time.Second)
		}
	}
	for _, host := range []string{"a", "b", "c"} {
		fall(host)
	}
	*now = now.Add(time.Minute)
	probe, err := h.enter(to("a", "/"))
	require.NoError(t, err)
	_, err = h.enter(to("a", "/"))
	assert.Equal(t, Timeout, ReasonOf(err), "is being probed")
	_, err = h.enter(to("b", "/"))
	require.NoError(t, err)
	_, err = h.enter(to("c", "/"))
	assert.Equal(t, Timeout, ReasonOf(err), "enough are being probed")
	_, err = h.enter(to("d", "/"))
	require.NoError(t, err, "is not down")
	probe() // without an outcome, as when it was cancelled
	_, err = h.enter(to("c", "/"))
	assert.NoError(t, err)
}

func TestFailureOf(t *testing.T) {
	redirected, reached := &way{redirected: true}, &way{}
	reached.connected.Store(true)
	for name, tc := range map[string]struct {
		err  error
		way  *way
		want bool
	}{
		"none":                      {err: nil},
		"DNS":                       {err: fail(DNSFailed, nil, "x"), want: true},
		"connection":                {err: fail(ConnectFailed, nil, "x"), want: true},
		"broken connection":         {err: fail(ConnectFailed, nil, "x"), way: reached, want: true},
		"TLS":                       {err: fail(TLSFailed, nil, "x"), want: true},
		"time":                      {err: fail(Timeout, context.DeadlineExceeded, "x"), want: true},
		"our own lack of room":      {err: fail(Timeout, errNoSlot, "x")},
		"connection, next hop":      {err: fail(ConnectFailed, nil, "x"), way: redirected},
		"time, next hop":            {err: fail(Timeout, nil, "x"), way: redirected},
		"500":                       {err: statusError(500), want: true},
		"503":                       {err: statusError(503), want: true},
		"429":                       {err: statusError(429), want: true},
		"404":                       {err: statusError(404)},
		"403":                       {err: statusError(403)},
		"size":                      {err: fail(TooLarge, nil, "x")},
		"address":                   {err: fail(URLNotAllowed, nil, "x")},
		"redirect":                  {err: fail(RedirectNotAllowed, nil, "x")},
		"something that is no news": {err: context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			w := tc.way
			if w == nil {
				w = &way{}
			}
			failure := failureOf(tc.err, w)
			assert.Equal(t, tc.want, failure != nil)
			if failure != nil {
				assert.Equal(t, w == reached, failure.reached)
			}
		})
	}
}
