package chart_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	root      = "../.."
	chartDir  = root + "/charts/saml-operator"
	namespace = "saml-operator-system"
)

func load(t *testing.T) *chart.Chart {
	t.Helper()
	loaded, err := loader.LoadDir(chartDir)
	require.NoError(t, err)
	return loaded
}

func parse(t *testing.T, values string) map[string]any {
	t.Helper()
	parsed := map[string]any{}
	require.NoError(t, yaml.Unmarshal([]byte(values), &parsed))
	return parsed
}

// template renders the chart as `helm template` does, with values in YAML.
func template(t *testing.T, values string) ([]*unstructured.Unstructured, error) {
	t.Helper()
	return templateOf(t, load(t), values)
}

func templateOf(t *testing.T, loaded *chart.Chart, values string) ([]*unstructured.Unstructured, error) {
	t.Helper()
	all, err := util.ToRenderValues(loaded, parse(t, values),
		common.ReleaseOptions{Name: "sso", Namespace: namespace, Revision: 1, IsInstall: true}, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	rendered, err := engine.Render(loaded, all)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for file, text := range rendered {
		if path.Ext(file) == ".yaml" {
			objects = append(objects, decode(t, text)...)
		}
	}
	return objects, nil
}

func mustTemplate(t *testing.T, values string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := template(t, values)
	require.NoError(t, err)
	return objects
}

// kustomize renders config/default with a change to its kustomization: which
// components it has.
func kustomize(t *testing.T, components ...string) []*unstructured.Unstructured {
	t.Helper()
	disk, memory := filesys.MakeFsOnDisk(), filesys.MakeFsInMemory()
	// The go command caches this test's result by what the test itself opens.
	require.NoError(t, filepath.WalkDir(root+"/config", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := disk.ReadFile(file)
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		return memory.WriteFile("/"+inside, content)
	}))
	const installation = "/config/default/kustomization.yaml"
	text, err := memory.ReadFile(installation)
	require.NoError(t, err)
	var kustomization map[string]any
	require.NoError(t, yaml.Unmarshal(text, &kustomization))
	kustomization["components"] = components
	text, err = yaml.Marshal(kustomization)
	require.NoError(t, err)
	require.NoError(t, memory.WriteFile(installation, text))

	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(memory, "/config/default")
	require.NoError(t, err)
	text, err = made.AsYaml()
	require.NoError(t, err)
	return decode(t, string(text))
}

// defaultComponents are those that config/default has switched on.
func defaultComponents(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(root + "/config/default/kustomization.yaml")
	require.NoError(t, err)
	var kustomization struct{ Components []string }
	require.NoError(t, yaml.Unmarshal(text, &kustomization))
	return kustomization.Components
}

func decode(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		require.NoError(t, err, text)
		if object.Object != nil {
			objects = append(objects, object)
		}
	}
}

// find returns the object of that kind and name.
func find(t *testing.T, objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	t.Helper()
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind && o.GetName() == name })
	require.GreaterOrEqual(t, i, 0, "no %s %s", kind, name)
	return objects[i]
}
