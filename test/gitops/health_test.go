package gitops_test

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"cequence.cloud/saml-operator/api/v1alpha1"
	config "cequence.cloud/saml-operator/config/gitops"
	"cequence.cloud/saml-operator/test/gitops"
)

func TestHealth(t *testing.T) {
	for title, test := range map[string]struct {
		// object lacks what all have in common.
		object  string
		health  gitops.Health
		kstatus status.Status
	}{
		"nobody has looked at it": {
			"status: {observedGeneration: -1}",
			gitops.Health{Status: "Progressing", Message: "the operator has not looked at this spec yet"}, status.InProgressStatus,
		},
		"edited since": {
			"status: {observedGeneration: 1, conditions: [{type: Ready, status: 'True', reason: Succeeded, message: users can sign in}]}",
			gitops.Health{Status: "Progressing", Message: "the operator has not looked at this spec yet"}, status.InProgressStatus,
		},
		"no conditions": {
			"status: {observedGeneration: 2, conditions: []}",
			gitops.Health{Status: "Progressing", Message: "the operator says nothing yet"}, "",
		},
		"other conditions only": {
			"status: {observedGeneration: 2, conditions: [{type: MetadataFetched, status: 'True', reason: Succeeded, message: fetched}]}",
			gitops.Health{Status: "Progressing", Message: "the operator says nothing yet"}, "",
		},
		"ready": {
			"status: {observedGeneration: 2, conditions: [{type: MetadataFetched, status: 'False', reason: Timeout, message: slow}, {type: Ready, status: 'True', reason: Succeeded, message: users can sign in}]}",
			gitops.Health{Status: "Healthy", Message: "users can sign in"}, status.CurrentStatus,
		},
		"working": {
			"status: {observedGeneration: 2, conditions: [{type: Ready, status: 'False', reason: Timeout, message: the IdP is slow}, {type: Reconciling, status: 'True', reason: Progressing, message: the IdP is slow}]}",
			gitops.Health{Status: "Progressing", Message: "the IdP is slow"}, status.InProgressStatus,
		},
		"for the first time": {
			"status: {observedGeneration: 2, conditions: [{type: Ready, status: Unknown, reason: Progressing, message: being fetched}, {type: Reconciling, status: 'True', reason: Progressing, message: being fetched}]}",
			gitops.Health{Status: "Progressing", Message: "being fetched"}, status.InProgressStatus,
		},
		"waiting for a person": {
			"status: {observedGeneration: 2, conditions: [{type: Ready, status: 'False', reason: NameConflict, message: rename it}, {type: Stalled, status: 'True', reason: NameConflict, message: rename it}]}",
			gitops.Health{Status: "Degraded", Message: "rename it"}, status.FailedStatus,
		},
		"suspended": {
			"spec: {suspend: true}\nstatus: {observedGeneration: 2, conditions: [{type: Ready, status: 'True', reason: Suspended, message: what was configured before goes on}]}",
			gitops.Health{Status: "Suspended", Message: "what was configured before goes on"}, status.CurrentStatus,
		},
		"suspended from the beginning": {
			"spec: {suspend: true}\nstatus: {observedGeneration: 2, conditions: [{type: Ready, status: 'False', reason: Suspended, message: nothing is done}, {type: Stalled, status: 'True', reason: Suspended, message: nothing is done}]}",
			gitops.Health{Status: "Suspended", Message: "nothing is done"}, status.FailedStatus,
		},
	} {
		t.Run(title, func(t *testing.T) {
			object := &unstructured.Unstructured{}
			require.NoError(t, yaml.Unmarshal([]byte("apiVersion: sso.cequence.cloud/v1alpha1\nkind: SAMLTenant\nmetadata: {name: acme, generation: 2}\n"+test.object), object))
			health, err := gitops.ArgoCD(t.Context(), object)
			require.NoError(t, err)
			assert.Equal(t, test.health, health)
			flux, err := gitops.Flux(t.Context(), object)
			require.NoError(t, err)
			if test.kstatus == "" {
				// No state of ours; kstatus takes what has no Ready for done.
				assert.Equal(t, status.InProgressStatus, flux)
				return
			}
			assert.Equal(t, test.kstatus, flux)
			result, err := status.Compute(object)
			require.NoError(t, err)
			assert.Equal(t, test.kstatus, result.Status)
		})
	}
}

// Objects that the API server does not have, but a diff may.
func TestHealthLuaKnowsObjectsWithoutStatus(t *testing.T) {
	for _, text := range []string{
		"{kind: SAMLTenant, metadata: {name: acme}}",
		"{kind: SAMLTenant, metadata: {name: acme, generation: 1}, spec: {suspend: true}}",
		"{kind: SAMLTenant, metadata: {name: acme, generation: 1}, status: {}}",
		"{kind: SAMLTenant, metadata: {name: acme}, status: {conditions: []}}",
		"{kind: SAMLTenant, metadata: {name: acme}, status: null}",
		"{kind: SAMLTenant, metadata: {name: acme, generation: 1}, status: {observedGeneration: 1, conditions: null}}",
	} {
		object := &unstructured.Unstructured{}
		require.NoError(t, yaml.Unmarshal([]byte(text), &object.Object))
		health, err := gitops.ArgoCD(t.Context(), object)
		require.NoError(t, err, text)
		assert.Equal(t, "Progressing", health.Status, text)
	}
}

// Without the operator nothing must look finished: kstatus takes an object
// without a status for done.
func TestNewTenantIsInProgressBeforeTheOperatorSeesIt(t *testing.T) {
	tenant := newTenant(newNamespace(t), "acme", "https://idp.example.com/metadata")
	require.NoError(t, admin.Create(t.Context(), tenant))
	require.NoError(t, admin.Get(t.Context(), client.ObjectKeyFromObject(tenant), tenant))
	assert.EqualValues(t, -1, tenant.Status.ObservedGeneration)
	assert.Empty(t, gitops.Check(t.Context(), tenant))
}

// The checker of all other tests has to see what is wrong.
func TestCheckFindsWhatToolsMisread(t *testing.T) {
	tenant := newTenant("", "acme", "https://idp.example.com/metadata")
	tenant.Generation, tenant.Status.ObservedGeneration = 1, 1
	tenant.Status.Conditions = []metav1.Condition{
		{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSucceeded, Message: "users can sign in"},
		{Type: v1alpha1.ConditionReconciling, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonProgressing, Message: "still"},
	}
	wrong := gitops.Check(t.Context(), tenant)
	require.Len(t, wrong, 1)
	assert.EqualError(t, wrong[0], "kstatus says InProgress, want Current")
}

func TestKustomizationOfArgoCDHoldsTheLua(t *testing.T) {
	configMap := &corev1.ConfigMap{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(kubectl(t, nil, "kustomize", "../../config/gitops/argocd")), configMap))
	assert.Equal(t, "argocd-cm", configMap.Name)
	assert.Equal(t, map[string]string{"app.kubernetes.io/part-of": "argocd"}, configMap.Labels)
	assert.Equal(t, map[string]string{"resource.customizations.health.sso.cequence.cloud_SAMLTenant": config.HealthLua}, configMap.Data)

	// Beside what is in Argo CD's ConfigMap already.
	namespace := newNamespace(t)
	require.NoError(t, admin.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "argocd-cm"}, Data: map[string]string{"url": "https://argocd.example.com"},
	}))
	kubectl(t, nil, "apply", "--server-side", "-n", namespace, "-k", "../../config/gitops/argocd")
	require.NoError(t, admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "argocd-cm"}, configMap))
	assert.Len(t, configMap.Data, 2)
}

// What people look for among thousands.
func TestTenantsAreFoundByFields(t *testing.T) {
	namespace := newNamespace(t)
	acme := newTenant(namespace, "acme", "https://idp.acme.example/metadata")
	acme.Name = "customer-17"
	globex := newTenant(namespace, "globex", "https://idp.globex.example/metadata")
	globex.Spec.IDPEntityID, globex.Spec.Access, globex.Spec.Suspend = "https://idp.globex.example/", v1alpha1.AccessDisabled, true
	for _, tenant := range []*v1alpha1.SAMLTenant{acme, globex} {
		require.NoError(t, admin.Create(t.Context(), tenant))
	}
	for selector, want := range map[string]string{
		"spec.customerName=acme":                                    "customer-17",
		"spec.customerName!=acme":                                   "globex",
		"spec.metadataURL=https://idp.acme.example/metadata":        "customer-17",
		"spec.idpEntityID=https://idp.globex.example/":              "globex",
		"spec.access=Disabled":                                      "globex",
		"spec.suspend=true":                                         "globex",
		"spec.suspend=true,spec.customerName=acme":                  "",
		"metadata.name=customer-17,spec.customerName=acme":          "customer-17",
		"spec.metadataURL=https://idp.acme.example/metadata?tenant": "",
	} {
		assert.Equal(t, want, kubectl(t, nil, "get", "samlt", "-n", namespace, "--field-selector", selector, "-o", "jsonpath={.items[*].metadata.name}"), selector)
	}
}

func newTenant(namespace, customer, metadataURL string) *v1alpha1.SAMLTenant {
	return &v1alpha1.SAMLTenant{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: customer},
		Spec:       v1alpha1.SAMLTenantSpec{CustomerName: customer, MetadataURL: metadataURL},
	}
}
