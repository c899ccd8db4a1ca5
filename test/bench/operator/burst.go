package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
)

const (
	burstEdits = 1000
	burstTime  = time.Minute
)

// measureBurst counts the rollouts that 1,000 edits within a minute cause.
func (b *bench) measureBurst(ctx context.Context) error {
	o, err := b.startOperator(ctx, mainNamespace, "--gateway-rollout=Rolling")
	if err != nil {
		return err
	}
	if err := b.untilServed(ctx); err != nil {
		return err
	}
	if _, err := b.settle(ctx); err != nil {
		return err
	}
	first := b.gateway.rollouts.Load()
	start := time.Now()
	edits := min(burstEdits, b.Tenants)
	tick := time.NewTicker(burstTime / time.Duration(edits))
	defer tick.Stop()
	var wait sync.WaitGroup
	var failed atomic.Value
	for _, name := range names(0, edits) {
		<-tick.C
		wait.Go(func() {
			t := &v1alpha1.SAMLTenant{ObjectMeta: metav1.ObjectMeta{Namespace: mainNamespace, Name: name}}
			patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"displayName":"Edited %s"}}`, name))
			if err := b.Patch(ctx, t, patch); err != nil {
				failed.Store(err)
			}
		})
	}
	wait.Wait()
	if err, ok := failed.Load().(error); ok {
		return err
	}
	if err := b.untilServed(ctx); err != nil {
		return err
	}
	if _, err := b.settle(ctx); err != nil {
		return err
	}
	b.BurstEdits = edits
	b.BurstSeconds = time.Since(start).Seconds()
	b.RolloutsPerBurst = int(b.gateway.rollouts.Load() - first)
	_, peak, err := o.memory()
	if err != nil {
		return err
	}
	b.RSSMiB = max(b.RSSMiB, peak)
	fmt.Printf("%d edits, %d rollouts, all served after %.0f s", edits, b.RolloutsPerBurst, b.BurstSeconds)
	return o.stop()
}

// untilServed waits until the gateway's pods started from every tenant's
// current configuration.
func (b *bench) untilServed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	for {
		list := &v1alpha1.SAMLTenantList{}
		if err := b.List(ctx, list, client.InNamespace(mainNamespace)); err != nil {
			return err
		}
		waiting := 0
		for i := range list.Items {
			if t := &list.Items[i]; !isReady(t) || !meta.IsStatusConditionTrue(t.Status.Conditions, v1alpha1.ConditionGatewaySynced) {
				waiting++
			}
		}
		if waiting == 0 {
			return nil
		}
		// Reading all of them is work for the API server, so rarely when many.
		if err := pause(ctx, 5*time.Second+time.Duration(b.Tenants)*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d tenants are not served: %w", waiting, len(list.Items), err)
		}
	}
}
