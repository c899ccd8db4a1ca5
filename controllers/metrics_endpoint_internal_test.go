package controllers

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
)

// protected is a handler that tells everything to whom it lets through.
func protected(t *testing.T, apiServer http.HandlerFunc) http.Handler {
	t.Helper()
	server := httptest.NewServer(apiServer)
	t.Cleanup(server.Close)
	filter, err := protectMetrics(&rest.Config{Host: server.URL, QPS: -1}, server.Client())
	require.NoError(t, err)
	handler, err := filter(logr.Discard(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("everything"))
	}))
	require.NoError(t, err)
	return handler
}

func ask(t *testing.T, handler http.Handler) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody)
	request.Header.Set("Authorization", "Bearer x")
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	return answer
}

func TestMetricsAreRefusedWhileTheAPIServerCannotTell(t *testing.T) {
	const authenticated = `{"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": {"authenticated": true, "user": {"username": "x"}}}`
	for what, reviews := range map[string]http.HandlerFunc{
		"it fails": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"it fails after it knew the token": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(authenticated))
		},
	} {
		answer := ask(t, protected(t, reviews))
		assert.Equal(t, http.StatusServiceUnavailable, answer.Code, what)
		assert.NotContains(t, answer.Body.String(), "everything", what)
	}
}

func TestStrangersCannotFloodTheAPIServer(t *testing.T) {
	const strangers = 5 * maxReviews
	var (
		lock          sync.Mutex
		atOnce, most  int
		all           sync.WaitGroup
		full, proceed = make(chan struct{}), make(chan struct{})
	)
	handler := protected(t, func(w http.ResponseWriter, _ *http.Request) {
		lock.Lock()
		atOnce++
		most = max(most, atOnce)
		if atOnce == maxReviews && most == maxReviews {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		lock.Unlock()
		<-proceed
		lock.Lock()
		atOnce--
		lock.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1"}`))
	})
	for range strangers {
		all.Go(func() { assert.Equal(t, http.StatusUnauthorized, ask(t, handler).Code) })
	}
	<-full
	close(proceed)
	all.Wait()
	assert.Equal(t, maxReviews, most)
}
