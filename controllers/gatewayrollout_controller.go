package controllers

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/operatormetrics"
	"cequence.cloud/saml-operator/internal/rollout"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// rolloutFieldOwner owns the annotations of the gateway Deployment that are
// ours, and nothing else of it: the Deployment belongs to the user.
const rolloutFieldOwner = FieldOwner + "-rollout"

// The record of rollouts is on the Deployment itself, where it survives a
// restart of the operator. [rollout.Record]
const (
	annotationRolloutResourceVersion = "sso.cequence.cloud/rollout-resource-version"
	annotationRolloutStartedAt       = "sso.cequence.cloud/rollout-started-at"
	annotationRolloutPendingSince    = "sso.cequence.cloud/rollout-pending-since"
)

// GatewayRolloutReconciler starts the gateway's pods anew when what they
// started from has changed.
type GatewayRolloutReconciler struct {
	Client   client.Client
	Recorder events.EventRecorder
	// Gateway is the Deployment.
	Gateway   types.NamespacedName
	Settings  rollout.Settings
	Structure rollout.Structure
	Metrics   *operatormetrics.Metrics
	Now       func() time.Time

	// lastChange is when a configuration last changed. It is not kept over a
	// restart, with which a new wait for quiet begins.
	lastChange atomic.Pointer[time.Time]
	// stuck: an Event has told that the rollout is stuck.
	stuck bool
}

// The Role names the Deployment of the default installation: whoever names
// another one (--gateway-deployment) changes the Role as well. List and watch
// are allowed because the cache asks for that one name.
// +kubebuilder:rbac:groups=apps,namespace=system,resources=deployments,resourceNames=saml-gateway,verbs=get;list;watch;patch

// Reconcile brings the record on the Deployment to what it should be; one with
// another fleet hash starts a rollout.
func (r *GatewayRolloutReconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	deployment := &appsv1.Deployment{}
	if err := r.Client.Get(ctx, r.Gateway, deployment); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	now, d := r.Now(), observed(deployment)
	r.tellStuck(deployment, d)
	r.lastChange.CompareAndSwap(nil, &now)
	if wait, waits := r.Settings.Waits(d, *r.lastChange.Load(), now); waits {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	fleet, written, err := r.fleet(ctx, d.ResourceVersion)
	if err != nil {
		return ctrl.Result{}, err
	}
	next, wait := r.Settings.Decide(d, fleet, *r.lastChange.Load(), now)
	if next == d.Record {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	if err := r.Client.Apply(ctx, recorded(deployment, next), client.FieldOwner(rolloutFieldOwner), client.ForceOwnership); err != nil {
		if apierrors.IsConflict(err) {
			// It has changed since it was read; that event brings us back.
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("write the rollout's record to Deployment %s: %w", r.Gateway, err)
	}
	if next.FleetHash != d.FleetHash {
		r.Metrics.RolloutStarted(written)
		log.FromContext(ctx).Info("started a rollout of the gateway", "fleet", next.FleetHash, "tenants", written)
		r.Recorder.Eventf(deployment, nil, corev1.EventTypeNormal, "RolloutStarted", "Roll", "%s", "the configuration changed; new pods start from the current one")
	}
	return ctrl.Result{RequeueAfter: wait}, nil
}

// tellStuck writes an Event when the Deployment gives up on a rollout, once
// for each, and once more after a restart of the operator.
func (r *GatewayRolloutReconciler) tellStuck(deployment *appsv1.Deployment, d rollout.Deployment) {
	if !d.Observed() {
		return
	}
	stuck := d.State() == rollout.Stuck
	if stuck && !r.stuck {
		r.Recorder.Eventf(deployment, nil, corev1.EventTypeWarning, v1alpha1.ReasonRolloutStuck, "Roll", "%s",
			"the rollout does not progress; no other starts until it does or the configuration changes, see kubectl rollout status and the pods")
	}
	r.stuck = stuck
}

// fleet returns what the pods are to start from, and how many configurations
// of it were written after since.
func (r *GatewayRolloutReconciler) fleet(ctx context.Context, since uint64) (_ rollout.Fleet, written int, _ error) {
	if r.Settings.Structural {
		return rollout.Fleet{Hash: rollout.FleetHash(r.Structure, nil)}, 0, nil
	}
	secrets := &corev1.SecretList{}
	// Thousands of Secrets are only looked at, so they are not copied; and their
	// events tell of what the cache does not hold yet.
	if err := r.Client.List(ctx, secrets, client.InNamespace(r.Gateway.Namespace), client.UnsafeDisableDeepCopy,
		client.DisableReadYourWritesConsistency, client.MatchingLabels{tenantconfig.LabelConfig: tenantconfig.LabelTrue}); err != nil {
		return rollout.Fleet{}, 0, fmt.Errorf("list configurations: %w", err)
	}
	hashes := make(map[string]string, len(secrets.Items))
	var newest uint64
	for i := range secrets.Items {
		s := &secrets.Items[i]
		version := versionNumber(s.ResourceVersion)
		newest = max(newest, version)
		if version > since {
			written++
		}
		hashes[s.Name] = s.Annotations[tenantconfig.AnnotationConfigHash]
	}
	return rollout.Fleet{Hash: rollout.FleetHash(r.Structure, hashes), ResourceVersion: newest, Empty: len(hashes) == 0}, written, nil
}

// recorded is the deployment with that record. It applies only to the version
// that was read, so that a decision on a state that has passed is none.
func recorded(deployment *appsv1.Deployment, record rollout.Record) *applyappsv1.DeploymentApplyConfiguration {
	annotations := map[string]string{}
	if record.ResourceVersion != 0 {
		annotations[annotationRolloutResourceVersion] = strconv.FormatUint(record.ResourceVersion, 10)
	}
	for name, t := range map[string]time.Time{
		annotationRolloutStartedAt: record.StartedAt, annotationRolloutPendingSince: record.PendingSince,
	} {
		if !t.IsZero() {
			annotations[name] = t.UTC().Format(time.RFC3339Nano)
		}
	}
	desired := applyappsv1.Deployment(deployment.Name, deployment.Namespace).
		WithResourceVersion(deployment.ResourceVersion).WithAnnotations(annotations)
	if record.FleetHash != "" {
		desired.WithSpec(applyappsv1.DeploymentSpec().WithTemplate(applycorev1.PodTemplateSpec().
			WithAnnotations(map[string]string{tenantconfig.AnnotationConfigHash: record.FleetHash})))
	}
	return desired
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
// Deployment, and the Secrets with configurations unless they start nothing.
func (r *GatewayRolloutReconciler) SetupWithManager(mgr ctrl.Manager) error {
	b := ctrl.NewControllerManagedBy(mgr).
		Named("gatewayrollout").
		For(&appsv1.Deployment{}, builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool {
			return client.ObjectKeyFromObject(o) == r.Gateway
		})))
	if !r.Settings.Structural {
		b = b.Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.changed), builder.WithPredicates(fleetChanged()))
	}
	return b.Complete(r)
}

// changed notes that the fleet has changed.
func (r *GatewayRolloutReconciler) changed(context.Context, client.Object) []reconcile.Request {
	now := r.Now()
	r.lastChange.Store(&now)
	return []reconcile.Request{{NamespacedName: r.Gateway}}
}

// fleetChanged passes what may change the fleet hash.
func fleetChanged() predicate.Predicate {
	isConfig := func(o client.Object) bool { return o.GetLabels()[tenantconfig.LabelConfig] == tenantconfig.LabelTrue }
	hash := func(o client.Object) string { return o.GetAnnotations()[tenantconfig.AnnotationConfigHash] }
	p := predicate.NewPredicateFuncs(isConfig)
	p.UpdateFunc = func(e event.UpdateEvent) bool {
		return isConfig(e.ObjectOld) != isConfig(e.ObjectNew) || isConfig(e.ObjectNew) && hash(e.ObjectOld) != hash(e.ObjectNew)
	}
	return p
}
