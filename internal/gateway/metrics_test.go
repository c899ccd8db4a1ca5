package gateway_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// scrape returns the gateway's metrics as Prometheus gets them.
func (w *world) scrape() string {
	w.t.Helper()
	rw := httptest.NewRecorder()
	w.gateway.Internal().ServeHTTP(rw, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Equal(w.t, http.StatusOK, rw.Code)
	return rw.Body.String()
}

// metric is the value of a series, or 0 if there is none.
func (w *world) metric(series string) float64 {
	w.t.Helper()
	for line := range strings.Lines(w.scrape()) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			require.NoError(w.t, err)
			return n
		}
	}
	return 0
}

func TestMetricsTellWhatHappens(t *testing.T) {
	held := make(chan struct{})
	w := newWorld(t, inFrontOf(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/broken":
			rw.WriteHeader(http.StatusInternalServerError)
		case "/hangs-up":
			_, _ = io.WriteString(rw, strings.Repeat("x", 16<<10)) // enough for no second try
			_ = http.NewResponseController(rw).Flush()
			panic(http.ErrAbortHandler)
		case "/socket":
			if conn, err := websocket.Accept(rw, r, nil); err == nil {
				<-held
				_ = conn.CloseNow()
			}
		}
	}), func(_ *world, o *gateway.Options) { o.MaxRequests = 1 })
	// rises has a series rise by one.
	rises := func(series string, by func()) {
		t.Helper()
		before := w.metric(series)
		by()
		w.eventually(series+" rises", func() bool { return w.metric(series) == before+1 })
	}
	p := w.person()
	rises(`saml_gateway_sign_ins_total{code="",outcome="success"}`, func() { p.signIn(acme) })
	rises(`saml_gateway_sign_ins_total{code="issuer_mismatch",outcome="refused"}`, func() {
		requestID, relayState := p.login(acme, "/")
		p.post(acme, w.issue(globex, acme, requestID), relayState)
	})
	rises(`saml_gateway_requests_total{class="sign_in",code="3xx"}`, func() { p.login(acme, "/") })
	rises(`saml_gateway_requests_total{class="application",code="2xx"}`, func() { p.get(site(acme) + "/") })
	rises(`saml_gateway_request_duration_seconds_count{class="application"}`, func() { p.get(site(acme) + "/") })
	rises(`saml_gateway_requests_total{class="application",code="5xx"}`, func() { p.get(site(acme) + "/broken") })
	rises(`saml_gateway_requests_total{class="application",code="aborted"}`, func() {
		if response, err := p.client.Do(p.request(http.MethodGet, site(acme)+"/hangs-up", nil)); err == nil {
			_ = response.Body.Close()
		}
	})
	rises(`saml_gateway_requests_total{class="other",code="4xx"}`, func() { p.get(site(acme) + "/saml/nothing") })
	rises(`saml_gateway_store_duration_seconds_count{operation="record_sign_in"}`, func() { p.signIn(acme) })
	rises(`saml_gateway_requests_total{class="application",code="1xx"}`, func() {
		conn, _, err := websocket.Dial(t.Context(), "wss://"+host(acme)+"/socket", &websocket.DialOptions{HTTPClient: p.client}) //nolint:bodyclose // a WebSocket
		require.NoError(t, err)
		assert.EqualValues(t, 1, w.metric("saml_gateway_streams"))
		assert.EqualValues(t, 1, w.metric("saml_gateway_application_requests"))
		rises(`saml_gateway_refused_requests_total{bound="application"}`, func() { p.get(site(acme) + "/") })
		close(held)
		_ = conn.CloseNow()
	})
	rises(`saml_gateway_sign_outs_total{outcome="success"}`, func() {
		p.do(p.request(http.MethodPost, site(acme)+"/saml/logout", nil))
	})
	assert.EqualValues(t, 1, w.metric("saml_gateway_ready"))
	assert.EqualValues(t, 2, w.metric(`saml_gateway_tenants{state="served"}`))
	w.writeFile(acme, tenantconfig.FileConfig, []byte("{"))
	w.writeFile("initech", tenantconfig.FileConfig, []byte("{"))
	w.eventually("bad configurations show", func() bool {
		return w.metric(`saml_gateway_tenants{state="served"}`) == 1 && w.metric(`saml_gateway_tenants{state="stale"}`) == 1 && w.metric(`saml_gateway_tenants{state="refused"}`) == 1
	})
	assert.Positive(t, w.metric("go_goroutines"))
	assert.Positive(t, w.metric("process_resident_memory_bytes"))

	problems, err := promlint.New(strings.NewReader(w.scrape())).Lint()
	require.NoError(t, err)
	assert.Empty(t, problems)
	for line := range strings.Lines(w.scrape()) {
		assert.NotContains(t, line, acme, "metrics tell of no customer")
	}
}

func TestMetricsOfTheStore(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	const failed = `saml_gateway_store_errors_total{operation="record_sign_in"}`
	requestID, relayState := p.login(acme, "/")
	response := w.issue(acme, acme, requestID)
	other := w.person()
	p.give(acme, other, acme) // a copy of the browser
	p.post(acme, response, relayState)
	other.post(acme, response, relayState)
	assert.EqualValues(t, 3, w.metric(`saml_gateway_store_duration_seconds_count{operation="record_sign_in"}`))
	assert.Zero(t, w.metric(failed), "a replay is no failure of the database")

	requestID, relayState = p.login(acme, "/")
	require.NoError(t, w.gateway.Close())
	p.post(acme, w.issue(acme, acme, requestID), relayState)
	assert.EqualValues(t, 1, w.metric(failed))
	w.eventually("polling shows it, too", func() bool { return w.metric(`saml_gateway_store_errors_total{operation="revoked_sessions"}`) > 0 })
}
