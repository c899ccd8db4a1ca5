package operatormetrics

import (
	"context"
	"errors"
	"time"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
)

// Fetcher downloads metadata.
type Fetcher interface {
	Fetch(context.Context, idpmetadata.Request) (*idpmetadata.Result, error)
}

// Count returns a fetcher that does what next does, and counts it.
func (m *Metrics) Count(next Fetcher) Fetcher { return &countedFetcher{next, m} }

type countedFetcher struct {
	next    Fetcher
	metrics *Metrics
}

// Fetch implements [Fetcher].
func (f *countedFetcher) Fetch(ctx context.Context, request idpmetadata.Request) (*idpmetadata.Result, error) {
	start := f.metrics.now()
	result, err := f.next.Fetch(ctx, request)
	f.metrics.fetched(result, err, f.metrics.now().Sub(start))
	return result, err
}

func (m *Metrics) fetched(result *idpmetadata.Result, err error, took time.Duration) {
	switch {
	case errors.Is(err, idpmetadata.ErrHostBusy), errors.Is(err, context.Canceled):
		// Put off, or given up because the operator ends: nobody was asked.
		return
	case err != nil:
		m.fetches.WithLabelValues(failure(err)).Inc()
		return
	case result.NotModified:
		m.fetches.WithLabelValues(v1alpha1.ReasonNotModified).Inc()
	default:
		m.fetches.WithLabelValues(v1alpha1.ReasonSucceeded).Inc()
	}
	m.fetchDuration.Observe(took.Seconds())
}

// failure is the reason that the condition has as well.
func failure(err error) string {
	if reason := idpmetadata.ReasonOf(err); reason != "" {
		return string(reason)
	}
	return v1alpha1.ReasonConnectFailed
}
