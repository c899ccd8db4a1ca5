package controllers

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/rollout"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// gateway tells whether the gateway's pods started from the configuration.
func (r *SAMLTenantReconciler) gateway(ctx context.Context, s *scope) outcome {
	if r.Gateway == "" {
		meta.RemoveStatusCondition(&s.tenant.Status.Conditions, v1alpha1.ConditionGatewaySynced)
		return outcome{}
	}
	deployment := &appsv1.Deployment{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.tenant.Namespace, Name: r.Gateway}, deployment)
	switch {
	case apierrors.IsNotFound(err):
		s.set(v1alpha1.ConditionGatewaySynced, metav1.ConditionFalse, v1alpha1.ReasonGatewayNotFound,
			fmt.Sprintf("there is no Deployment %q in this namespace; install the gateway here, or start the operator with the name of yours (--gateway-deployment)", r.Gateway))
		return outcome{}
	case err != nil:
		return s.fail(retry, v1alpha1.ConditionGatewaySynced, v1alpha1.ReasonRolloutPending, "the gateway Deployment cannot be read; the operator tries again", err)
	}
	r.judgeGateway(s, observed(deployment))
	return outcome{}
}

// judgeGateway draws GatewaySynced from the Deployment. Once its pods have a
// configuration they keep it, whatever rollouts follow for other tenants.
func (r *SAMLTenantReconciler) judgeGateway(s *scope, d rollout.Deployment) {
	status := &s.tenant.Status
	included := d.Includes(versionNumber(status.ConfigResourceVersion))
	unchanged := s.before.Status.ConfigHash == status.ConfigHash
	reason, message := v1alpha1.ReasonRolloutComplete, "all gateway pods started from this configuration"
	if r.StructuralFleet != "" {
		included = d.FleetHash == r.StructuralFleet
		unchanged = included
		reason, message = v1alpha1.ReasonRolloutNotNeeded, "the gateway's pods take this configuration up without a rollout"
	}
	before := meta.FindStatusCondition(s.before.Status.Conditions, v1alpha1.ConditionGatewaySynced)
	kept := unchanged && before != nil && before.Status == metav1.ConditionTrue && before.Reason == reason
	synced := metav1.ConditionFalse
	switch state := d.State(); {
	case state == rollout.ScaledDown:
		reason, message = v1alpha1.ReasonGatewayNotFound, fmt.Sprintf("the Deployment %q is scaled to zero, so nobody can sign in; scale it up", r.Gateway)
	case kept || included && state == rollout.Complete:
		synced = metav1.ConditionTrue
	case state == rollout.Stuck:
		reason, message = v1alpha1.ReasonRolloutStuck, fmt.Sprintf("the rollout of Deployment %q does not progress; see kubectl rollout status and its pods", r.Gateway)
	case d.Paused:
		reason, message = v1alpha1.ReasonRolloutStuck, fmt.Sprintf("the Deployment %q is paused, so no rollout starts or ends; see kubectl rollout resume", r.Gateway)
	case included:
		reason, message = v1alpha1.ReasonRolloutInProgress, "gateway pods with this configuration are starting"
	default:
		reason, message = v1alpha1.ReasonRolloutPending, "the next rollout of the gateway, which starts when all of its pods are available, includes this configuration"
	}
	s.set(v1alpha1.ConditionGatewaySynced, synced, reason, message)
}

// gatewayMoved passes a change of the Deployment about which tenants may have
// something else to say; most changes of its status are none.
func gatewayMoved() predicate.Predicate {
	type judged struct {
		state           rollout.State
		paused          bool
		fleetHash       string
		resourceVersion uint64
	}
	of := func(o client.Object) judged {
		d := observed(o.(*appsv1.Deployment))
		return judged{d.State(), d.Paused, d.FleetHash, d.ResourceVersion}
	}
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return of(e.ObjectOld) != of(e.ObjectNew) }}
}

// concernedByGateway finds those that wait for the gateway, and all of them
// when there is none any more.
func (r *SAMLTenantReconciler) concernedByGateway(ctx context.Context, o client.Object) []reconcile.Request {
	if o.GetName() != r.Gateway {
		return nil
	}
	deployment := &appsv1.Deployment{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(o), deployment, client.DisableReadYourWritesConsistency)
	gone := apierrors.IsNotFound(err) || err == nil && observed(deployment).State() == rollout.ScaledDown
	return r.requests(ctx, o.GetNamespace(), func(t *v1alpha1.SAMLTenant) bool { return gone || waitsForGateway(t) })
}

func waitsForGateway(t *v1alpha1.SAMLTenant) bool {
	c := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionGatewaySynced)
	return c != nil && c.Status != metav1.ConditionTrue
}

// beganToWait passes a tenant that waits for the gateway from now on. What the
// Deployment did while that was being written found nobody to tell.
func beganToWait() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return !waitsForGateway(e.ObjectOld.(*v1alpha1.SAMLTenant)) && waitsForGateway(e.ObjectNew.(*v1alpha1.SAMLTenant))
		},
	}
}

// observed takes from a Deployment what decisions about it need.
func observed(d *appsv1.Deployment) rollout.Deployment {
	wanted := int32(1)
	if d.Spec.Replicas != nil {
		wanted = *d.Spec.Replicas
	}
	o := rollout.Deployment{
		Generation: d.Generation, ObservedGeneration: d.Status.ObservedGeneration,
		Wanted: wanted, Replicas: d.Status.Replicas, Updated: d.Status.UpdatedReplicas, Available: d.Status.AvailableReplicas,
		Paused: d.Spec.Paused,
		Record: rollout.Record{
			FleetHash:       d.Spec.Template.Annotations[tenantconfig.AnnotationConfigHash],
			ResourceVersion: versionNumber(d.Annotations[annotationRolloutResourceVersion]),
			StartedAt:       timeIn(d.Annotations[annotationRolloutStartedAt]),
			PendingSince:    timeIn(d.Annotations[annotationRolloutPendingSince]),
		},
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse && c.Reason == "ProgressDeadlineExceeded" {
			o.ProgressDeadlineExceeded = true
		}
	}
	return o
}

// timeIn reads a time of ours; zero when it is none.
func timeIn(annotation string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, annotation)
	if err != nil {
		return time.Time{}
	}
	return t
}
