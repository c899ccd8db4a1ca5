package cluster_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"cequence.cloud/saml-operator/test/apiserver"
	"cequence.cloud/saml-operator/test/cluster"
)

func TestRolledOut(t *testing.T) {
	two := int32(2)
	deployment := func(change func(*appsv1.DeploymentStatus)) *appsv1.Deployment {
		d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: &two}}
		d.Generation = 3
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: 3, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2}
		change(&d.Status)
		return d
	}
	assert.NoError(t, cluster.RolledOut(deployment(func(*appsv1.DeploymentStatus) {})))
	for name, change := range map[string]func(*appsv1.DeploymentStatus){
		"not seen":         func(s *appsv1.DeploymentStatus) { s.ObservedGeneration = 2 },
		"an old one":       func(s *appsv1.DeploymentStatus) { s.UpdatedReplicas = 1 },
		"one more":         func(s *appsv1.DeploymentStatus) { s.Replicas = 3 },
		"one is not ready": func(s *appsv1.DeploymentStatus) { s.AvailableReplicas = 1 },
	} {
		assert.Error(t, cluster.RolledOut(deployment(change)), name)
	}
}

// A suite installs over nobody's installation.
func TestFree(t *testing.T) {
	for name, present := range map[string]client.Object{
		"in the namespace": &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "saml-operator-system"}},
		"in another one":   &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "saml-operator"}},
	} {
		c := cluster.Cluster{WithWatch: fake.NewClientBuilder().WithScheme(apiserver.Scheme()).WithObjects(present).Build()}
		assert.ErrorContains(t, c.Free(t.Context(), "saml-operator-system"), "would be overwritten", name)
	}
	c := cluster.Cluster{WithWatch: fake.NewClientBuilder().WithScheme(apiserver.Scheme()).Build()}
	assert.NoError(t, c.Free(t.Context(), "saml-operator-system"))
}

func TestVersions(t *testing.T) {
	before := cluster.Versions{"Secret a": "1", "Secret b": "2", "Pod a-1": "3"}
	assert.Empty(t, before.Changed(before))
	assert.Equal(t, []string{"Event a-1 is new", "Secret a was written", "Pod a-1 is gone"},
		before.Changed(cluster.Versions{"Secret a": "4", "Secret b": "2", "Event a-1": "5"}))
	assert.Equal(t, []string{"Pod a-1", "Secret a"}, before.Named("a"))
}

func TestControlGroupsOfAPod(t *testing.T) {
	const uid = "7f8bb265-7ac1-4f0e-8f43-b5a1b1a5d7b6"
	for lines, want := range map[string]bool{
		"4:cpu:/node/kubepods/burstable/pod7f8bb265-7ac1-4f0e-8f43-b5a1b1a5d7b6/0af3":                                     true,
		"0::/kubepods.slice/kubepods-burstable-pod7f8bb265_7ac1_4f0e_8f43_b5a1b1a5d7b6.slice/cri-containerd-0af3.scope\n": true,
		"0::/kubepods/burstable/podffffffff-7ac1-4f0e-8f43-b5a1b1a5d7b6/0af3":                                             false,
		"0::/user.slice": false,
	} {
		assert.Equal(t, want, cluster.InControlGroup(lines, uid), lines)
	}
}
