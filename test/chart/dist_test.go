package chart_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// What a release consists of is config/default and the chart, with the images of
// the release and nothing else changed.
func TestRelease(t *testing.T) {
	const version, prefix = "v1.2.3", "registry.example/sso/"
	out := t.TempDir()
	cmd := exec.CommandContext(t.Context(), root+"/hack/dist.sh", version, out)
	cmd.Env = append(os.Environ(), "IMAGE_PREFIX="+prefix, "KUBECTL="+kubectlPath)
	text, err := cmd.CombinedOutput()
	require.NoError(t, err, string(text))

	text, err = os.ReadFile(filepath.Join(out, "install.yaml"))
	require.NoError(t, err)
	installed := decode(t, string(text))
	assertTaken(t, installed)
	want := kustomize(t, defaultComponents(t)...)
	for _, name := range []string{"saml-operator", "saml-gateway"} {
		image := prefix + name + ":" + version
		assert.Equal(t, image, deployment(t, installed, name).Spec.Template.Spec.Containers[0].Image)
		require.NoError(t, setImage(find(t, want, "Deployment", name), image))
	}
	assert.Equal(t, byName(t, want), byName(t, installed))

	packaged, err := loader.LoadFile(filepath.Join(out, "saml-operator-1.2.3.tgz"))
	require.NoError(t, err)
	assert.Equal(t, "1.2.3", packaged.Metadata.Version)
	require.NoError(t, packaged.Validate())
	objects, err := templateOf(t, packaged, ``)
	require.NoError(t, err)
	for _, name := range []string{"saml-operator", "saml-gateway"} {
		assert.Equal(t, prefix+name+":"+version, deployment(t, objects, name).Spec.Template.Spec.Containers[0].Image)
	}
	assert.Len(t, objects, len(want)-1, "all but the namespace")
	assert.True(t, strings.HasPrefix(find(t, objects, "Service", "saml-gateway").GetLabels()["helm.sh/chart"], "saml-operator-1.2.3"))
}

func setImage(object *unstructured.Unstructured, image string) error {
	containers, _, err := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
	if err != nil {
		return err
	}
	containers[0].(map[string]any)["image"] = image
	return unstructured.SetNestedSlice(object.Object, containers, "spec", "template", "spec", "containers")
}
