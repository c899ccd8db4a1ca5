package chart_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/go-logr/logr"

	// The custom resources of others are checked by the definitions in their
	// modules, which these packages keep in go.mod.
	_ "github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	_ "github.com/envoyproxy/gateway/api"
	_ "github.com/prometheus-operator/prometheus-operator/pkg/versionutil"
	_ "github.com/traefik/traefik/v3/webui"
	_ "istio.io/api/label"
	_ "sigs.k8s.io/gateway-api/pkg/consts"
)

// definitions are the custom resources that the installation may use, by the
// module that defines them.
var definitions = map[string][]string{
	"github.com/cert-manager/cert-manager": {
		"deploy/crds/cert-manager.io_certificates.yaml",
		"deploy/crds/cert-manager.io_clusterissuers.yaml",
	},
	"sigs.k8s.io/gateway-api": {
		"config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
		"config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
		"config/crd/standard/gateway.networking.k8s.io_referencegrants.yaml",
	},
	"github.com/prometheus-operator/prometheus-operator": {
		"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
	},
	"github.com/envoyproxy/gateway": {"charts/gateway-helm/crds/generated/gateway.envoyproxy.io_securitypolicies.yaml"},
	"github.com/traefik/traefik/v3": {"docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml"},
	"istio.io/api":                  {"kubernetes/customresourcedefinitions.gen.yaml"},
}

var (
	admin          client.Client
	kubectlPath    string
	kubeconfigPath string
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	log.SetLogger(logr.Discard())
	slog.SetDefault(slog.New(slog.DiscardHandler))
	environment := &envtest.Environment{BinaryAssetsDirectory: root + "/bin/kubernetes", CRDInstallOptions: envtest.CRDInstallOptions{ErrorIfPathMissing: true}}
	for module, files := range definitions {
		dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			return 1, fmt.Errorf("find the module %s: %w", module, err)
		}
		for _, file := range files {
			environment.CRDInstallOptions.Paths = append(environment.CRDInstallOptions.Paths, filepath.Join(strings.TrimSpace(string(dir)), file))
		}
	}
	config, err := environment.Start()
	if err != nil {
		return 1, fmt.Errorf("start the API server (make kubernetes builds it): %w", err)
	}
	defer func() { err = environment.Stop() }()
	config.QPS = -1
	kubectlPath = environment.ControlPlane.KubectlPath
	dir, err := os.MkdirTemp("", "chart")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	kubeconfigPath = filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfigPath, environment.KubeConfig, 0o600); err != nil {
		return 1, err
	}
	if admin, err = client.New(config, client.Options{}); err != nil {
		return 1, err
	}
	if err := createNamespace(context.Background(), namespace); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// createNamespace makes a namespace as the guide has it.
func createNamespace(ctx context.Context, name string) error {
	labels := map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}
	return admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
}

// The API server and the definitions of others take every object of every
// choice: server-side apply knows the types, and refuses a field that none has.
func TestAPIServerTakesEveryObject(t *testing.T) {
	for name, same := range choices(t) {
		t.Run(name, func(t *testing.T) {
			for _, objects := range [][]*unstructured.Unstructured{mustTemplate(t, same.values), kustomize(t, same.components...)} {
				assertTaken(t, objects)
			}
		})
	}
	for _, values := range []string{flagSettings, podSettings, routeSettings, serviceSettings} {
		assertTaken(t, mustTemplate(t, values))
	}
}

func assertTaken(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, object := range objects {
		err := admin.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object.DeepCopy()),
			client.FieldOwner("chart-test"), client.ForceOwnership, client.DryRunAll)
		assert.NoError(t, err, "%s %s", object.GetKind(), object.GetName())
		if object.GetKind() == "Deployment" {
			template := deployment(t, objects, object.GetName()).Spec.Template
			pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
			pod.Name, pod.Namespace = object.GetName(), namespace
			assert.NoError(t, admin.Create(t.Context(), pod, client.DryRunAll), "a pod of %s", object.GetName())
		}
	}
}

// What the guides have for others is what the definitions of these take.
func TestRecipesForOthers(t *testing.T) {
	for guide, kinds := range map[string][]string{
		"envoy.md":   {"NetworkPolicy", "HTTPRoute", "SecurityPolicy", "HTTPRoute", "ReferenceGrant", "AuthorizationPolicy"},
		"expose.md":  {"ClusterIssuer"},
		"traefik.md": {"Middleware", "IngressRoute"},
	} {
		var found []string
		for _, block := range yamlBlocks(t, guide) {
			if !strings.HasPrefix(block, "apiVersion:") {
				continue // of a program's own configuration
			}
			for _, object := range decode(t, block) {
				if object.GetKind() != "ClusterIssuer" {
					object.SetNamespace(namespace)
				}
				found = append(found, object.GetKind())
				assert.NoError(t, admin.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object),
					client.FieldOwner("chart-test"), client.DryRunAll), object.GetKind())
			}
		}
		assert.ElementsMatch(t, kinds, found, guide)
	}
}

// The guide's values are the chart's.
func TestValuesOfTheGuide(t *testing.T) {
	blocks := yamlBlocks(t, "install.md")
	require.Len(t, blocks, 1)
	assertTaken(t, mustTemplate(t, blocks[0]))
}

// yamlBlocks returns the blocks of YAML in a guide.
func yamlBlocks(t *testing.T, guide string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs/guides", guide))
	require.NoError(t, err)
	var blocks []string
	for _, rest := range strings.Split(string(text), "\n```yaml\n")[1:] {
		block, _, closed := strings.Cut(rest, "\n```\n")
		require.True(t, closed, guide)
		blocks = append(blocks, block+"\n")
	}
	return blocks
}
