package idpmetadata_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/idpmetadata"
)

// newWebOf serves with the handler instead of the usual pages.
func newWebOf(t *testing.T, handler http.Handler) *web {
	t.Helper()
	return newWeb(t, func(s *httptest.Server) { s.Config.Handler = handler })
}

func largePages() http.Handler {
	large := bytes.Repeat([]byte(" "), 2<<20)
	mux := http.NewServeMux()
	mux.HandleFunc("/small", func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(large[:1<<20]) })
	mux.HandleFunc("/large", func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(large) })
	mux.HandleFunc("/too-large", func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write(large)
		_, _ = rw.Write(large)
	})
	mux.HandleFunc("/cut-off", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", "3000000")
		_, _ = rw.Write(large)
	})
	mux.HandleFunc("/broken-gzip", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(rw)
		_, _ = zip.Write(large)
		_ = zip.Flush()
	})
	mux.HandleFunc("/slow", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = rw.Write(large)
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/unchanged", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNotModified) })
	return mux
}

// largeFetcher has one slot.
func largeFetcher(w *web) func(ctx context.Context, path string) (*idpmetadata.Result, error) {
	fetcher := w.fetcher(func(o *idpmetadata.FetcherOptions) {
		o.LargeDocuments = 1
		o.MaxBytes = 3 << 20
		o.Timeout = time.Minute
	})
	return func(ctx context.Context, path string) (*idpmetadata.Result, error) {
		return fetcher.Fetch(ctx, idpmetadata.Request{URL: w.url(path), CABundle: w.ca, ETag: `"v1"`})
	}
}

// requireBusy asks with ever more patience, until that is long enough to
// learn that there is no slot.
func requireBusy(t *testing.T, fetch func(context.Context, string) (*idpmetadata.Result, error)) {
	t.Helper()
	for patience := 50 * time.Millisecond; patience < 20*time.Second; patience *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := fetch(ctx, "/large")
		cancel()
		assertError(t, err, idpmetadata.Timeout)
		if strings.Contains(err.Error(), "the operator is busy with other large documents") {
			return
		}
	}
	require.Fail(t, "no fetch was told that there is no slot")
}

func TestFetchHoldsFewLargeDocuments(t *testing.T) {
	fetch := largeFetcher(newWebOf(t, largePages()))

	one, err := fetch(t.Context(), "/large")
	require.NoError(t, err)
	assert.Len(t, one.Document, 2<<20)
	requireBusy(t, fetch)
	small, err := fetch(t.Context(), "/small")
	require.NoError(t, err, "needs no slot")
	assert.Len(t, small.Document, 1<<20)
	small.Close()
	requireBusy(t, fetch)

	one.Close()
	assert.Nil(t, one.Document, "the memory goes with the slot")
	two, err := fetch(t.Context(), "/large")
	require.NoError(t, err)
	one.Close()
	requireBusy(t, fetch)

	waiting := make(chan error, 1)
	go func() {
		three, err := fetch(t.Context(), "/large")
		three.Close()
		waiting <- err
	}()
	two.Close()
	assert.NoError(t, <-waiting)

	var none *idpmetadata.Result
	none.Close()
}

// However many there are, one host leaves a slot to the others.
func TestFetchHoldsOneLargeDocumentOfAHost(t *testing.T) {
	one, two := newWebOf(t, largePages()), newWebOf(t, largePages())
	fetcher := one.fetcher(func(o *idpmetadata.FetcherOptions) { o.MaxBytes, o.Timeout = 3<<20, time.Minute })
	one.resolve("EXAMPLE.com", "127.0.0.1")
	fetch := func(ctx context.Context, url string) (*idpmetadata.Result, error) {
		return fetcher.Fetch(ctx, idpmetadata.Request{URL: url, CABundle: append(one.ca, two.ca...)})
	}
	held, err := fetch(t.Context(), one.url("/large"))
	require.NoError(t, err)
	for _, url := range []string{one.url("/large?2"), two.url("/large"), strings.Replace(one.url("/large?3"), idpHost, "EXAMPLE.com", 1)} {
		requireBusy(t, func(ctx context.Context, _ string) (*idpmetadata.Result, error) { return fetch(ctx, url) })
	}
	free, err := fetch(t.Context(), "https://127.0.0.1:"+one.port+"/large")
	require.NoError(t, err)
	free.Close()
	held.Close()
	again, err := fetch(t.Context(), two.url("/large"))
	require.NoError(t, err)
	again.Close()
}

func TestFetchGivesTheSlotBack(t *testing.T) {
	started := make(chan struct{}, 1)
	pages := largePages()
	fetch := largeFetcher(newWebOf(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			started <- struct{}{}
		}
		pages.ServeHTTP(rw, r)
	})))
	requireFree := func() {
		t.Helper()
		result, err := fetch(t.Context(), "/large")
		require.NoError(t, err)
		result.Close()
	}

	for path, reason := range map[string]idpmetadata.Reason{
		"/too-large":   idpmetadata.TooLarge,
		"/cut-off":     idpmetadata.ConnectFailed,
		"/broken-gzip": idpmetadata.ConnectFailed,
	} {
		_, err := fetch(t.Context(), path)
		assertError(t, err, reason)
		requireFree()
	}

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := fetch(ctx, "/slow")
	assertError(t, err, idpmetadata.Timeout)
	requireFree()

	select { // that of the fetch before, if it came so far
	case <-started:
	default:
	}
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	_, err = fetch(ctx, "/slow")
	require.ErrorIs(t, err, context.Canceled)
	requireFree()

	result, err := fetch(t.Context(), "/unchanged")
	require.NoError(t, err)
	assert.True(t, result.NotModified)
	requireFree()
	result.Close()
	requireFree()
}

// Cancelled is not busy, though there is no slot.
func TestFetchCancelledWithoutSlot(t *testing.T) {
	fetch := largeFetcher(newWebOf(t, largePages()))
	one, err := fetch(t.Context(), "/large")
	require.NoError(t, err)
	defer one.Close()

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := fetch(ctx, "/large?another")
		done <- err
	}()
	requireBusy(t, fetch)
	cancel()
	err = <-done
	require.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, idpmetadata.ReasonOf(err))
}
