package idpmetadata_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/idpmetadata"
)

// heldWeb answers each request once release is closed, and counts them.
type heldWeb struct {
	*web
	arrived chan string
	release chan struct{}
	served  atomic.Int32
	ended   atomic.Int32 // by the client, before the answer
}

func newHeldWeb(t *testing.T, answer http.HandlerFunc) *heldWeb {
	h := &heldWeb{arrived: make(chan string, 100), release: make(chan struct{})}
	h.web = newWebOf(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h.served.Add(1)
		h.arrived <- r.URL.Path
		select {
		case <-h.release:
			answer(rw, r)
		case <-r.Context().Done():
			h.ended.Add(1)
		}
	}))
	return h
}

type fetched struct {
	*idpmetadata.Result
	err error
}

// start fetches in the background.
func start(ctx context.Context, f *idpmetadata.Fetcher, request idpmetadata.Request) chan fetched {
	done := make(chan fetched, 1)
	go func() {
		result, err := f.Fetch(ctx, request)
		done <- fetched{result, err}
	}()
	return done
}

// requireWaiting waits until that many callers are under way.
func requireWaiting(t *testing.T, f *idpmetadata.Fetcher, callers int) {
	t.Helper()
	require.Eventually(t, func() bool { return f.Waiting() == callers }, 10*time.Second, time.Millisecond)
}

func TestFetchSharesOneDownload(t *testing.T) {
	const limit = 8
	document := bytes.Repeat([]byte(" "), 2<<20)
	w := newHeldWeb(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(document) })
	fetcher := w.fetcher(func(o *idpmetadata.FetcherOptions) {
		o.FetchesPerHost, o.LargeDocuments, o.MaxBytes, o.Timeout = limit, 1, 3<<20, time.Minute
	})
	request := idpmetadata.Request{URL: w.url("/large"), CABundle: w.ca}
	var all []chan fetched
	for range limit {
		all = append(all, start(t.Context(), fetcher, request))
	}
	requireWaiting(t, fetcher, limit)
	close(w.release)

	var results []*idpmetadata.Result
	for _, done := range all {
		got := <-done
		require.NoError(t, got.err)
		assert.Len(t, got.Document, len(document))
		results = append(results, got.Result)
	}
	assert.EqualValues(t, 1, w.served.Load())

	// The slot comes back with the last of them, however often one is closed.
	for _, r := range results[1:] {
		r.Close()
		r.Close()
		assert.Nil(t, r.Document)
	}
	assert.Len(t, results[0].Document, len(document))
	next := start(t.Context(), fetcher, request)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	got := <-start(ctx, fetcher, request)
	assertError(t, got.err, idpmetadata.Timeout)
	results[0].Close()
	got = <-next
	require.NoError(t, got.err)
	got.Close()
}

func TestFetchSharesOnlyTheVerySame(t *testing.T) {
	w := newHeldWeb(t, func(http.ResponseWriter, *http.Request) {})
	fetcher := w.fetcher()
	same := idpmetadata.Request{URL: w.url("/a"), CABundle: w.ca, ETag: `"1"`, LastModified: "then"}
	path, ca, etag, modified := same, same, same, same
	path.URL = w.url("/b")
	ca.CABundle = append([]byte("\n"), w.ca...)
	etag.ETag = `"2"`
	modified.LastModified = "now"
	var all []chan fetched
	for _, request := range []idpmetadata.Request{same, path, ca, etag, modified} {
		all = append(all, start(t.Context(), fetcher, request))
	}
	for range all {
		<-w.arrived
	}
	close(w.release)
	for _, done := range all {
		assert.NoError(t, (<-done).err)
	}
}

// Who leaves takes nobody along; when all have left, the download ends.
func TestFetchCancelledAmongOthers(t *testing.T) {
	w := newHeldWeb(t, func(http.ResponseWriter, *http.Request) {})
	fetcher := w.fetcher(func(o *idpmetadata.FetcherOptions) { o.FetchesPerHost, o.Timeout = 2, time.Minute })
	request := idpmetadata.Request{URL: w.url("/a"), CABundle: w.ca}
	impatient, cancel := context.WithCancel(t.Context())
	first := start(impatient, fetcher, request)
	<-w.arrived
	second := start(t.Context(), fetcher, request)
	requireWaiting(t, fetcher, 2)
	cancel()
	assert.ErrorIs(t, (<-first).err, context.Canceled)
	close(w.release)
	assert.NoError(t, (<-second).err)
	assert.EqualValues(t, 1, w.served.Load())

	w = newHeldWeb(t, func(http.ResponseWriter, *http.Request) {})
	request = idpmetadata.Request{URL: w.url("/a"), CABundle: w.ca}
	fetcher = w.fetcher(func(o *idpmetadata.FetcherOptions) { o.FetchesPerHost, o.Timeout = 2, time.Minute })
	impatient, cancel = context.WithCancel(t.Context())
	all := []chan fetched{start(impatient, fetcher, request), start(impatient, fetcher, request)}
	<-w.arrived
	requireWaiting(t, fetcher, 2)
	cancel()
	for _, done := range all {
		assert.ErrorIs(t, (<-done).err, context.Canceled)
	}
	assert.Eventually(t, func() bool { return w.ended.Load() == w.served.Load() }, 10*time.Second, time.Millisecond)
}

func TestFetchSparesTheHost(t *testing.T) {
	w := newHeldWeb(t, func(http.ResponseWriter, *http.Request) {})
	elsewhere := newWeb(t, nil)
	fetcher := w.fetcher(func(o *idpmetadata.FetcherOptions) { o.FetchesPerHost, o.Timeout = 4, time.Minute })
	fetch := func(url string) error {
		_, err := fetcher.Fetch(t.Context(), idpmetadata.Request{URL: url, CABundle: w.ca})
		return err
	}

	var all []chan fetched
	for _, path := range []string{"/1", "/2", "/3", "/4"} {
		all = append(all, start(t.Context(), fetcher, idpmetadata.Request{URL: w.url(path), CABundle: w.ca}))
		<-w.arrived
	}
	for _, url := range []string{w.url("/1"), w.url("/"), strings.Replace(w.url("/"), idpHost, "EXAMPLE.com.", 1)} {
		err := fetch(url)
		require.ErrorIs(t, err, idpmetadata.ErrHostBusy)
		assert.Empty(t, idpmetadata.ReasonOf(err), "not the tenant's fault")
		var busy *idpmetadata.HostBusyError
		require.ErrorAs(t, err, &busy)
		assert.GreaterOrEqual(t, busy.RetryAfter, 250*time.Millisecond)
		assert.LessOrEqual(t, busy.RetryAfter, 30*time.Second)
	}
	assert.NoError(t, fetch(elsewhere.url("/metadata")), "another port is another host")

	close(w.release)
	for _, done := range all {
		assert.NoError(t, (<-done).err)
	}
	for range 6 {
		assert.NoError(t, fetch(w.url("/")), "the host is free again")
	}
	for range 6 {
		assertError(t, fetch(elsewhere.url("/status/404")), idpmetadata.HTTPStatus)
	}
	assert.NoError(t, fetch(elsewhere.url("/metadata")), "failures end, too")
}

// The tenants of a host that is down learn so without another request.
func TestFetchFromAHostThatIsDown(t *testing.T) {
	w := newWeb(t, nil)
	fetcher := w.fetcher()
	clock := now
	fetcher.SetClock(func() time.Time { return clock })
	fetch := func(path string) error {
		_, err := fetcher.Fetch(t.Context(), idpmetadata.Request{URL: w.url(path), CABundle: w.ca})
		return err
	}
	for _, path := range []string{"/status/503?1", "/status/503?2", "/status/503?1", "/status/503?2", "/status/503?1"} {
		assertError(t, fetch(path), idpmetadata.HTTPStatus)
		clock = clock.Add(3 * time.Second)
	}
	clock = clock.Add(-3 * time.Second)
	asked := len(w.seen())
	for _, path := range []string{"/status/503?1", "/metadata"} {
		err := fetch(path)
		assertError(t, err, idpmetadata.HTTPStatus)
		assert.Contains(t, err.Error(), "503 Service Unavailable")
	}
	assert.Len(t, w.seen(), asked)

	clock = clock.Add(time.Second)
	assert.NoError(t, fetch("/metadata"), "the probe")
	assert.NoError(t, fetch("/metadata"))
	for range 10 {
		assertError(t, fetch("/status/404"), idpmetadata.HTTPStatus)
		clock = clock.Add(3 * time.Second)
	}
	assert.NoError(t, fetch("/metadata"), "404 is not the host's failure")
}
