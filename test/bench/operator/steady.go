package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
)

// idleTime is for how long nothing may change.
const idleTime = 2 * time.Minute

// measureIdle lets an operator start with everything as it should be, wait, and
// start once more.
func (b *bench) measureIdle(ctx context.Context) error {
	before, err := b.requests(ctx)
	if err != nil {
		return err
	}
	versions, err := b.versions(ctx, mainNamespace)
	if err != nil {
		return err
	}
	for _, wait := range []time.Duration{idleTime, idleTime / 4} {
		o, err := b.startOperator(ctx, mainNamespace, structural)
		if err != nil {
			return err
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
		now, peak, err := o.memory()
		if err != nil {
			return err
		}
		b.RSSIdleMiB, b.RSSMiB = now, max(b.RSSMiB, peak)
		if err := o.stop(); err != nil {
			return err
		}
	}
	after, err := b.requests(ctx)
	if err != nil {
		return err
	}
	now, err := b.versions(ctx, mainNamespace)
	if err != nil {
		return err
	}
	changed := 0
	for what, version := range now {
		if versions[what] != version {
			changed++
		}
	}
	writes, events := after.minus(before).writes()
	b.IdleWrites = max(changed, writes+events)
	fmt.Printf("%d of %d objects changed, %d writes, %d MiB", changed, len(now), b.IdleWrites, b.RSSIdleMiB)
	return nil
}

const (
	// newTenants is how many times a new tenant is measured, in at most
	// refreshRounds refreshes of all others.
	newTenants    = 100
	refreshRounds = 8
)

func (b *bench) measureNewTenants(ctx context.Context) error {
	var took []time.Duration
	var refreshes, patches, created int
	var refreshing time.Duration
	for round := 0; round < refreshRounds && len(took) < newTenants; round++ {
		if err := b.makeAllDue(ctx); err != nil {
			return err
		}
		before, err := b.settle(ctx)
		if err != nil {
			return err
		}
		o, err := b.startOperator(ctx, mainNamespace, structural)
		if err != nil {
			return err
		}
		started := time.Now()
		due := b.farm.fetches.Load() + int64(b.Tenants)
		createdBefore := created
		for len(took) < newTenants {
			d, err := b.newTenant(ctx, fmt.Sprintf("n%06d", created))
			if err != nil {
				return err
			}
			created++
			if b.farm.fetches.Load() >= due+int64(created-createdBefore) {
				break // the last one was not refreshing any more
			}
			took = append(took, d)
		}
		for b.farm.fetches.Load() < due && ctx.Err() == nil {
			if err := pause(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
		refreshing += time.Since(started)
		after, err := b.settle(ctx)
		if err != nil {
			return err
		}
		refreshes += b.Tenants
		patches += after.minus(before)["PATCH samltenants/status"] - 2*(created-createdBefore)
		_, peak, err := o.memory()
		if err != nil {
			return err
		}
		b.RSSMiB = max(b.RSSMiB, peak)
		if err := o.stop(); err != nil {
			return err
		}
	}
	if len(took) == 0 {
		return errors.New("no new tenant was ready while the others refreshed")
	}
	slices.Sort(took)
	b.NewTenants = len(took)
	b.NewTenantP50Seconds = took[len(took)/2].Seconds()
	b.NewTenantP99Seconds = took[(len(took)*99+99)/100-1].Seconds()
	b.WritesPerRefresh = float64(patches) / float64(refreshes)
	b.RefreshesPerSecond = float64(refreshes) / refreshing.Seconds()
	fmt.Printf("%d new tenants, p50 %.3f s, p99 %.3f s; %.0f refreshes/s, %.2f writes each; %d MiB at most",
		len(took), b.NewTenantP50Seconds, b.NewTenantP99Seconds, b.RefreshesPerSecond, b.WritesPerRefresh, b.RSSMiB)
	return nil
}

// makeAllDue moves every tenant's next refresh into the past.
func (b *bench) makeAllDue(ctx context.Context) error {
	past := metav1.NewTime(time.Now().Add(-time.Minute))
	return each(names(0, b.Tenants), func(name string) error {
		t := &v1alpha1.SAMLTenant{ObjectMeta: metav1.ObjectMeta{Namespace: mainNamespace, Name: name}}
		before := t.DeepCopy()
		t.Status.NextRefreshTime = &past
		return b.Status().Patch(ctx, t, client.MergeFrom(before))
	})
}

// newTenant creates a tenant and returns the time until it was Ready.
func (b *bench) newTenant(ctx context.Context, name string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := b.farm.prepare([]string{name}); err != nil {
		return 0, err
	}
	start := time.Now()
	t := b.tenant(mainNamespace, name)
	if err := b.Create(ctx, t); err != nil {
		return 0, err
	}
	w, err := b.Watch(ctx, &v1alpha1.SAMLTenantList{}, client.InNamespace(mainNamespace), &client.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", name), Raw: &metav1.ListOptions{ResourceVersion: t.ResourceVersion},
	})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if got, ok := e.Object.(*v1alpha1.SAMLTenant); ok && isReady(got) {
			return time.Since(start), nil
		}
	}
	return 0, fmt.Errorf("new tenant %s is not ready: %w", name, ctx.Err())
}
