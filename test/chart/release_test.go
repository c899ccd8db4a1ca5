package chart_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/action"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/kube"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// configHash is what the operator writes into the gateway's pod template, and
// rolloutStarted one of the records that it keeps on the Deployment.
const (
	configHash     = "sso.cequence.cloud/config-hash"
	rolloutStarted = "sso.cequence.cloud/rollout-started"
)

// Helm 4 applies on the server's side, and Helm 3 merges what it applied before,
// what it applies now and what is there. By either, upgrades and the way back
// leave what the operator has written, and take what the chart has not any more.
func TestReleaseSharesTheDeploymentWithTheOperator(t *testing.T) {
	for name, serverSide := range map[string]bool{"helm 3": false, "helm 4": true} {
		t.Run(name, func(t *testing.T) {
			in := "release-" + name[len("helm "):]
			require.NoError(t, createNamespace(t.Context(), in))
			// The first release has what belongs to the cluster.
			cluster := `{crds: {install: false}, clusterRoles: {install: false}, `
			r := &release{t: t, namespace: in, serverSide: serverSide}
			r.install(load(t), cluster+`images: {gateway: {tag: v1}}}`)
			r.roll("first")
			before := r.gateway()

			r.upgrade(cluster + `images: {gateway: {tag: v1}}}`)
			assert.Equal(t, before.Generation, r.gateway().Generation, "nothing has changed, so no pod is replaced")
			assert.Equal(t, "first", r.rolled())

			r.upgrade(cluster + `images: {gateway: {tag: v2}}, tls: {enabled: false}}`)
			upgraded := r.gateway()
			assert.Equal(t, "saml-gateway:v2", upgraded.Spec.Template.Spec.Containers[0].Image)
			assert.NotContains(t, upgraded.Spec.Template.Spec.Containers[0].Args, "--tls-cert-file=/tls/tls.crt")
			assert.Equal(t, "first", r.rolled())
			assert.Contains(t, upgraded.Annotations, rolloutStarted)

			r.roll("second")
			r.rollback(1)
			assert.Equal(t, "saml-gateway:v1", r.gateway().Spec.Template.Spec.Containers[0].Image)
			assert.Equal(t, "second", r.rolled())

			// To PostgreSQL and back: the strategy's fields go with it, and the claim stays.
			r.upgrade(cluster + `gateway: {database: {type: PostgreSQL}}}`)
			assert.Equal(t, int32(2), *r.gateway().Spec.Replicas)
			require.NoError(t, admin.Get(t.Context(), client.ObjectKey{Namespace: in, Name: "saml-gateway-data"}, &corev1.PersistentVolumeClaim{}),
				"it has the users, who are not taken over")
			r.upgrade(cluster + `}`)
			assert.Equal(t, appsv1.RecreateDeploymentStrategyType, r.gateway().Spec.Strategy.Type)
			assert.Nil(t, r.gateway().Spec.Strategy.RollingUpdate)
			assert.Equal(t, "second", r.rolled())
		})
	}
}

// A CustomResourceDefinition in Helm's own folder for them would never be
// upgraded. Ours is, and outlives the release with its tenants.
func TestReleaseUpgradesTheDefinition(t *testing.T) {
	require.NoError(t, createNamespace(t.Context(), "definition"))
	columns := func() []any {
		definition := &unstructured.Unstructured{}
		definition.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
		require.NoError(t, admin.Get(t.Context(), client.ObjectKey{Name: "samltenants.sso.cequence.cloud"}, definition))
		require.Nil(t, definition.GetDeletionTimestamp())
		versions, _, err := unstructured.NestedSlice(definition.Object, "spec", "versions")
		require.NoError(t, err)
		require.Len(t, versions, 1)
		columns, _ := versions[0].(map[string]any)["additionalPrinterColumns"].([]any)
		return columns
	}
	older := load(t)
	for _, file := range older.Files {
		if strings.HasPrefix(file.Name, "files/crd/") {
			var definition map[string]any
			require.NoError(t, yaml.Unmarshal(file.Data, &definition))
			delete(definition["spec"].(map[string]any)["versions"].([]any)[0].(map[string]any), "additionalPrinterColumns")
			var err error
			file.Data, err = yaml.Marshal(definition)
			require.NoError(t, err)
		}
	}
	r := &release{t: t, namespace: "definition", serverSide: true}
	r.install(older, ``)
	require.Empty(t, columns())
	r.upgrade(``)
	upgraded := columns()
	assert.NotEmpty(t, upgraded)

	uninstall := action.NewUninstall(r.configuration())
	uninstall.WaitStrategy = kube.HookOnlyStrategy
	_, err := uninstall.Run(releaseName)
	require.NoError(t, err)
	assert.Equal(t, upgraded, columns())
	assert.True(t, apierrors.IsNotFound(admin.Get(t.Context(), client.ObjectKey{Namespace: "definition", Name: "saml-gateway"}, &appsv1.Deployment{})))
}

// Who has installed by kubectl can go on with Helm.
func TestReleaseTakesOverFromKubectl(t *testing.T) {
	for name, serverSide := range map[string]bool{"helm 3": false, "helm 4": true} {
		t.Run(name, func(t *testing.T) {
			in := "takeover-" + name[len("helm "):]
			require.NoError(t, createNamespace(t.Context(), in))
			kubectlApply(t, in, kustomize(t, defaultComponents(t)...))
			r := &release{t: t, namespace: in, serverSide: serverSide, takeOver: true}
			r.roll("before")
			r.install(load(t), `{crds: {install: false}, clusterRoles: {install: false}, images: {gateway: {tag: v2}}}`)
			taken := r.gateway().Spec.Template
			assert.Equal(t, "saml-gateway:v2", taken.Spec.Containers[0].Image)
			assert.Equal(t, []string{"saml-settings"}, configMaps(taken.Spec.Containers[0].Env), "not that of kustomize, whose name has a hash")
			assert.Equal(t, "before", r.rolled())
		})
	}
}

// configMaps returns those that variables come from.
func configMaps(env []corev1.EnvVar) (names []string) {
	for _, variable := range env {
		if from := variable.ValueFrom; from != nil && from.ConfigMapKeyRef != nil {
			names = append(names, from.ConfigMapKeyRef.Name)
		}
	}
	return names
}

// kubectlApply applies what is in a namespace as `kubectl apply` does.
func kubectlApply(t *testing.T, in string, objects []*unstructured.Unstructured) {
	t.Helper()
	list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List"}}
	for _, object := range objects {
		if object.GetNamespace() != "" {
			object.SetNamespace(in)
			list.Items = append(list.Items, *object)
		}
	}
	text, err := list.MarshalJSON()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), kubectlPath, "--kubeconfig="+kubeconfigPath, "apply", "-f", "-")
	cmd.Stdin = bytes.NewReader(text)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

const releaseName = "sso"

// release is a release of the chart.
type release struct {
	t          *testing.T
	namespace  string
	serverSide bool
	// takeOver takes objects that somebody else has made.
	takeOver bool
}

func (r *release) configuration() *action.Configuration {
	r.t.Helper()
	flags := genericclioptions.NewConfigFlags(true)
	flags.KubeConfig, flags.Namespace = &kubeconfigPath, &r.namespace
	configuration := action.NewConfiguration()
	require.NoError(r.t, configuration.Init(flags, r.namespace, "secret"))
	return configuration
}

func (r *release) install(c *chart.Chart, values string) {
	r.t.Helper()
	install := action.NewInstall(r.configuration())
	install.ReleaseName, install.Namespace = releaseName, r.namespace
	install.ServerSideApply, install.WaitStrategy = r.serverSide, kube.HookOnlyStrategy
	install.TakeOwnership, install.ForceConflicts = r.takeOver, r.takeOver && r.serverSide
	_, err := install.Run(c, parse(r.t, values))
	require.NoError(r.t, err)
}

func (r *release) upgrade(values string) {
	r.t.Helper()
	upgrade := action.NewUpgrade(r.configuration())
	upgrade.Namespace, upgrade.WaitStrategy = r.namespace, kube.HookOnlyStrategy
	_, err := upgrade.Run(releaseName, load(r.t), parse(r.t, values))
	require.NoError(r.t, err)
}

func (r *release) rollback(version int) {
	r.t.Helper()
	rollback := action.NewRollback(r.configuration())
	rollback.Version, rollback.WaitStrategy = version, kube.HookOnlyStrategy
	require.NoError(r.t, rollback.Run(releaseName))
}

// roll writes what the operator does when it rolls the gateway.
func (r *release) roll(hash string) {
	r.t.Helper()
	require.NoError(r.t, admin.Apply(r.t.Context(), applyappsv1.Deployment("saml-gateway", r.namespace).
		WithAnnotations(map[string]string{rolloutStarted: "2026-01-01T00:00:00Z"}).
		WithSpec(applyappsv1.DeploymentSpec().WithTemplate(applycorev1.PodTemplateSpec().
			WithAnnotations(map[string]string{configHash: hash}))), client.FieldOwner("saml-operator-rollout")))
}

func (r *release) rolled() string { return r.gateway().Spec.Template.Annotations[configHash] }

func (r *release) gateway() *appsv1.Deployment {
	r.t.Helper()
	var d appsv1.Deployment
	require.NoError(r.t, admin.Get(r.t.Context(), client.ObjectKey{Namespace: r.namespace, Name: "saml-gateway"}, &d))
	return &d
}
