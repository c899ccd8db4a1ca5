package controllers

import (
	"context"
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"cequence.cloud/saml-operator/internal/rollout"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// rolloutFieldOwner owns the annotations of the gateway Deployment that are
// ours, and nothing else of it: the Deployment belongs to the user.
const rolloutFieldOwner = FieldOwner + "-rollout"

// The state of rollouts is on the Deployment itself, where it survives a
// restart of the operator.
const (
	// annotationRolloutResourceVersion is the newest resourceVersion among the
	// configurations that the last rollout started from.
	annotationRolloutResourceVersion = "sso.cequence.cloud/rollout-resource-version"
	// annotationRolloutStartedAt is when it was started.
	annotationRolloutStartedAt = "sso.cequence.cloud/rollout-started-at"
)

// GatewayRolloutReconciler starts the gateway's pods anew when the set of
// configurations that they serve has changed.
type GatewayRolloutReconciler struct {
	Client   client.Client
	Recorder events.EventRecorder
	// Gateway is the Deployment.
	Gateway types.NamespacedName
	// Interval is the least time between the starts of two rollouts.
	Interval time.Duration
	Now      func() time.Time
}

// +kubebuilder:rbac:groups=apps,namespace=system,resources=deployments,verbs=get;list;watch;patch

// Reconcile compares the Deployment with the Secrets.
func (r *GatewayRolloutReconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	deployment := &appsv1.Deployment{}
	if err := r.Client.Get(ctx, r.Gateway, deployment); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	secrets := &corev1.SecretList{}
	// Thousands of Secrets are only looked at, so they are not copied.
	if err := r.Client.List(ctx, secrets, client.InNamespace(r.Gateway.Namespace), client.UnsafeDisableDeepCopy,
		client.MatchingLabels{tenantconfig.LabelConfig: tenantconfig.LabelTrue}); err != nil {
		return ctrl.Result{}, fmt.Errorf("list configurations: %w", err)
	}
	hashes := make(map[string]string, len(secrets.Items))
	var newest uint64
	for i := range secrets.Items {
		s := &secrets.Items[i]
		newest = max(newest, versionNumber(s.ResourceVersion))
		hashes[s.Name] = s.Annotations[tenantconfig.AnnotationConfigHash]
	}
	fleet := rollout.FleetHash(hashes)
	start, wait := rollout.Decide(observed(deployment), fleet, r.Now(), r.Interval)
	if !start {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	roll := applyappsv1.Deployment(deployment.Name, deployment.Namespace).
		WithAnnotations(map[string]string{
			annotationRolloutResourceVersion: strconv.FormatUint(newest, 10),
			annotationRolloutStartedAt:       r.Now().UTC().Format(time.RFC3339),
		}).
		WithSpec(applyappsv1.DeploymentSpec().WithTemplate(applycorev1.PodTemplateSpec().
			WithAnnotations(map[string]string{tenantconfig.AnnotationConfigHash: fleet})))
	if err := r.Client.Apply(ctx, roll, client.FieldOwner(rolloutFieldOwner), client.ForceOwnership); err != nil {
		return ctrl.Result{}, fmt.Errorf("start rollout of Deployment %s: %w", r.Gateway, err)
	}
	log.FromContext(ctx).Info("started a rollout of the gateway", "tenants", len(hashes))
	r.Recorder.Eventf(deployment, nil, corev1.EventTypeNormal, "RolloutStarted", "Roll", "%s", "tenant configurations changed; new pods start from the current ones")
	return ctrl.Result{}, nil
}

// versionNumber reads a resourceVersion, which Kubernetes declares to be a
// number that grows with each write; zero when it is none.
func versionNumber(resourceVersion string) uint64 {
	n, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// SetupWithManager registers the reconciler and what it watches: the one
// Deployment, and the Secrets with configurations.
func (r *GatewayRolloutReconciler) SetupWithManager(mgr ctrl.Manager) error {
	request := []reconcile.Request{{NamespacedName: r.Gateway}}
	return ctrl.NewControllerManagedBy(mgr).
		Named("gatewayrollout").
		For(&appsv1.Deployment{}, builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool {
			return client.ObjectKeyFromObject(o) == r.Gateway
		}))).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
			return request
		}), builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool {
			return o.GetLabels()[tenantconfig.LabelConfig] == tenantconfig.LabelTrue
		}))).
		Complete(r)
}
