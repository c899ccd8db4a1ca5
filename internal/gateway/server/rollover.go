package server

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/tenant"
	"cequence.cloud/saml-operator/internal/refresh"
)

const (
	// rolloverWait is how long a browser waits at most for keys that are newer
	// than those by which its answer could not be verified.
	rolloverWait = 5 * time.Second
	// maxWaiting bounds how many do at the same time. Others are refused at once,
	// but their next try may succeed.
	maxWaiting = 64
)

// rollovers let sign-ins wait for an IdP's new keys. Anybody can send an answer
// by a key of his own, so for each tenant all that wait share one refresh, and
// while refresh refuses to ask again none of them waits.
type rollovers struct {
	tenants *tenant.Registry
	refresh func(ctx context.Context, tenant string) error
	log     *slog.Logger

	mu      sync.Mutex
	waiting int
	// underWay has a channel for each tenant that is being refreshed, closed when
	// no more is to be expected.
	underWay map[string]chan struct{}
}

func newRollovers(tenants *tenant.Registry, refresh func(context.Context, string) error, log *slog.Logger) *rollovers {
	return &rollovers{tenants: tenants, refresh: refresh, log: log, underWay: map[string]chan struct{}{}}
}

// newer returns the tenant with other signing certificates than t has, as soon
// as there are any, or nil if there are none in time.
func (r *rollovers) newer(ctx context.Context, t *tenant.Tenant) *tenant.Tenant {
	if renewed := r.renewed(t); renewed != nil || r.refresh == nil {
		return renewed
	}
	over, leave := r.join(t)
	if over == nil {
		return nil
	}
	defer leave()
	select {
	case <-over:
	case <-ctx.Done():
	}
	return r.renewed(t)
}

// renewed returns the tenant as it is served now, nil if its keys are the same.
func (r *rollovers) renewed(t *tenant.Tenant) *tenant.Tenant {
	now := r.tenants.ByHost(t.Config.Host)
	if now == nil || slices.EqualFunc(now.SigningCertificates, t.SigningCertificates, (*x509.Certificate).Equal) {
		return nil
	}
	return now
}

// join starts the tenant's refresh unless it is under way. It returns nil if
// there is no room to wait for it.
func (r *rollovers) join(t *tenant.Tenant) (over <-chan struct{}, leave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	underWay, ok := r.underWay[t.Name()]
	if !ok {
		underWay = make(chan struct{})
		r.underWay[t.Name()] = underWay
		go r.run(t, underWay)
	}
	if r.waiting == maxWaiting {
		return nil, nil
	}
	r.waiting++
	return underWay, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.waiting--
	}
}

// run asks for the refresh and stays until it has brought something. It belongs
// to all who wait, so that none of them can end it.
func (r *rollovers) run(t *tenant.Tenant, over chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), rolloverWait)
	defer cancel()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.underWay, t.Name())
		close(over)
	}()
	if err := r.refresh(ctx, t.Name()); err != nil {
		if !errors.Is(err, refresh.ErrLimited) {
			r.log.Warn("the identity provider's keys cannot be refreshed", "tenant", t.Name(), "error", err.Error())
		}
		return
	}
	for {
		changed := r.tenants.Changed()
		if r.renewed(t) != nil {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
