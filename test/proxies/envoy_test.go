package proxies_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

func TestEnvoyGuideIsYAML(t *testing.T) {
	blocks := codeBlocks(t, "envoy.md", "yaml")
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		for document := range strings.SplitSeq(block, "\n---\n") {
			var parsed map[string]any
			require.NoError(t, yaml.UnmarshalStrict([]byte(document), &parsed), document)
			require.NotEmpty(t, parsed)
		}
	}
}
