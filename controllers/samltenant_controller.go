// Package controllers has the reconcilers: one for each SAMLTenant, and one
// for the gateway Deployment that serves them.
package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/conditions"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/render"
)

// FieldOwner is the operator's name as a manager of fields.
const FieldOwner = "saml-operator"

// customerNameIndex finds tenants by spec.customerName in the cache.
const customerNameIndex = "spec.customerName"

// concurrency is how many tenants are worked on at once. Most of the time of
// one is waiting for its identity provider.
const concurrency = 64

// backgroundWrites is how many tenants that can wait write their status at
// once. What a new tenant asks of the API server stands behind no more of them.
const backgroundWrites = 8

// hopeless is after how many failures in a row a tenant that could never sign
// in has to wait behind the others.
const hopeless = 3

// Fetcher downloads metadata; *idpmetadata.Fetcher is the real one.
type Fetcher interface {
	Fetch(context.Context, idpmetadata.Request) (*idpmetadata.Result, error)
}

// SAMLTenantReconciler brings the Secrets of each tenant to what its spec and
// its identity provider's metadata say.
type SAMLTenantReconciler struct {
	// Client reads from a cache that holds tenants, Secrets with the label
	// tenantconfig.LabelTenant, and the gateway Deployment.
	Client client.Client
	// Uncached reads what the cache leaves out: a Secret without our label.
	Uncached client.Reader
	// Sources has the ConfigMaps and Secrets that are not ours, without content.
	Sources    cache.Cache
	Recorder   events.EventRecorder
	Fetcher    Fetcher
	BaseDomain render.BaseDomain
	// RefreshInterval is for tenants that set none.
	RefreshInterval time.Duration
	// Gateway is the name of the Deployment that serves the tenants; empty
	// when the operator does not roll one.
	Gateway string
	// StructuralFleet is the hash that the Deployment must have been rolled to
	// when tenants cause no rollouts; empty when they do.
	StructuralFleet string
	Now             func() time.Time

	demands demands
	// background has a place for each of the backgroundWrites.
	background chan struct{}
}

// +kubebuilder:rbac:groups=sso.cequence.cloud,namespace=system,resources=samltenants,verbs=get;list;watch
// +kubebuilder:rbac:groups=sso.cequence.cloud,namespace=system,resources=samltenants/status,verbs=patch
// +kubebuilder:rbac:groups=core,namespace=system,resources=secrets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=core,namespace=system,resources=configmaps,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,namespace=system,resources=events,verbs=create;patch

// Reconcile works on one tenant and writes its status once, at the end; a new
// tenant's once more before, with the values to enter at the identity provider.
func (r *SAMLTenantReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	tenant := &v1alpha1.SAMLTenant{}
	if err := r.Client.Get(ctx, request.NamespacedName, tenant); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !tenant.DeletionTimestamp.IsZero() {
		// Owner references clean up.
		return ctrl.Result{}, nil
	}
	s := newScope(tenant, r.Now())
	if s.isNew() {
		s.announce(r.BaseDomain)
		if err := r.patchStatus(ctx, s); err != nil {
			return ctrl.Result{}, err
		}
	}
	if tenant.Spec.Suspend {
		s.suspend()
		return ctrl.Result{}, r.patchStatus(ctx, s)
	}
	end := r.run(ctx, s)
	if end.kind == postponed {
		// Nothing is known that was not before.
		return ctrl.Result{RequeueAfter: s.postponedFor}, nil
	}
	s.summarise(end)
	if err := r.patchStatus(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	return r.result(ctx, s, end)
}

// run works through the phases until one ends the work.
func (r *SAMLTenantReconciler) run(ctx context.Context, s *scope) outcome {
	for _, phase := range []func(context.Context, *scope) outcome{
		r.claim, r.load, r.fetch, r.accept, r.key, r.scim, r.render, r.apply, r.publish, r.gateway,
	} {
		if end := phase(ctx, s); end.kind != proceed {
			return r.keepOut(ctx, s, end)
		}
	}
	return outcome{}
}

// keepOut takes the configuration from the gateway when nobody is to be let in
// and something else keeps that from being written into it.
func (r *SAMLTenantReconciler) keepOut(ctx context.Context, s *scope, end outcome) outcome {
	if !s.disabled() || !s.accessEdited() || end.kind != wait && end.kind != stalled {
		return end
	}
	if failed := r.withdraw(ctx, s); failed.kind != proceed {
		return failed
	}
	return end
}

// result turns an outcome into the time of the next run. A periodic refresh,
// and a retry while the last-known-good serves, must not stand in the way of
// a tenant that cannot sign in yet.
func (r *SAMLTenantReconciler) result(ctx context.Context, s *scope, end outcome) (ctrl.Result, error) {
	if end.err != nil {
		log.FromContext(ctx).Info("tenant is held up", "reason", end.reason, "cause", end.err.Error())
	}
	switch end.kind {
	case retry:
		return ctrl.Result{}, fmt.Errorf("%s: %w", end.reason, end.err)
	case stalled:
		return ctrl.Result{RequeueAfter: stalledRecheck, Priority: ptr.To(handler.LowPriority)}, nil
	}
	result := ctrl.Result{RequeueAfter: s.postponedFor}
	if s.postponedFor == 0 {
		result.RequeueAfter = max(time.Second, s.nextTurn().Sub(s.now))
	}
	// One whose fetch is put off keeps the priority that it came with.
	if s.postponedFor == 0 && (s.idp != nil || s.tenant.Status.ConsecutiveFailures > hopeless) {
		result.Priority = ptr.To(handler.LowPriority)
	}
	return result, nil
}

// patchStatus writes the status if it differs from what was read, and tells
// the transitions as Events.
func (r *SAMLTenantReconciler) patchStatus(ctx context.Context, s *scope) error {
	if equality.Semantic.DeepEqual(s.before.Status, s.tenant.Status) {
		return nil
	}
	if s.background {
		select {
		case r.background <- struct{}{}:
			defer func() { <-r.background }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	patch := client.MergeFrom(s.before)
	written := s.tenant.DeepCopy()
	if err := r.Client.Status().Patch(ctx, written, patch, client.FieldOwner(FieldOwner)); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("patch status: %w", err))
	}
	for _, e := range s.takeEvents() {
		r.Recorder.Eventf(s.tenant, nil, e.kind, e.reason, e.action, "%s", conditions.Cut(e.note))
	}
	s.before = written.DeepCopy()
	s.tenant = written
	return nil
}

// SetupWithManager registers the reconciler and what it watches.
func (r *SAMLTenantReconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	r.background = make(chan struct{}, backgroundWrites)
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.SAMLTenant{}, customerNameIndex, func(o client.Object) []string {
		return []string{o.(*v1alpha1.SAMLTenant).Spec.CustomerName}
	}); err != nil {
		return fmt.Errorf("index tenants by customer name: %w", err)
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.SAMLTenant{}, referenceIndex, references); err != nil {
		return fmt.Errorf("index tenants by what they refer to: %w", err)
	}
	b := ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.SAMLTenant{}, builder.WithPredicates(predicate.Or(
			predicate.GenerationChangedPredicate{}, askedFor(), beganToWait()))).
		Owns(&corev1.Secret{}).
		Watches(&v1alpha1.SAMLTenant{}, handler.EnqueueRequestsFromMapFunc(r.sameCustomerName),
			builder.WithPredicates(predicate.Funcs{
				UpdateFunc: func(event.UpdateEvent) bool { return false },
			})).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: concurrency,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, maxRetry),
		})
	for _, kind := range []string{kindConfigMap, kindSecret} {
		b = b.WatchesRawSource(source.Kind(r.Sources, sourceObject(kind), handler.TypedEnqueueRequestsFromMapFunc(r.referring(kind))))
	}
	b = b.WatchesRawSource(&r.demands)
	if r.Gateway != "" {
		b = b.Watches(&appsv1.Deployment{}, handler.EnqueueRequestsFromMapFunc(r.concernedByGateway), builder.WithPredicates(gatewayMoved()))
	}
	return b.Complete(r)
}

// askedFor passes a change of the annotations by which people ask for something.
func askedFor() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, after := e.ObjectOld.GetAnnotations(), e.ObjectNew.GetAnnotations()
			return slices.ContainsFunc([]string{
				v1alpha1.AnnotationReconcileRequestedAt, v1alpha1.AnnotationAcceptMetadata, v1alpha1.AnnotationRotateKeyRequestedAt,
			}, func(name string) bool { return before[name] != after[name] })
		},
	}
}

// sameCustomerName finds those whose claim to the name may have changed.
func (r *SAMLTenantReconciler) sameCustomerName(ctx context.Context, o client.Object) []reconcile.Request {
	tenant := o.(*v1alpha1.SAMLTenant)
	return r.requests(ctx, tenant.Namespace, func(t *v1alpha1.SAMLTenant) bool { return t.UID != tenant.UID },
		client.MatchingFields{customerNameIndex: tenant.Spec.CustomerName})
}

func (r *SAMLTenantReconciler) requests(ctx context.Context, namespace string, want func(*v1alpha1.SAMLTenant) bool, options ...client.ListOption) []reconcile.Request {
	list := &v1alpha1.SAMLTenantList{}
	if err := r.Client.List(ctx, list, append(options, client.InNamespace(namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)...); err != nil {
		log.FromContext(ctx).Error(err, "cannot list tenants")
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if t := &list.Items[i]; want(t) {
			requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: t.Namespace, Name: t.Name}})
		}
	}
	return requests
}
