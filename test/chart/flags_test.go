package chart_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// exitUsage is what both programs exit with for a command line that they do not
// take; whatever else ends them without a cluster comes later.
const exitUsage = 2

// The programs take the flags of every choice.
func TestProgramsTakeTheFlags(t *testing.T) {
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "./cmd/operator", "./cmd/gateway")
	build.Dir = root
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))

	values := []string{flagSettings, podSettings, routeSettings, serviceSettings}
	for _, same := range choices(t) {
		values = append(values, same.values)
	}
	for _, values := range values {
		objects := mustTemplate(t, values)
		for _, program := range []string{"operator", "gateway"} {
			args := commandLine(t, objects, "saml-"+program)
			cmd := exec.CommandContext(t.Context(), filepath.Join(bin, program), args...)
			cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(bin, "none"), "KUBERNETES_SERVICE_HOST=")
			cmd.Dir = bin
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			require.True(t, errors.As(err, &exit), "%s runs without a cluster: %v", program, err)
			assert.NotEqual(t, exitUsage, exit.ExitCode(), "%s\n%s: %s", values, program, out)
		}
	}
}

// commandLine returns the arguments of a Deployment's container, with its
// variables expanded.
func commandLine(t *testing.T, objects []*unstructured.Unstructured, name string) []string {
	t.Helper()
	data, _, err := unstructured.NestedStringMap(find(t, objects, "ConfigMap", settings).Object, "data")
	require.NoError(t, err)
	expand := []string{"$(POD_NAMESPACE)", namespace}
	for key, value := range data {
		expand = append(expand, "$("+key+")", value)
	}
	args := append([]string(nil), deployment(t, objects, name).Spec.Template.Spec.Containers[0].Args...)
	for i := range args {
		args[i] = strings.NewReplacer(expand...).Replace(args[i])
	}
	return args
}
