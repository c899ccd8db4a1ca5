package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/refresh"
)

// demandPriority is above that of everything else: a person waits.
const demandPriority = 100

// demands are the tenants whose metadata is to be fetched at once, since the
// gateway met a key that it does not know. They are in memory only: nothing is
// written for one, and a restart forgets them. The zero value is usable.
type demands struct {
	mu    sync.Mutex
	queue priorityqueue.PriorityQueue[reconcile.Request]
	due   map[client.ObjectKey]bool
}

// Start implements source.Source.
func (d *demands) Start(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	prioritized, ok := queue.(priorityqueue.PriorityQueue[reconcile.Request])
	if !ok {
		return errors.New("the controller's queue has no priorities")
	}
	d.queue, d.due = prioritized, map[client.ObjectKey]bool{}
	return nil
}

func (d *demands) add(tenant client.ObjectKey) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.queue == nil {
		return errors.New("the controller has not started yet")
	}
	d.due[tenant] = true
	d.queue.AddWithOpts(priorityqueue.AddOpts{Priority: ptr.To(demandPriority)}, reconcile.Request{NamespacedName: tenant})
	return nil
}

// take tells whether the tenant is among them, and removes it. A demand that
// comes after is for another fetch.
func (d *demands) take(tenant client.ObjectKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	demanded := d.due[tenant]
	delete(d.due, tenant)
	return demanded
}

// putBack is for a demand that could not be met yet; its tenant is queued.
func (d *demands) putBack(tenant client.ObjectKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.due[tenant] = true
}

// demand makes a fetch of the tenant's metadata due. Its error is
// refresh.ErrUnknownTenant if there is no such tenant, or nothing may be done
// for it.
func (r *SAMLTenantReconciler) demand(ctx context.Context, key client.ObjectKey) error {
	tenant := &v1alpha1.SAMLTenant{}
	switch err := r.Client.Get(ctx, key, tenant); {
	case apierrors.IsNotFound(err), err == nil && tenant.Spec.Suspend:
		return refresh.ErrUnknownTenant
	case err != nil:
		return fmt.Errorf("read tenant %s: %w", key.Name, err)
	}
	return r.demands.add(key)
}
