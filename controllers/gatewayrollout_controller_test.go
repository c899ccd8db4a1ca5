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
	"cequence.cloud/saml-operator/internal/rollout"
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

// observe plays it for a change that starts no pods anew: its own status tells
// that it has seen the Deployment as d is.
func (f *fixture) observe(d *appsv1.Deployment) {
	f.t.Helper()
	before := d.DeepCopy()
	d.Status.ObservedGeneration = d.Generation
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

// untilRolledFrom waits for another hash than that. Meanwhile it observes what
// the operator writes beside the pod template.
func (f *fixture) untilRolledFrom(hash string) string {
	f.t.Helper()
	var now string
	require.Eventually(f.t, func() bool {
		d := f.deployment()
		if now = rolledTo(d); now == hash {
			f.observe(d)
		}
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
	f.untilEvent("saml-gateway", corev1.EventTypeWarning, v1alpha1.ReasonRolloutStuck, "does not progress")
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

func TestTenantsFollowTheGatewaysComingAndGoing(t *testing.T) {
	f := start(t, "saml-gateway")
	f.create(tenant("acme", startIDP(t, testidp.Options{})))
	f.untilCondition("acme", v1alpha1.ConditionGatewaySynced, metav1.ConditionFalse, v1alpha1.ReasonGatewayNotFound)
	f.create(deployment())
	f.report(2, false)
	f.untilRolledFrom("")
	f.report(2, false)
	f.untilReady("acme")

	d := f.deployment()
	f.update(d, func() { d.Spec.Replicas = ptr.To(int32(0)) })
	f.reportScaledDown()
	f.untilCondition("acme", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonGatewayNotFound)
	f.update(d, func() { d.Spec.Replicas = ptr.To(int32(2)) })
	f.report(2, false)
	f.untilReady("acme")

	require.NoError(t, f.Delete(t.Context(), f.deployment()))
	f.untilCondition("acme", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonGatewayNotFound)
}

func TestPausedDeploymentIsNotRolledAndIsSaidToBePaused(t *testing.T) {
	f := start(t, "saml-gateway")
	d := deployment()
	d.Spec.Paused = true
	f.create(tenant("acme", startIDP(t, testidp.Options{})))
	f.untilCondition("acme", v1alpha1.ConditionGatewaySynced, metav1.ConditionFalse, v1alpha1.ReasonGatewayNotFound)
	f.create(d)
	f.report(2, false)
	f.untilCondition("acme", v1alpha1.ConditionGatewaySynced, metav1.ConditionFalse, v1alpha1.ReasonRolloutStuck)
	f.untilMessage("acme", "paused")
	require.Empty(t, rolledTo(f.deployment()))

	f.update(d, func() { d.Spec.Paused = false })
	f.untilRolledFrom("")
	f.report(2, false)
	f.untilReady("acme")
}

// In the mode Structural a tenant costs the gateway nothing: one rollout for
// the gateway as a whole, none for those who come later.
func TestStructuralRollsForTheGatewayAlone(t *testing.T) {
	f := startRolling(t, "saml-gateway", rollout.Settings{Structural: true})
	provider := startIDP(t, testidp.Options{})
	d := deployment()
	d.Spec.Paused = true
	f.create(d)
	f.report(2, false)
	f.create(tenant("acme", provider))
	f.untilCondition("acme", v1alpha1.ConditionGatewaySynced, metav1.ConditionFalse, v1alpha1.ReasonRolloutStuck)
	f.update(d, func() { d.Spec.Paused = false })
	hash := f.untilRolledFrom("")
	f.untilCondition("acme", v1alpha1.ConditionGatewaySynced, metav1.ConditionFalse, v1alpha1.ReasonRolloutInProgress)
	f.report(2, false)
	f.untilCondition("acme", v1alpha1.ConditionGatewaySynced, metav1.ConditionTrue, v1alpha1.ReasonRolloutNotNeeded)

	settled := f.deployment().ResourceVersion
	f.create(tenant("globex", provider))
	f.untilReady("globex")
	got := &v1alpha1.SAMLTenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}
	f.update(got, func() { got.Spec.DisplayName = "Acme" })
	f.until("acme", "the edit is served", func(t *v1alpha1.SAMLTenant) bool { return t.Generation == 2 })
	f.untilReady("acme")
	f.stop()
	f.run()
	f.create(tenant("initech", provider))
	f.untilReady("initech")
	require.Equal(t, settled, f.deployment().ResourceVersion, "neither tenants nor a restart write to the Deployment")
	require.Equal(t, hash, rolledTo(f.deployment()))

	// Whoever wants each change to be rolled gets it from then on.
	f.stop()
	f.rollout = rollout.Settings{}
	f.run()
	f.untilRolledFrom(hash)
	f.report(2, false)
	for _, name := range []string{"acme", "globex", "initech"} {
		f.untilCondition(name, v1alpha1.ConditionGatewaySynced, metav1.ConditionTrue, v1alpha1.ReasonRolloutComplete)
	}
}
