package controllers_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

func deployment() *appsv1.Deployment {
	labels := map[string]string{"app": "saml-gateway"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "saml-gateway"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(2)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "gateway", Image: "gateway.invalid/gateway:1"}}},
			},
		},
	}
}

// report plays the Deployment controller, which has no node to run pods on
// here: it says that so many pods of the newest template are available.
func (f *fixture) report(available int32, deadlineExceeded bool) {
	f.t.Helper()
	d := f.deployment()
	before := d.DeepCopy()
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: available, AvailableReplicas: available,
	}
	if deadlineExceeded {
		d.Status.Conditions = []appsv1.DeploymentCondition{{
			Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded",
		}}
	}
	require.NoError(f.t, f.Status().Patch(f.t.Context(), d, client.MergeFrom(before)))
}

// reportScaledDown does the same for a Deployment without replicas.
func (f *fixture) reportScaledDown() {
	f.t.Helper()
	d := f.deployment()
	before := d.DeepCopy()
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation}
	require.NoError(f.t, f.Status().Patch(f.t.Context(), d, client.MergeFrom(before)))
}

func (f *fixture) deployment() *appsv1.Deployment {
	f.t.Helper()
	d := &appsv1.Deployment{}
	require.NoError(f.t, f.Get(f.t.Context(), client.ObjectKey{Name: "saml-gateway"}, d))
	return d
}

func rolledTo(d *appsv1.Deployment) string {
	return d.Spec.Template.Annotations[tenantconfig.AnnotationConfigHash]
}

func (f *fixture) untilRolledFrom(hash string) string {
	f.t.Helper()
	var now string
	require.Eventually(f.t, func() bool {
		now = rolledTo(f.deployment())
		return now != hash
	}, patience, tick, "the pod template still has the hash %q", hash)
	return now
}

func TestGatewayIsRolledWhenTheFleetChanges(t *testing.T) {
	f := start(t, "saml-gateway")
	provider := startIDP(t, testidp.Options{})
	f.create(tenant("acme", provider))
	f.untilCondition("acme", v1alpha1.ConditionGatewaySynced, metav1.ConditionFalse, v1alpha1.ReasonGatewayNotFound)

	f.create(deployment())
	f.report(2, false) // of the template without a hash
	first := f.untilRolledFrom("")
	f.untilCondition("acme", v1alpha1.ConditionGatewaySynced, metav1.ConditionFalse, v1alpha1.ReasonRolloutInProgress)
	f.report(1, false)
	f.untilCondition("acme", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRolloutInProgress)
	f.report(2, false)
	f.untilReady("acme")

	// A change while nothing rolls: one rollout, and who could sign in still can.
	f.create(tenant("globex", provider))
	second := f.untilRolledFrom(first)
	f.untilCondition("globex", v1alpha1.ConditionGatewaySynced, metav1.ConditionFalse, v1alpha1.ReasonRolloutInProgress)
	f.untilReady("acme")

	// A change during a rollout waits for its end.
	f.create(tenant("initech", provider))
	f.untilCondition("initech", v1alpha1.ConditionGatewaySynced, metav1.ConditionFalse, v1alpha1.ReasonRolloutPending)
	require.Equal(t, second, rolledTo(f.deployment()))

	// A rollout that is stuck is told to those that wait; one that may help starts.
	f.report(1, true)
	third := f.untilRolledFrom(second)
	f.report(1, true)
	f.untilCondition("initech", v1alpha1.ConditionGatewaySynced, metav1.ConditionFalse, v1alpha1.ReasonRolloutStuck)
	f.report(2, false)
	f.untilReady("globex")
	f.untilReady("initech")

	// The Deployment stays the user's: we own three annotations.
	var owned []string
	for _, m := range f.deployment().ManagedFields {
		if m.Manager == "saml-operator-rollout" {
			owned = append(owned, m.FieldsV1.GetRawString())
		}
	}
	require.Len(t, owned, 1)
	require.JSONEq(t, `{
		"f:metadata": {"f:annotations": {
			"f:sso.cequence.cloud/rollout-resource-version": {}, "f:sso.cequence.cloud/rollout-started-at": {}
		}},
		"f:spec": {"f:template": {"f:metadata": {"f:annotations": {"f:sso.cequence.cloud/config-hash": {}}}}}
	}`, owned[0])

	// A tenant that goes away changes the fleet as well. Its Secret is deleted
	// here by hand, in place of the garbage collector.
	globex := &v1alpha1.SAMLTenant{ObjectMeta: metav1.ObjectMeta{Name: "globex"}}
	require.NoError(t, f.Delete(t.Context(), globex))
	require.NoError(t, f.Delete(t.Context(), f.secret("globex-saml-sp")))
	f.untilRolledFrom(third)
}
