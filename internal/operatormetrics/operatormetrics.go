// Package operatormetrics counts what the operator does, and tells the state of
// its tenants whenever it is asked, so that nothing is told of a tenant that is
// gone.
package operatormetrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
)

// Options say where the state of the tenants is.
type Options struct {
	// Tenants is the cache, which must hold the tenants of the namespace.
	Tenants   client.Reader
	Namespace string
	// Leading is closed once this process is the one of its replicas that works
	// and its cache is filled. The others tell nothing of tenants, so that each
	// is told of once.
	Leading <-chan struct{}
	Now     func() time.Time
}

// Metrics is a [prometheus.Collector] and safe for concurrent use. A collection
// of 10,000 tenants makes 30,000 series, and at most two more for a tenant that
// needs attention.
type Metrics struct {
	now            func() time.Time
	tenants        tenants
	fetches        *prometheus.CounterVec
	fetchDuration  prometheus.Histogram
	rollouts       prometheus.Counter
	rolloutChanges prometheus.Histogram
}

// New returns metrics at zero, which are registered nowhere.
func New(o Options) *Metrics {
	m := &Metrics{
		now:     o.Now,
		tenants: tenants{o},
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "saml_operator_metadata_fetches_total",
			Help: "Fetches of metadata from URLs by their result, a reason of the condition MetadataFetched. Tenants that share a download are counted each.",
		}, []string{"result"}),
		fetchDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "saml_operator_metadata_fetch_duration_seconds",
			Help: "How long a tenant waited for its identity provider's answer. Fetches that failed are not in it, since many of them do not go to the network at all.",
			// A fetch ends after 10 s.
			Buckets: []float64{0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10},
		}),
		rollouts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "saml_operator_gateway_rollouts_total",
			Help: "Rollouts of the gateway that the operator started.",
		}),
		rolloutChanges: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "saml_operator_gateway_rollout_tenants",
			Help:    "How many tenants' configurations were written between the start of a rollout of the gateway and that of the one before.",
			Buckets: []float64{1, 2, 5, 10, 50, 100, 500, 1000, 5000, 10000},
		}),
	}
	// A rate needs a zero to rise from.
	for _, result := range []string{
		v1alpha1.ReasonSucceeded, v1alpha1.ReasonNotModified, v1alpha1.ReasonDNSFailed, v1alpha1.ReasonConnectFailed,
		v1alpha1.ReasonTLSFailed, v1alpha1.ReasonTimeout, v1alpha1.ReasonHTTPStatus, v1alpha1.ReasonTooLarge,
		v1alpha1.ReasonRedirectNotAllowed, v1alpha1.ReasonURLNotAllowed,
	} {
		m.fetches.WithLabelValues(result)
	}
	return m
}

// RolloutStarted counts a rollout of the gateway that takes up the
// configurations of so many tenants.
func (m *Metrics) RolloutStarted(tenants int) {
	m.rollouts.Inc()
	m.rolloutChanges.Observe(float64(tenants))
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	m.tenants.Describe(ch)
	for _, c := range m.counted() {
		c.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.tenants.Collect(ch)
	for _, c := range m.counted() {
		c.Collect(ch)
	}
}

func (m *Metrics) counted() []prometheus.Collector {
	return []prometheus.Collector{m.fetches, m.fetchDuration, m.rollouts, m.rolloutChanges}
}
