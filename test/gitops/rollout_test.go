package gitops_test

import (
	"context"
	"encoding/pem"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"cequence.cloud/saml-operator/api/v1alpha1"
	config "cequence.cloud/saml-operator/config/gitops"
	"cequence.cloud/saml-operator/controllers"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/render"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

const (
	patience = 30 * time.Second
	tick     = 50 * time.Millisecond
)

// apply brings the manifest of the gateway's Deployment into a namespace, as a
// tool does.
type apply func(t *testing.T, namespace string, manifest *unstructured.Unstructured)

func serverSide(manager string) apply {
	return func(t *testing.T, namespace string, manifest *unstructured.Unstructured) {
		t.Helper()
		object := manifest.DeepCopy()
		object.SetNamespace(namespace)
		require.NoError(t, admin.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(manager), client.ForceOwnership))
	}
}

func clientSide(t *testing.T, namespace string, manifest *unstructured.Unstructured) {
	t.Helper()
	text, err := yaml.Marshal(manifest.Object)
	require.NoError(t, err)
	kubectl(t, text, "apply", "-n", namespace, "-f", "-")
}

// Tools apply the manifest from the repository again and again. What the
// operator has written beside it stays, and neither writes over the other.
func TestToolsAndTheOperatorShareTheDeployment(t *testing.T) {
	for tool, apply := range map[string]apply{
		"Argo CD, server-side":          serverSide("argocd-controller"),
		"Flux":                          serverSide("kustomize-controller"),
		"Helm 4":                        serverSide("helm"),
		"kubectl or Argo CD, two sides": clientSide,
	} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			s := startSharing(t)
			apply(t, s.namespace, s.manifest)
			s.createTenant("acme")
			first := s.untilRolledFrom("")
			s.untilReady("acme")

			// The API server orders managedFields by time, in whole seconds: the first
			// apply in a later one than the operator's may move the tool's entry behind
			// that, and nothing else.
			generation := s.deployment().Generation
			require.Eventually(t, func() bool {
				return !slices.ContainsFunc(s.deployment().ManagedFields, func(m metav1.ManagedFieldsEntry) bool {
					return m.Time != nil && !time.Now().Truncate(time.Second).After(m.Time.Time)
				})
			}, patience, tick)
			apply(t, s.namespace, s.manifest)
			settled := s.deployment()
			assert.Equal(t, generation, settled.Generation)
			for range 3 {
				apply(t, s.namespace, s.manifest)
			}
			assert.Equal(t, settled.ResourceVersion, s.deployment().ResourceVersion)

			// A release of the user's keeps what the operator wrote; the operator keeps
			// what the user released.
			released := s.manifest.DeepCopy()
			setImage(t, released, "saml-gateway:v2")
			apply(t, s.namespace, released)
			assert.Equal(t, first, rolledTo(s.deployment()))
			s.createTenant("globex")
			s.untilRolledFrom(first)
			s.untilReady("globex")
			assert.Equal(t, "saml-gateway:v2", s.deployment().Spec.Template.Spec.Containers[0].Image)
		})
	}
}

// With RespectIgnoreDifferences Argo CD copies ignored fields of the live
// object into what it applies. A rollout that starts in between is taken back,
// which is why the recipe does without.
func TestRespectIgnoreDifferencesWouldTakeRolloutsBack(t *testing.T) {
	s := startSharing(t)
	argoCD := serverSide("argocd-controller")
	argoCD(t, s.namespace, s.manifest)
	s.createTenant("acme")
	first := s.untilRolledFrom("")
	target := s.manifest.DeepCopy()
	require.NoError(t, unstructured.SetNestedField(target.Object, first, "spec", "template", "metadata", "annotations", tenantconfig.AnnotationConfigHash))
	s.createTenant("globex")
	second := s.untilRolledFrom(first)
	before := s.deployment().Generation
	argoCD(t, s.namespace, target)
	// The operator notices, at the cost of a rollout.
	require.Equal(t, second, s.untilRolledFrom(first))
	require.GreaterOrEqual(t, s.deployment().Generation, before+2)
	s.untilReady("globex")
}

func TestRecipeOfArgoCDIgnoresTheOperatorsManager(t *testing.T) {
	s := startSharing(t)
	serverSide("argocd-controller")(t, s.namespace, s.manifest)
	s.createTenant("acme")
	s.untilRolledFrom("")
	var application struct {
		Spec struct {
			IgnoreDifferences []struct {
				Group, Kind, Name     string
				ManagedFieldsManagers []string
			}
			SyncPolicy struct{ SyncOptions []string }
		}
	}
	require.NoError(t, yaml.Unmarshal(config.Applications, &application))
	require.Len(t, application.Spec.IgnoreDifferences, 1)
	ignored := application.Spec.IgnoreDifferences[0]
	assert.Equal(t, []string{s.manifest.GetName(), s.manifest.GetKind(), s.manifest.GroupVersionKind().Group}, []string{ignored.Name, ignored.Kind, ignored.Group})
	assert.Contains(t, application.Spec.SyncPolicy.SyncOptions, "ServerSideApply=true")
	assert.NotContains(t, application.Spec.SyncPolicy.SyncOptions, "RespectIgnoreDifferences=true")
	var managers []string
	for _, m := range s.deployment().ManagedFields {
		// The operator writes nothing as another manager.
		if m.Manager != "argocd-controller" && m.Subresource == "" {
			managers = append(managers, m.Manager)
		}
	}
	assert.Equal(t, managers, ignored.ManagedFieldsManagers)
}

// sharing is a namespace with an operator, which rolls the Deployment of
// config/gateway.
type sharing struct {
	t         *testing.T
	namespace string
	manifest  *unstructured.Unstructured
	idp       *testidp.IDP
	ca        string
}

func startSharing(t *testing.T) *sharing {
	t.Helper()
	s := &sharing{t: t, namespace: newNamespace(t), manifest: gatewayManifest(t)}
	var err error
	s.idp, err = testidp.New(testidp.Options{})
	require.NoError(t, err)
	server := httptest.NewTLSServer(s.idp)
	t.Cleanup(server.Close)
	s.idp.SetBaseURL(server.URL)
	s.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))

	base, err := render.ParseBaseDomain("s.cequence.cloud")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	mgr, err := controllers.NewManager(ctx, cluster, controllers.Options{
		Namespace: s.namespace, Gateway: s.manifest.GetName(), BaseDomain: base, RefreshInterval: time.Hour,
		Fetcher:       idpmetadata.NewFetcher(idpmetadata.FetcherOptions{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}),
		HealthAddress: "0", MetricsAddress: "0",
	})
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(t, mgr.Start(ctx)) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return s
}

// gatewayManifest is the Deployment as it is in a repository.
func gatewayManifest(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	manifest := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal([]byte(kubectl(t, nil, "create", "--dry-run=client", "-o", "yaml", "-f", "../../config/gateway/deployment.yaml")), manifest))
	manifest.SetNamespace("")
	return manifest
}

func setImage(t *testing.T, manifest *unstructured.Unstructured, image string) {
	t.Helper()
	containers, _, err := unstructured.NestedSlice(manifest.Object, "spec", "template", "spec", "containers")
	require.NoError(t, err)
	require.Len(t, containers, 1)
	containers[0].(map[string]any)["image"] = image
	require.NoError(t, unstructured.SetNestedSlice(manifest.Object, containers, "spec", "template", "spec", "containers"))
}

func (s *sharing) createTenant(name string) {
	s.t.Helper()
	tenant := newTenant(s.namespace, name, s.idp.MetadataURL())
	tenant.Spec.MetadataCA = s.ca
	require.NoError(s.t, admin.Create(s.t.Context(), tenant))
}

func (s *sharing) deployment() *appsv1.Deployment {
	s.t.Helper()
	d := &appsv1.Deployment{}
	require.NoError(s.t, admin.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: s.manifest.GetName()}, d))
	return d
}

func rolledTo(d *appsv1.Deployment) string {
	return d.Spec.Template.Annotations[tenantconfig.AnnotationConfigHash]
}

// reportAvailable plays the Deployment controller, which has no node to run
// pods on here: all pods of the newest template are available.
func (s *sharing) reportAvailable() {
	s.t.Helper()
	d := s.deployment()
	before := d.DeepCopy()
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1,
	}
	require.NoError(s.t, admin.Status().Patch(s.t.Context(), d, client.MergeFrom(before)))
}

// untilRolledFrom waits for another hash than that, and for its rollout.
func (s *sharing) untilRolledFrom(hash string) string {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		s.reportAvailable()
		return rolledTo(s.deployment()) != hash
	}, patience, tick, "the pod template still has the hash %q", hash)
	s.reportAvailable()
	return rolledTo(s.deployment())
}

func (s *sharing) untilReady(name string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		tenant := &v1alpha1.SAMLTenant{}
		err := admin.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, tenant)
		return err == nil && meta.IsStatusConditionTrue(tenant.Status.Conditions, v1alpha1.ConditionReady)
	}, patience, tick, "SAMLTenant %s is not Ready", name)
}
