package gatewaymetrics

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cequence.cloud/saml-operator/internal/store"
)

// What the gateway asks of the store for sign-ins and sessions. It asks for
// revoked sessions every second, so that a store that is away shows at once.
const (
	recordSignIn = iota
	getSession
	revokeSession
	recordLogout
	revokedSessions
	appendAudit
	operations
)

var operationNames = [operations]string{"record_sign_in", "get_session", "revoke_session", "record_logout", "revoked_sessions", "append_audit"}

type storeMetrics struct {
	duration *prometheus.HistogramVec
	errors   *prometheus.CounterVec
	observed [operations]prometheus.Observer
	failed   [operations]prometheus.Counter
}

func newStoreMetrics() storeMetrics {
	m := storeMetrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "store_duration_seconds", Help: "How long the database took, errors included.",
			// A call is given up after 5 s.
			Buckets: []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5},
		}, []string{"operation"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "store_errors_total", Help: "Calls of the database that failed. A refusal, as of an assertion that was used before, is none.",
		}, []string{"operation"}),
	}
	for operation, name := range operationNames {
		m.observed[operation] = m.duration.WithLabelValues(name)
		m.failed[operation] = m.errors.WithLabelValues(name)
	}
	return m
}

// answers are errors by which the store says no.
var answers = []error{
	store.ErrReplayed, store.ErrRequestAnswered, store.ErrAssertionExpired, store.ErrLoggedOut, store.ErrUserUnknown,
	store.ErrTooManyUsers, store.ErrUserDisabled, store.ErrUserInactive, store.ErrNotFound, context.Canceled,
}

// Store returns a store that does what next does, and measures it.
func (m *Metrics) Store(next store.Store) store.Store { return &measuredStore{next, &m.store} }

type measuredStore struct {
	store.Store
	metrics *storeMetrics
}

// measure is deferred with the time of now.
func (m *storeMetrics) measure(operation int, begun time.Time, err *error) {
	m.observed[operation].Observe(time.Since(begun).Seconds())
	if *err != nil && !slices.ContainsFunc(answers, func(answer error) bool { return errors.Is(*err, answer) }) {
		m.failed[operation].Inc()
	}
}

// RecordSignIn implements store.Store.
func (s *measuredStore) RecordSignIn(ctx context.Context, signIn store.SignIn) (result store.SignInResult, err error) {
	defer s.metrics.measure(recordSignIn, time.Now(), &err)
	return s.Store.RecordSignIn(ctx, signIn) //nolint:wrapcheck // the store's
}

// GetSession implements store.Store.
func (s *measuredStore) GetSession(ctx context.Context, tenant, id string) (session store.Session, err error) {
	defer s.metrics.measure(getSession, time.Now(), &err)
	return s.Store.GetSession(ctx, tenant, id) //nolint:wrapcheck // the store's
}

// RevokeSession implements store.Store.
func (s *measuredStore) RevokeSession(ctx context.Context, id string, until time.Time) (err error) {
	defer s.metrics.measure(revokeSession, time.Now(), &err)
	return s.Store.RevokeSession(ctx, id, until) //nolint:wrapcheck // the store's
}

// RecordLogout implements store.Store.
func (s *measuredStore) RecordLogout(ctx context.Context, l store.Logout) (ended map[string]time.Time, err error) {
	defer s.metrics.measure(recordLogout, time.Now(), &err)
	return s.Store.RecordLogout(ctx, l) //nolint:wrapcheck // the store's
}

// RevokedSessions implements store.Store.
func (s *measuredStore) RevokedSessions(ctx context.Context, after int64) (revoked map[string]time.Time, last int64, err error) {
	defer s.metrics.measure(revokedSessions, time.Now(), &err)
	return s.Store.RevokedSessions(ctx, after) //nolint:wrapcheck // the store's
}

// AppendAudit implements store.Store.
func (s *measuredStore) AppendAudit(ctx context.Context, entries []store.AuditEntry) (err error) {
	defer s.metrics.measure(appendAudit, time.Now(), &err)
	return s.Store.AppendAudit(ctx, entries) //nolint:wrapcheck // the store's
}
