// Package manifests_test installs config/default into a real API server, as an
// administrator does, and asks it what it thinks of the objects.
package manifests_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"cequence.cloud/saml-operator/internal/refresh"
)

const (
	installation = "../../config/default"
	namespace    = "saml-operator-system"
)

var (
	cluster        *rest.Config
	admin          client.Client
	kubectlPath    string
	kubeconfigPath string
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

// run starts the API server, installs the manifests and runs the tests.
func run(m *testing.M) int {
	env := &envtest.Environment{BinaryAssetsDirectory: "../../bin/kubernetes"}
	var err error
	cluster, err = env.Start()
	if err != nil {
		log.Printf("start the API server (make kubernetes builds it): %v", err)
		return 1
	}
	defer func() {
		if err := env.Stop(); err != nil {
			log.Printf("stop the API server: %v", err)
		}
	}()
	kubectlPath = env.ControlPlane.KubectlPath
	dir, err := os.MkdirTemp("", "manifests")
	if err != nil {
		log.Print(err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	kubeconfigPath = filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfigPath, env.KubeConfig, 0o600); err != nil {
		log.Print(err)
		return 1
	}
	if admin, err = client.New(cluster, client.Options{}); err != nil {
		log.Print(err)
		return 1
	}
	if out, err := kubectl("apply", "-k", installation); err != nil {
		log.Printf("install: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

func TestInstallingAgainChangesNothing(t *testing.T) {
	out, err := kubectl("apply", "-k", installation)
	require.NoError(t, err, out)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	assert.Len(t, lines, len(render(t, installation)))
	for _, line := range lines {
		assert.True(t, strings.HasSuffix(line, " unchanged"), line)
	}
}

// Server-side apply knows the API's types, and refuses a field that none has.
func TestNoFieldIsUnknown(t *testing.T) {
	for _, object := range render(t, installation) {
		err := admin.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object),
			client.FieldOwner("manifests-test"), client.ForceOwnership, client.DryRunAll)
		assert.NoError(t, err, "%s %s", object.GetKind(), object.GetName())
	}
}

func TestPodsAreAdmittedAsRestricted(t *testing.T) {
	for _, name := range []string{"saml-operator", "saml-gateway"} {
		var deployment appsv1.Deployment
		require.NoError(t, admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &deployment))
		pod := &corev1.Pod{ObjectMeta: deployment.Spec.Template.ObjectMeta, Spec: deployment.Spec.Template.Spec}
		pod.Name, pod.Namespace = name, namespace
		assert.NoError(t, admin.Create(t.Context(), pod.DeepCopy(), client.DryRunAll), name)

		pod.Spec.SecurityContext.RunAsNonRoot = nil
		err := admin.Create(t.Context(), pod, client.DryRunAll)
		require.True(t, apierrors.IsForbidden(err), "a lesser pod must be refused: %v", err)
		assert.ErrorContains(t, err, `violates PodSecurity "restricted:latest"`)
	}
}

func TestO5_Permissions(t *testing.T) {
	const (
		tenants = "samltenants.sso.cequence.cloud"
		leases  = "leases.coordination.k8s.io"
		events  = "events.events.k8s.io"
	)
	ctx := t.Context()
	for _, c := range []struct {
		account  string
		resource string
		allowed  string
		denied   string
	}{
		{"saml-operator", tenants, "get list watch", "create update patch delete deletecollection"},
		{"saml-operator", tenants + "/status", "patch", ""},
		{"saml-operator", "secrets", "get list watch create patch", "delete deletecollection"},
		{"saml-operator", "deployments.apps", "", "get list watch patch create update delete deletecollection"},
		{"saml-operator", leases, "get create update", "delete deletecollection"},
		{"saml-operator", events, "create patch", "delete deletecollection"},
		{"saml-operator", "pods", "", "get list create delete"},
		{"saml-operator", "pods/exec", "", "create"},
		{"saml-operator", "serviceaccounts/token", "", "create"},
		{"saml-operator", "roles.rbac.authorization.k8s.io", "", "create update patch bind escalate"},
		{"saml-gateway", "secrets", "get list watch", "create update patch delete deletecollection"},
		{"saml-gateway", tenants, "", "get list watch create update patch delete"},
		{"saml-gateway", "deployments.apps", "", "get list patch"},
		{"saml-gateway", "configmaps", "", "get list watch"},
		{"saml-gateway", leases, "", "get create update"},
		{"saml-gateway", "pods", "", "get list create delete"},
		{"saml-gateway", "serviceaccounts/token", "", "create"},
		{"saml-viewer", tenants + "/users", "get list", "create update patch delete"},
		{"saml-viewer", tenants + "/sessions", "list", "get create update patch delete deletecollection"},
		{"saml-viewer", tenants + "/test", "create", "get list update patch delete"},
		{"saml-administrator", tenants + "/test", "create", "get list update patch delete"},
		{"saml-viewer", tenants, "", "get list watch create update patch delete"},
		{"saml-viewer", "secrets", "", "get list watch"},
		{"saml-administrator", tenants + "/users", "get list update", "create patch delete"},
		{"saml-administrator", tenants + "/sessions", "list delete deletecollection", "get create update patch"},
		{"saml-administrator", tenants, "", "get list watch create update patch delete"},
		{"saml-administrator", "secrets", "", "get list watch"},
	} {
		for _, verb := range strings.Fields(c.allowed) {
			// The authorizer learns of a Role a moment after it is applied.
			assert.EventuallyWithT(t, func(t *assert.CollectT) {
				assert.True(t, may(ctx, t, c.account, verb, c.resource, namespace))
			}, 10*time.Second, 50*time.Millisecond, "%s must be allowed to %s %s", c.account, verb, c.resource)
			assert.False(t, may(ctx, t, c.account, verb, c.resource, "default"),
				"%s must not be allowed to %s %s of another namespace", c.account, verb, c.resource)
		}
		for _, verb := range strings.Fields(c.denied) {
			assert.False(t, may(ctx, t, c.account, verb, c.resource, namespace),
				"%s must not be allowed to %s %s", c.account, verb, c.resource)
		}
	}
}

// The operator may roll the gateway by server-side apply, and reads that one
// Deployment only, as its cache does: by name.
func TestOperatorMayRollTheGatewayAndNothingElse(t *testing.T) {
	config := rest.CopyConfig(cluster)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + namespace + ":saml-operator"}
	operator, err := client.NewWithWatch(config, client.Options{})
	require.NoError(t, err)
	list := func(options ...client.ListOption) error {
		return operator.List(t.Context(), &appsv1.DeploymentList{}, append(options, client.InNamespace(namespace))...)
	}
	roll := func(name string) error {
		return operator.Apply(t.Context(), applyappsv1.Deployment(name, namespace).WithSpec(applyappsv1.DeploymentSpec().
			WithTemplate(applycorev1.PodTemplateSpec().WithAnnotations(map[string]string{"sso.cequence.cloud/config-hash": "x"}))),
			client.FieldOwner("manifests-test"), client.DryRunAll)
	}
	gateway := client.MatchingFields{"metadata.name": "saml-gateway"}
	require.EventuallyWithT(t, func(t *assert.CollectT) { assert.NoError(t, list(gateway)) }, 10*time.Second, 50*time.Millisecond)
	watch, err := operator.Watch(t.Context(), &appsv1.DeploymentList{}, client.InNamespace(namespace), gateway)
	require.NoError(t, err)
	watch.Stop()
	require.NoError(t, roll("saml-gateway"))

	assert.True(t, apierrors.IsForbidden(list()))
	assert.True(t, apierrors.IsForbidden(list(client.MatchingFields{"metadata.name": "saml-operator"})))
	assert.True(t, apierrors.IsForbidden(roll("saml-operator")))
}

// Beyond their namespace operator and gateway may ask whose a token is and what
// its owner may do, and nothing else; the administrators' accounts not even that.
func TestWhoReviewsTokens(t *testing.T) {
	for _, reviews := range []string{"tokenreviews.authentication.k8s.io", "subjectaccessreviews.authorization.k8s.io"} {
		assert.EventuallyWithT(t, func(t *assert.CollectT) {
			assert.True(t, may(context.Background(), t, "saml-operator", "create", reviews, ""))
			assert.True(t, may(context.Background(), t, "saml-gateway", "create", reviews, ""))
		}, 10*time.Second, 50*time.Millisecond)
		assert.False(t, may(t.Context(), t, "saml-administrator", "create", reviews, ""))
	}
	role := find[rbacv1.ClusterRole](t, render(t, installation), "ClusterRole", "saml-operator")
	assert.Equal(t, []rbacv1.PolicyRule{
		{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}},
		{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}, Verbs: []string{"create"}},
	}, role.Rules)
}

// The gateway asks for refreshes where the operator listens, as whom the
// operator expects, with a token for nobody else.
func TestGatewayFindsTheOperator(t *testing.T) {
	objects := render(t, installation)
	gateway, operator := container(t, objects, "saml-gateway"), container(t, objects, "saml-operator")

	service := find[corev1.Service](t, objects, "Service", "saml-operator-refresh")
	assert.Equal(t, corev1.ClusterIPNone, service.Spec.ClusterIP, "the leader is found among all addresses")
	require.Len(t, service.Spec.Ports, 1)
	port := service.Spec.Ports[0].Port
	assert.Contains(t, gateway.Args, fmt.Sprintf("--operator-url=http://%s:%d", service.Name, port))
	assert.Contains(t, operator.Args, fmt.Sprintf("--refresh-bind-address=:%d", port))
	assert.Contains(t, operator.Ports, corev1.ContainerPort{Name: service.Spec.Ports[0].TargetPort.String(), ContainerPort: port})

	pod := find[appsv1.Deployment](t, objects, "Deployment", "saml-gateway").Spec.Template
	assert.Contains(t, operator.Args, "--gateway-service-account="+pod.Spec.ServiceAccountName)
	i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == "operator-token" })
	require.GreaterOrEqual(t, i, 0)
	require.Len(t, pod.Spec.Volumes[i].Projected.Sources, 1)
	token := pod.Spec.Volumes[i].Projected.Sources[0].ServiceAccountToken
	assert.Equal(t, refresh.Audience, token.Audience)
	i = slices.IndexFunc(gateway.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == "operator-token" })
	require.GreaterOrEqual(t, i, 0)
	assert.True(t, gateway.VolumeMounts[i].ReadOnly)
	assert.Contains(t, gateway.Args, "--operator-token-file="+gateway.VolumeMounts[i].MountPath+"/"+token.Path)

	policy := find[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy", "saml-operator")
	require.Len(t, policy.Spec.Ingress, 1)
	require.Len(t, policy.Spec.Ingress[0].From, 1)
	assert.Equal(t, pod.Labels, policy.Spec.Ingress[0].From[0].PodSelector.MatchLabels)
	require.Len(t, policy.Spec.Ingress[0].Ports, 1)
	assert.Equal(t, service.Spec.Ports[0].TargetPort, *policy.Spec.Ingress[0].Ports[0].Port)
}

// What operator and gateway call is reached under each network plugin: some take
// the first port of a range for the whole of it, and some no pod for an address.
func TestEgressDependsOnNoNetworkPlugin(t *testing.T) {
	objects := render(t, installation)
	for _, name := range []string{"saml-operator", "saml-gateway"} {
		t.Run(name, func(t *testing.T) {
			anywhere := find[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy", name).Spec.Egress
			require.NotEmpty(t, anywhere)
			to := anywhere[len(anywhere)-1]
			require.Len(t, to.Ports, 1)
			assert.Equal(t, corev1.ProtocolTCP, *to.Ports[0].Protocol)
			assert.Nil(t, to.Ports[0].Port, "all of them")
			assert.Contains(t, to.To, networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{}})
		})
	}
}

// Prometheus finds the operator's metrics, which nobody gets without a token,
// and its rights are those of one role.
func TestMetricsAreServedToPrometheusAlone(t *testing.T) {
	objects := render(t, installation)
	operator := container(t, objects, "saml-operator")
	service := find[corev1.Service](t, objects, "Service", "saml-operator-metrics")
	require.Len(t, service.Spec.Ports, 1)
	port := service.Spec.Ports[0]
	assert.Contains(t, operator.Args, fmt.Sprintf("--metrics-bind-address=:%d", port.Port))
	for _, arg := range operator.Args {
		assert.NotContains(t, arg, "--metrics-secure", "TLS and tokens are the default")
	}
	assert.Contains(t, operator.Ports, corev1.ContainerPort{Name: port.TargetPort.String(), ContainerPort: port.Port})
	policy := find[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy", "saml-operator-metrics")
	require.Len(t, policy.Spec.Ingress, 1)
	assert.Equal(t, []networkingv1.NetworkPolicyPeer{{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"metrics": "enabled"}},
	}}, policy.Spec.Ingress[0].From)
	require.Len(t, policy.Spec.Ingress[0].Ports, 1)
	assert.Equal(t, port.TargetPort, *policy.Spec.Ingress[0].Ports[0].Port)
	role := find[rbacv1.ClusterRole](t, objects, "ClusterRole", "saml-operator-metrics-reader")
	assert.Equal(t, []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}, role.Rules)
}

// The gateway's metrics are on its internal port, which nobody else's pods reach.
func TestMonitoringFindsTheGateway(t *testing.T) {
	objects := renderOverlay(t, `
namespace: sso-blue
resources: [`+installation+`]
components: [../../config/prometheus]
`)
	monitor := find[struct {
		Spec struct {
			Selector  metav1.LabelSelector `json:"selector"`
			Endpoints []struct {
				Port string `json:"port"`
				Path string `json:"path"`
			} `json:"podMetricsEndpoints"`
		} `json:"spec"`
	}](t, objects, "PodMonitor", "saml-gateway")
	require.Len(t, monitor.Spec.Endpoints, 1)
	assert.Equal(t, "/metrics", monitor.Spec.Endpoints[0].Path)
	gateway := find[appsv1.Deployment](t, objects, "Deployment", "saml-gateway")
	assert.Equal(t, gateway.Spec.Selector, &monitor.Spec.Selector)
	port := monitor.Spec.Endpoints[0].Port
	var number int32
	for _, p := range container(t, objects, "saml-gateway").Ports {
		if p.Name == port {
			number = p.ContainerPort
		}
	}
	assert.Contains(t, container(t, objects, "saml-gateway").Args, fmt.Sprintf("--internal-listen=:%d", number))
	policy := find[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy", "saml-gateway-metrics")
	assert.Equal(t, *gateway.Spec.Selector, policy.Spec.PodSelector)
	require.Len(t, policy.Spec.Ingress, 1)
	assert.Equal(t, []networkingv1.NetworkPolicyPeer{{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"metrics": "enabled"}},
	}}, policy.Spec.Ingress[0].From)
	require.Len(t, policy.Spec.Ingress[0].Ports, 1)
	assert.Equal(t, port, policy.Spec.Ingress[0].Ports[0].Port.String())
}

// The components for Prometheus and Grafana find what the installation has.
func TestMonitoringFindsTheOperator(t *testing.T) {
	objects := renderOverlay(t, `
namespace: sso-blue
resources: [`+installation+`]
components: [../../config/prometheus, ../../config/grafana]
`)
	monitor := find[struct {
		Spec struct {
			Selector  metav1.LabelSelector `json:"selector"`
			Endpoints []struct {
				Port   string `json:"port"`
				Scheme string `json:"scheme"`
			} `json:"endpoints"`
		} `json:"spec"`
	}](t, objects, "ServiceMonitor", "saml-operator")
	require.Len(t, monitor.Spec.Endpoints, 1)
	assert.Equal(t, "https", monitor.Spec.Endpoints[0].Scheme)
	selector, err := metav1.LabelSelectorAsSelector(&monitor.Spec.Selector)
	require.NoError(t, err)
	var selected []string
	for _, object := range objects {
		if object.GetKind() == "Service" && selector.Matches(labels.Set(object.GetLabels())) {
			selected = append(selected, object.GetName())
		}
	}
	assert.Equal(t, []string{"saml-operator-metrics"}, selected)
	service := find[corev1.Service](t, objects, "Service", "saml-operator-metrics")
	assert.Equal(t, service.Spec.Ports[0].Name, monitor.Spec.Endpoints[0].Port)

	binding := find[rbacv1.ClusterRoleBinding](t, objects, "ClusterRoleBinding", "saml-operator-metrics-reader")
	assert.Equal(t, []rbacv1.Subject{{Kind: "ServiceAccount", Name: "prometheus-k8s", Namespace: "monitoring"}}, binding.Subjects,
		"Prometheus stays where it is")
	find[rbacv1.ClusterRole](t, objects, "ClusterRole", binding.RoleRef.Name)
	dashboard := find[corev1.ConfigMap](t, objects, "ConfigMap", "saml-operator-dashboard")
	assert.Equal(t, "1", dashboard.Labels["grafana_dashboard"])
}

// Several gateways are several namespaces: an overlay moves everything but what
// belongs to the cluster, and sets what is its own.
func TestOverlay(t *testing.T) {
	objects := renderOverlay(t, `
namespace: sso-blue
resources: [`+installation+`]
configMapGenerator:
- name: saml-settings
  behavior: merge
  literals: [BASE_DOMAIN=blue.example]
images:
- {name: saml-operator, newName: registry.example/saml-operator, newTag: v1}
patches:
- target: {kind: ClusterRoleBinding, name: saml-operator}
  patch: '[{"op": "replace", "path": "/metadata/name", "value": "saml-operator-sso-blue"}]'
`)
	var settings string
	for _, object := range objects {
		if object.GetNamespace() != "" {
			assert.Equal(t, "sso-blue", object.GetNamespace(), "%s %s", object.GetKind(), object.GetName())
		}
		switch object.GetKind() {
		case "Namespace":
			assert.Equal(t, "sso-blue", object.GetName())
		case "ClusterRoleBinding":
			assert.Equal(t, "saml-operator-sso-blue", object.GetName(), "the other installation keeps its own")
			fallthrough
		case "RoleBinding":
			subjects, _, err := unstructured.NestedSlice(object.Object, "subjects")
			require.NoError(t, err)
			require.NotEmpty(t, subjects)
			for _, subject := range subjects {
				assert.Equal(t, "sso-blue", subject.(map[string]any)["namespace"])
			}
		case "ConfigMap":
			settings = object.GetName()
			domain, _, err := unstructured.NestedString(object.Object, "data", "BASE_DOMAIN")
			require.NoError(t, err)
			assert.Equal(t, "blue.example", domain)
		}
	}
	require.NotEmpty(t, settings)
	operator := container(t, objects, "saml-operator")
	assert.Equal(t, "registry.example/saml-operator:v1", operator.Image)
	for _, env := range operator.Env {
		if env.Name == "BASE_DOMAIN" {
			assert.Equal(t, settings, env.ValueFrom.ConfigMapKeyRef.Name, "a changed setting rolls the operator")
		}
	}
}

func TestGatewayEndsTLSUnlessLeftOut(t *testing.T) {
	withTLS := render(t, installation)
	assert.Subset(t, container(t, withTLS, "saml-gateway").Args,
		[]string{"--tls-cert-file=/tls/tls.crt", "--tls-key-file=/tls/tls.key"})
	assert.Equal(t, int32(443), servicePort(t, withTLS))

	plain := renderOverlay(t, "resources: [../../config/gateway]")
	gateway := container(t, plain, "saml-gateway")
	for _, arg := range gateway.Args {
		assert.NotContains(t, arg, "tls")
	}
	for _, mount := range gateway.VolumeMounts {
		assert.NotContains(t, mount.Name, "tls")
	}
	assert.Equal(t, int32(80), servicePort(t, plain))
}

// With PostgreSQL there is no moment without a gateway, and nothing that only
// one of them could have.
func TestReplicasOnPostgreSQL(t *testing.T) {
	for name, overlay := range map[string]string{
		"after TLS":  "resources: [" + installation + "]\ncomponents: [../../config/gateway/postgresql]",
		"before TLS": "resources: [../../config/gateway]\ncomponents: [../../config/gateway/postgresql, ../../config/gateway/tls]",
	} {
		objects := renderOverlay(t, "namespace: "+namespace+"\n"+overlay)
		deployment := find[appsv1.Deployment](t, objects, "Deployment", "saml-gateway")
		assert.Equal(t, int32(2), *deployment.Spec.Replicas, name)
		assert.Equal(t, appsv1.RollingUpdateDeploymentStrategyType, deployment.Spec.Strategy.Type)
		assert.Equal(t, 0, deployment.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue())
		gateway := container(t, objects, "saml-gateway")
		assert.Subset(t, gateway.Args, []string{
			"--database-url-file=/var/run/secrets/saml-gateway/url", "--cookie-key-file=/var/run/secrets/saml-gateway/cookie.key",
			"--identity-key-file=/var/run/secrets/saml-gateway/identity.pem", "--tls-key-file=/tls/tls.key",
			"--drain-delay=10s", // or connections are refused until each node has noticed
		}, name)
		for _, arg := range gateway.Args {
			assert.NotContains(t, arg, "--data-dir", name)
		}
		for _, volume := range deployment.Spec.Template.Spec.Volumes {
			assert.Nil(t, volume.PersistentVolumeClaim, name)
		}
		for _, object := range objects {
			assert.NotEqual(t, "PersistentVolumeClaim", object.GetKind(), name)
			switch object.GetKind() {
			case "Deployment", "PodDisruptionBudget":
				err := admin.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object),
					client.FieldOwner("manifests-test"), client.ForceOwnership, client.DryRunAll)
				assert.NoError(t, err, "%s: %s", name, object.GetKind())
			}
		}
	}
}

// The keys of the cookies are all of their Secret's, so that one can be replaced
// while others open.
func TestCookieKeysAreInASecret(t *testing.T) {
	for component, volume := range map[string]string{"cookie-key": "cookie-key", "postgresql": "shared"} {
		objects := renderOverlay(t, "namespace: "+namespace+"\nresources: ["+installation+"]\ncomponents: [../../config/gateway/"+component+"]")
		deployment := find[appsv1.Deployment](t, objects, "Deployment", "saml-gateway")
		gateway := container(t, objects, "saml-gateway")
		assert.Contains(t, gateway.Args, "--cookie-key-file=/var/run/secrets/saml-gateway/cookie.key", component)
		mounted := false
		for _, mount := range gateway.VolumeMounts {
			mounted = mounted || mount.Name == volume && mount.MountPath == "/var/run/secrets/saml-gateway" && mount.SubPath == ""
		}
		assert.True(t, mounted, component)
		var items []corev1.KeyToPath
		secrets := 0
		for _, v := range deployment.Spec.Template.Spec.Volumes {
			switch {
			case v.Name != volume:
			case v.Secret != nil:
				assert.Equal(t, "saml-gateway-cookie-key", v.Secret.SecretName)
				items, secrets = v.Secret.Items, secrets+1
			case v.Projected != nil:
				for _, source := range v.Projected.Sources {
					if source.Secret.Name == "saml-gateway-cookie-key" {
						items, secrets = source.Secret.Items, secrets+1
					}
				}
			}
		}
		assert.Equal(t, 1, secrets, component)
		assert.Empty(t, items, "%s: other keys of the Secret would not be there", component)
	}
}

// may asks the API server whether a service account of the installation is
// allowed to do something in a namespace. The resource is name.group/subresource.
func may(ctx context.Context, t require.TestingT, account, verb, resource, in string) bool {
	resource, subresource, _ := strings.Cut(resource, "/")
	name, group, _ := strings.Cut(resource, ".")
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:   fmt.Sprintf("system:serviceaccount:%s:%s", namespace, account),
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: in, Verb: verb, Group: group, Resource: name, Subresource: subresource,
		},
	}}
	require.NoError(t, admin.Create(ctx, review))
	return review.Status.Allowed
}

// find returns the object of that kind and name.
func find[T any](t *testing.T, objects []*unstructured.Unstructured, kind, name string) (found T) {
	t.Helper()
	for _, object := range objects {
		if object.GetKind() == kind && object.GetName() == name {
			require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &found))
			return found
		}
	}
	require.Fail(t, "no "+kind+" "+name)
	return found
}

// container returns the only container of a Deployment.
func container(t *testing.T, objects []*unstructured.Unstructured, deployment string) corev1.Container {
	t.Helper()
	containers := find[appsv1.Deployment](t, objects, "Deployment", deployment).Spec.Template.Spec.Containers
	require.Len(t, containers, 1)
	return containers[0]
}

// servicePort returns the only port of the gateway's Service.
func servicePort(t *testing.T, objects []*unstructured.Unstructured) int32 {
	t.Helper()
	ports := find[corev1.Service](t, objects, "Service", "saml-gateway").Spec.Ports
	require.Len(t, ports, 1)
	return ports[0].Port
}

// renderOverlay renders a kustomization that stands beside nothing else. The
// paths in it are relative to this package.
func renderOverlay(t *testing.T, kustomization string) []*unstructured.Unstructured {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	here, err := filepath.Abs(".")
	require.NoError(t, err)
	up, err := filepath.Rel(dir, here)
	require.NoError(t, err)
	kustomization = strings.NewReplacer("[../", "["+up+"/../", ", ../", ", "+up+"/../").Replace(kustomization)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600))
	return render(t, dir)
}

// render returns the objects that a kustomization stands for.
func render(t *testing.T, kustomization string) []*unstructured.Unstructured {
	t.Helper()
	// Only kubectl opens the manifests, and the go command caches this test's
	// result by what the test itself looks at.
	err := filepath.WalkDir("../../config", func(_ string, _ fs.DirEntry, err error) error { return err })
	require.NoError(t, err)
	out, err := kubectl("kustomize", kustomization)
	require.NoError(t, err, out)
	var objects []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(out), 4096); ; {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		require.NoError(t, err)
		objects = append(objects, object)
	}
}

// kubectl runs kubectl as an administrator of the test's API server, and
// returns what it prints; with an error also what it complains about.
func kubectl(args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(kubectlPath, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfigPath)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String() + stderr.String(), err
	}
	return stdout.String(), nil
}
