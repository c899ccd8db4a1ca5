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

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/rollout"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// gateway tells whether the gateway's pods started from the configuration.
func (r *SAMLTenantReconciler) gateway(ctx context.Context, s *scope) outcome {
	status := &s.tenant.Status
	if r.Gateway == "" {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionGatewaySynced)
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
	d := observed(deployment)
	included := d.Includes(versionNumber(status.ConfigResourceVersion))
	if d.State() == rollout.ScaledDown {
		s.set(v1alpha1.ConditionGatewaySynced, metav1.ConditionFalse, v1alpha1.ReasonGatewayNotFound,
			fmt.Sprintf("the Deployment %q is scaled to zero, so nobody can sign in; scale it up", r.Gateway))
		return outcome{}
	}
	// Once its pods started from a configuration they have it, whatever
	// rollouts follow for other tenants.
	synced := meta.IsStatusConditionTrue(s.before.Status.Conditions, v1alpha1.ConditionGatewaySynced) &&
		s.before.Status.ConfigHash == status.ConfigHash
	switch {
	case synced || included && d.State() == rollout.Complete:
		s.set(v1alpha1.ConditionGatewaySynced, metav1.ConditionTrue, v1alpha1.ReasonRolloutComplete, "all gateway pods started from this configuration")
	case d.State() == rollout.Stuck:
		s.set(v1alpha1.ConditionGatewaySynced, metav1.ConditionFalse, v1alpha1.ReasonRolloutStuck,
			fmt.Sprintf("the rollout of Deployment %q does not progress; see kubectl rollout status and its pods", r.Gateway))
	case included:
		s.set(v1alpha1.ConditionGatewaySynced, metav1.ConditionFalse, v1alpha1.ReasonRolloutInProgress, "gateway pods with this configuration are starting")
	default:
		s.set(v1alpha1.ConditionGatewaySynced, metav1.ConditionFalse, v1alpha1.ReasonRolloutPending, "the next rollout of the gateway includes this configuration")
	}
	return outcome{}
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
		FleetHash:       d.Spec.Template.Annotations[tenantconfig.AnnotationConfigHash],
		ResourceVersion: versionNumber(d.Annotations[annotationRolloutResourceVersion]),
	}
	if t, err := time.Parse(time.RFC3339, d.Annotations[annotationRolloutStartedAt]); err == nil {
		o.StartedAt = t
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse && c.Reason == "ProgressDeadlineExceeded" {
			o.ProgressDeadlineExceeded = true
		}
	}
	return o
}
