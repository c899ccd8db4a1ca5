package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/refresh"
)

const gateway = "system:serviceaccount:sso:saml-gateway"

// world is an operator at an address, and a gateway with a token for it. The
// clock is theirs, and stands unless it is moved.
type world struct {
	t         *testing.T
	mu        sync.Mutex
	now       time.Time
	refreshed []string
	log       strings.Builder
	server    *httptest.Server
	tokenFile string
	client    *refresh.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Now(), tokenFile: filepath.Join(t.TempDir(), "token")}
	w.server = httptest.NewServer(refresh.NewHandler(refresh.Options{
		Authenticate: func(_ context.Context, token string) (string, error) {
			switch token {
			case "gateway's", "gateway's next":
				return gateway, nil
			case "somebody else's":
				return "system:serviceaccount:other:saml-gateway", nil
			case "puzzling":
				return "", errors.New("the API server is away")
			}
			return "", fmt.Errorf("%w: expired", refresh.ErrUnauthenticated)
		},
		User: gateway,
		Refresh: func(_ context.Context, tenant string) error {
			switch tenant {
			case "unknown":
				return refresh.ErrUnknownTenant
			case "troubled":
				return errors.New("not started")
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.refreshed = append(w.refreshed, tenant)
			return nil
		},
		Now: w.clock, Log: slog.New(slog.NewTextHandler(w, nil)),
	}))
	t.Cleanup(w.server.Close)
	w.token("gateway's\n")
	w.client = w.newClient()
	return w
}

func (w *world) newClient() *refresh.Client {
	w.t.Helper()
	operator, err := url.Parse(w.server.URL)
	require.NoError(w.t, err)
	return refresh.NewClient(operator, w.tokenFile, w.clock)
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(line)
}

func (w *world) token(content string) {
	w.t.Helper()
	require.NoError(w.t, os.WriteFile(w.tokenFile, []byte(content), 0o600))
}

// count returns how often a tenant was refreshed.
func (w *world) count(tenant string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(w.refreshed), func(other string) bool { return other != tenant }))
}

// post is a call by anybody.
func (w *world) post(tenant, authorization string) *http.Response {
	w.t.Helper()
	return w.do(http.MethodPost, "/refresh/"+tenant, authorization)
}

func (w *world) do(method, path, authorization string) *http.Response {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, http.NoBody)
	require.NoError(w.t, err)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := w.server.Client().Do(request)
	require.NoError(w.t, err)
	require.NoError(w.t, response.Body.Close())
	return response
}

func TestHandlerAnswers(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		method, path, authorization string
		want                        int
	}{
		{"POST", "/refresh/acme", "", http.StatusUnauthorized},
		{"POST", "/refresh/acme", "Bearer ", http.StatusUnauthorized},
		{"POST", "/refresh/acme", "Basic Z2F0ZXdheSdzOg==", http.StatusUnauthorized},
		{"POST", "/refresh/acme", "Bearer forged", http.StatusUnauthorized},
		{"POST", "/refresh/acme", "Bearer somebody else's", http.StatusForbidden},
		{"POST", "/refresh/acme", "Bearer puzzling", http.StatusServiceUnavailable},
		{"GET", "/refresh/acme", "Bearer gateway's", http.StatusMethodNotAllowed},
		{"POST", "/refresh/acme/globex", "Bearer gateway's", http.StatusNotFound},
		{"POST", "/refresh/", "Bearer gateway's", http.StatusNotFound},
		{"POST", "/", "Bearer gateway's", http.StatusNotFound},
		{"POST", "/refresh/unknown", "Bearer gateway's", http.StatusNotFound},
		{"POST", "/refresh/unknown", "Bearer gateway's", http.StatusNotFound},
		{"POST", "/refresh/troubled", "Bearer gateway's", http.StatusServiceUnavailable},
		{"POST", "/refresh/troubled", "Bearer gateway's", http.StatusServiceUnavailable},
	} {
		got := w.do(test.method, test.path, test.authorization)
		assert.Equal(t, test.want, got.StatusCode, "%s %s as %q", test.method, test.path, test.authorization)
		assert.Equal(t, test.want == http.StatusUnauthorized, got.Header.Get("WWW-Authenticate") == "Bearer")
	}
	assert.Zero(t, w.count("acme"), "nobody of these can cause a fetch")
	assert.Equal(t, http.StatusAccepted, w.post("acme", "Bearer gateway's").StatusCode)
	assert.Equal(t, 1, w.count("acme"))
	for _, token := range []string{"gateway's", "forged", "puzzling"} {
		assert.NotContains(t, w.log.String(), token+`"`, "no token is logged")
	}
}

func TestHandlerReadsNoBody(t *testing.T) {
	w := newWorld(t)
	body := strings.NewReader(strings.Repeat("x", 100))
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/refresh/acme", body)
	request.Header.Set("Authorization", "Bearer gateway's")
	recorder := httptest.NewRecorder()
	w.server.Config.Handler.ServeHTTP(recorder, request)
	assert.Equal(t, http.StatusAccepted, recorder.Code)
	assert.Equal(t, 100, body.Len())
}

func TestHandlerRefreshesATenantOnceInAnInterval(t *testing.T) {
	w := newWorld(t)
	assert.Equal(t, http.StatusAccepted, w.post("acme", "Bearer gateway's").StatusCode)
	w.advance(refresh.Interval - 1500*time.Millisecond)
	again := w.post("acme", "Bearer gateway's")
	assert.Equal(t, http.StatusTooManyRequests, again.StatusCode)
	assert.Equal(t, "2", again.Header.Get("Retry-After"), "whole seconds, and not too early")
	assert.Equal(t, http.StatusAccepted, w.post("globex", "Bearer gateway's").StatusCode, "another tenant does not wait")
	assert.Equal(t, 1, w.count("acme"))
	w.advance(1500 * time.Millisecond)
	assert.Equal(t, http.StatusAccepted, w.post("acme", "Bearer gateway's").StatusCode)
	assert.Equal(t, 2, w.count("acme"))
}

// The bound holds for tokens of any kind, since each costs a call of the API
// server.
func TestHandlerBoundsAllCallsTogether(t *testing.T) {
	for _, token := range []string{"gateway's", "forged"} {
		w := newWorld(t)
		calls := 0
		passed := func(n int) (passed int) {
			for range n {
				calls++
				if w.post(fmt.Sprintf("tenant-%d", calls), "Bearer "+token).StatusCode != http.StatusTooManyRequests {
					passed++
				}
			}
			return passed
		}
		assert.Equal(t, 50, passed(60))
		w.advance(500 * time.Millisecond)
		assert.Equal(t, 5, passed(10))
		w.advance(refresh.Interval)
		assert.Equal(t, 50, passed(60), "no more is saved up than at first")
	}
}

func TestClientAsksOnceInAnInterval(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.client.Refresh(t.Context(), "acme"))
	require.ErrorIs(t, w.client.Refresh(t.Context(), "acme"), refresh.ErrLimited)
	require.NoError(t, w.client.Refresh(t.Context(), "globex"))
	w.advance(refresh.Interval)
	require.NoError(t, w.client.Refresh(t.Context(), "acme"))
	assert.Equal(t, 2, w.count("acme"))
}

func TestClientBoundsAllItsCalls(t *testing.T) {
	w := newWorld(t)
	passed := 0
	for i := range 60 {
		if w.client.Refresh(t.Context(), fmt.Sprintf("tenant-%d", i)) == nil {
			passed++
		}
	}
	assert.Equal(t, 50, passed)
	w.advance(100 * time.Millisecond)
	require.NoError(t, w.client.Refresh(t.Context(), "tenant-59"), "one that was not asked for keeps its turn")
}

// What another gateway has asked for a moment ago is on its way.
func TestTwoClientsCauseOneRefresh(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.client.Refresh(t.Context(), "acme"))
	require.NoError(t, w.newClient().Refresh(t.Context(), "acme"))
	assert.Equal(t, 1, w.count("acme"))
}

func TestClientReadsItsTokenForEachCall(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.client.Refresh(t.Context(), "acme"))
	w.token("expired")
	require.ErrorContains(t, w.client.Refresh(t.Context(), "globex"), "401")
	require.NoError(t, os.Remove(w.tokenFile))
	require.ErrorIs(t, w.client.Refresh(t.Context(), "globex"), os.ErrNotExist)
	w.token("gateway's next")
	require.NoError(t, w.client.Refresh(t.Context(), "globex"), "a failure does not take the tenant's turn")
	assert.Equal(t, 1, w.count("globex"))
}

func TestClientTellsWhatCannotBeRefreshed(t *testing.T) {
	w := newWorld(t)
	require.ErrorIs(t, w.client.Refresh(t.Context(), "unknown"), refresh.ErrUnknownTenant)
	require.ErrorIs(t, w.client.Refresh(t.Context(), "unknown"), refresh.ErrLimited, "it is not asked again and again")
	for range 2 {
		require.ErrorContains(t, w.client.Refresh(t.Context(), "troubled"), "503")
	}
	w.server.Close()
	require.ErrorContains(t, w.client.Refresh(t.Context(), "acme"), "ask the operator")
}

// The token goes to the operator and to nobody whom it names.
func TestClientTakesItsTokenNowhereElse(t *testing.T) {
	w := newWorld(t)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s reached another server with %q", r.Method, r.URL, r.Header.Get("Authorization"))
	}))
	t.Cleanup(other.Close)
	redirecting := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	t.Cleanup(redirecting.Close)
	operator, err := url.Parse(redirecting.URL)
	require.NoError(t, err)
	require.ErrorContains(t, refresh.NewClient(operator, w.tokenFile, w.clock).Refresh(t.Context(), "acme"), "307")
}
