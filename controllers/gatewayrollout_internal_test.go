package controllers

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// The wait for quiet begins anew with each change, and with nothing else.
func TestOnlyAChangeOfTheFleetDisturbsTheQuiet(t *testing.T) {
	secret := func(config, hash, other string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{tenantconfig.LabelConfig: config},
			Annotations: map[string]string{tenantconfig.AnnotationConfigHash: hash, "other": other},
		}}
	}
	p := fleetChanged()
	config := secret(tenantconfig.LabelTrue, "1", "")
	key := secret("", "1", "")
	require.True(t, p.Create(event.CreateEvent{Object: config}))
	require.True(t, p.Delete(event.DeleteEvent{Object: config}))
	require.False(t, p.Create(event.CreateEvent{Object: key}))
	for name, test := range map[string]struct {
		before, after *corev1.Secret
		passes        bool
	}{
		"another hash":       {config, secret(tenantconfig.LabelTrue, "2", ""), true},
		"withdrawn":          {config, key, true},
		"served again":       {key, config, true},
		"another annotation": {config, secret(tenantconfig.LabelTrue, "1", "x"), false},
		"an SP key":          {key, secret("", "2", ""), false},
	} {
		require.Equal(t, test.passes, p.Update(event.UpdateEvent{ObjectOld: test.before, ObjectNew: test.after}), name)
	}

	now := time.Now()
	r := &GatewayRolloutReconciler{Now: func() time.Time { return now }}
	require.Len(t, r.changed(t.Context(), config), 1)
	now = now.Add(time.Minute)
	r.changed(t.Context(), config)
	require.Equal(t, now, *r.lastChange.Load())
}

// A Deployment that is complete before the tenants' wait for it is on record
// would find nobody to tell: whoever begins to wait looks once more.
func TestWhoBeginsToWaitForTheGatewayLooksOnceMore(t *testing.T) {
	tenant := func(status ...metav1.ConditionStatus) *v1alpha1.SAMLTenant {
		t := &v1alpha1.SAMLTenant{}
		for _, s := range status {
			t.Status.Conditions = append(t.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionGatewaySynced, Status: s})
		}
		return t
	}
	for name, test := range map[string]struct {
		before, after *v1alpha1.SAMLTenant
		passes        bool
	}{
		"the first time": {tenant(), tenant(metav1.ConditionFalse), true},
		"again":          {tenant(metav1.ConditionTrue), tenant(metav1.ConditionFalse), true},
		"still":          {tenant(metav1.ConditionFalse), tenant(metav1.ConditionFalse), false},
		"no longer":      {tenant(metav1.ConditionFalse), tenant(metav1.ConditionTrue), false},
		"never":          {tenant(), tenant(), false},
	} {
		require.Equal(t, test.passes, beganToWait().Update(event.UpdateEvent{ObjectOld: test.before, ObjectNew: test.after}), name)
	}
}
