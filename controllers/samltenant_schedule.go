package controllers

import (
	"math/rand/v2"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cequence.cloud/saml-operator/internal/idpmetadata"
)

// Times between two fetches.
const (
	minRefresh = 5 * time.Minute
	// Backoff with a last-known-good, doubling up to the interval.
	firstBackgroundRetry = time.Minute
	// Backoff while the customer cannot sign in, and of failures to reach the
	// API server.
	firstRetry, maxRetry = time.Second, 5 * time.Minute
	// stalledRecheck looks again at what no watch reports, such as a foreign
	// Secret that went away.
	stalledRecheck = 5 * time.Minute
	// jitter spreads the refreshes of tenants that were created together, only
	// to the early side: what must be refreshed by a time is.
	jitter = 0.2
)

func (s *scope) succeededRefresh(interval time.Duration) {
	s.tenant.Status.ConsecutiveFailures = 0
	s.refreshAfter(spread(refreshInterval(interval, s.idp, s.now)))
}

func (s *scope) failedRefresh(interval time.Duration) {
	s.tenant.Status.ConsecutiveFailures++
	s.refreshAfter(backoff(int(s.tenant.Status.ConsecutiveFailures), s.idp != nil, interval))
}

// nextTurn is when the tenant has to be looked at again, whatever happens.
func (s *scope) nextTurn() time.Time {
	next := s.now
	if t := s.tenant.Status.NextRefreshTime; t != nil {
		next = t.Time
	}
	for _, w := range s.withdrawn {
		if w.until.Before(next) {
			next = w.until
		}
	}
	for _, due := range []time.Time{s.keyDue, s.graceDue} {
		if !due.IsZero() && due.Before(next) {
			next = due
		}
	}
	return next
}

func (s *scope) refreshAfter(d time.Duration) {
	s.tenant.Status.NextRefreshTime = &metav1.Time{Time: s.now.Add(d)}
}

// refreshInterval is the interval after a success: earlier when the document
// says that it may be kept for less, or when a certificate is about to expire,
// since its successor is published before.
func refreshInterval(interval time.Duration, idp *idpmetadata.Descriptor, now time.Time) time.Duration {
	if idp.CacheDuration > 0 {
		interval = min(interval, idp.CacheDuration)
	}
	if !idp.ValidUntil.IsZero() {
		interval = min(interval, idp.ValidUntil.Sub(now))
	}
	for _, c := range idp.SigningCertificates {
		for _, turn := range []time.Time{c.NotBefore, c.NotAfter} {
			if left := turn.Sub(now); left > 0 {
				interval = min(interval, left)
			}
		}
	}
	return max(interval, minRefresh)
}

// backoff is the time to the next try after that many failures in a row.
func backoff(failures int, serving bool, interval time.Duration) time.Duration {
	d, limit := firstRetry, maxRetry
	if serving {
		d, limit = firstBackgroundRetry, interval
	}
	for ; failures > 1 && d < limit; failures-- {
		d *= 2
	}
	return min(d, limit)
}

// spread shortens d by up to a fifth.
func spread(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 - jitter*rand.Float64())) //nolint:gosec // spreading load needs no secret randomness
}
