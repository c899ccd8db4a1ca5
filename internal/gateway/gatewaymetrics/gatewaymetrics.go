// Package gatewaymetrics counts what a gateway does. No series is one tenant's:
// ten thousand tenants have as many as one, and nothing is told of a customer to
// whoever may read metrics. What concerns one tenant is in the log.
package gatewaymetrics

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"cequence.cloud/saml-operator/internal/gateway/admission"
	"cequence.cloud/saml-operator/internal/gateway/audit"
	"cequence.cloud/saml-operator/internal/gateway/streams"
	"cequence.cloud/saml-operator/internal/gateway/tenant"
)

const namespace = "saml_gateway"

// Metrics are those of one gateway, in a registry of their own with those of the
// process. All methods may be called concurrently.
type Metrics struct {
	registry  *prometheus.Registry
	requests  requests
	signIns   *prometheus.CounterVec
	signOuts  *prometheus.CounterVec
	refreshes *prometheus.CounterVec
	store     storeMetrics
}

// New returns metrics at zero.
func New() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: newRequests(),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "sign_ins_total",
			Help: "Sign-ins by how they ended, and the code of the refusal as in the audit log.",
		}, []string{"outcome", "code"}),
		signOuts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "sign_outs_total",
			Help: "Sign-outs here or at the identity provider, by how they ended.",
		}, []string{"outcome"}),
		refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "refresh_requests_total",
			Help: "Requests to the operator to fetch metadata, since an identity provider signed with a key that was not announced.",
		}, []string{"result"}),
		store: newStoreMetrics(),
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.requests.total, m.requests.duration, m.signIns, m.signOuts, m.refreshes, m.store.duration, m.store.errors)
	// A rate needs a zero to rise from.
	m.signIns.WithLabelValues(audit.OutcomeSuccess, "")
	m.signOuts.WithLabelValues(audit.OutcomeSuccess)
	for _, result := range []string{success, failure} {
		m.refreshes.WithLabelValues(result)
	}
	return m
}

// What became of a request to the operator.
const success, failure = "success", "error"

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Audited counts an entry of the audit log.
func (m *Metrics) Audited(e audit.Entry) {
	switch e.Event {
	case audit.EventSignIn:
		m.signIns.WithLabelValues(e.Outcome, e.Code).Inc()
	case audit.EventSignOut:
		m.signOuts.WithLabelValues(e.Outcome).Inc()
	}
}

// Refresh returns a function that does what next does, and counts it; nil for
// nil.
func (m *Metrics) Refresh(next func(context.Context, string) error) func(context.Context, string) error {
	if next == nil {
		return nil
	}
	return func(ctx context.Context, tenant string) error {
		err := next(ctx, tenant)
		result := success
		if err != nil {
			result = failure
		}
		m.refreshes.WithLabelValues(result).Inc()
		return err
	}
}

// Watch tells of what is there at each scrape.
func (m *Metrics) Watch(application, own *admission.Gate, clients, owners *admission.Clients, open *streams.Set, tenants func() []tenant.Status, ready func() error) {
	m.gauge("application_requests", "Requests to the application that are open, WebSockets and streams included.", func() float64 { return float64(application.Inside()) })
	m.gauge("queued_requests", "Requests to the application that wait for others to end.", func() float64 { return float64(application.Waiting()) })
	m.gauge("streams", "WebSockets and streams of events that are open.", func() float64 { return float64(open.Open()) })
	m.gauge("ready", "1 once the tenants are loaded and the database was there, else 0.", func() float64 {
		if ready() != nil {
			return 0
		}
		return 1
	})
	for reason, refused := range map[string]func() int64{"application": application.Refused, "own": own.Refused, "client": clients.Refused, "tenant": owners.Refused} {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: namespace, Name: "refused_requests_total", ConstLabels: prometheus.Labels{"bound": reason},
			Help: "Requests that were answered by 503, since too many others were open: to the application, to the gateway's own endpoints, of one client, or to one tenant's own application.",
		}, func() float64 { return float64(refused()) }))
	}
	m.registry.MustRegister(tenantCollector{tenants})
}

// Connections tells of the connections of clients.
func (m *Metrics) Connections(open, refused func() int64) {
	m.gauge("connections", "Connections of clients that are open.", func() float64 { return float64(open()) })
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: "refused_connections_total", Help: "Connections that were closed at once, since too many others were open.",
	}, func() float64 { return float64(refused()) }))
}

// Certificates tells when the first of the TLS certificates expires.
func (m *Metrics) Certificates(expiry func() time.Time) {
	m.gauge("certificate_expiry_timestamp_seconds", "When the first of the gateway's TLS certificates expires.", func() float64 { return float64(expiry().Unix()) })
}

func (m *Metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, value))
}

var tenantsDesc = prometheus.NewDesc(namespace+"_tenants",
	"Tenants by what the gateway does for them: served, stale if their newest configuration is of no use and the one before is served, or refused if there was none.",
	[]string{"state"}, nil)

// tenantCollector counts the tenants of now.
type tenantCollector struct{ tenants func() []tenant.Status }

// Describe implements prometheus.Collector.
func (tenantCollector) Describe(ch chan<- *prometheus.Desc) { ch <- tenantsDesc }

// Collect implements prometheus.Collector.
func (c tenantCollector) Collect(ch chan<- prometheus.Metric) {
	states := map[string]int{"served": 0, "stale": 0, "refused": 0}
	for _, status := range c.tenants() {
		switch {
		case status.Host == "":
			states["refused"]++
		case status.Problem != "":
			states["stale"]++
		default:
			states["served"]++
		}
	}
	for state, n := range states {
		ch <- prometheus.MustNewConstMetric(tenantsDesc, prometheus.GaugeValue, float64(n), state)
	}
}
