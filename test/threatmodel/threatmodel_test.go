// Package threatmodel_test holds the tables of docs/security to the tree: every
// row is there, and so is every test that it names.
package threatmodel_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = "../../"

var (
	named = regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]+)`")
	row   = regexp.MustCompile(`(?m)^\| ([ABTOE][0-9]+) \|.*$`)
)

// rows are how many there are of each kind in a page of docs/security.
var rows = map[string]map[string]int{
	"threat-model.md": {"A": 14, "B": 9, "T": 16, "O": 7},
	"entra-id.md":     {"E": 24},
}

func TestEveryRowHasATestOrSaysThatItHasNone(t *testing.T) {
	for page, kinds := range rows {
		document, err := os.ReadFile(root + "docs/security/" + page)
		require.NoError(t, err)
		found := map[string]int{}
		for _, match := range row.FindAllStringSubmatch(string(document), -1) {
			found[match[1]]++
			cells := strings.Split(match[0], " | ")
			require.Len(t, cells, 4, match[0])
			assert.True(t, named.MatchString(cells[3]) || strings.HasPrefix(cells[3], "Not covered yet: "), match[0])
			for _, test := range named.FindAllStringSubmatch(cells[3], -1) {
				assert.True(t, declared(t, test[1])[test[2]], "%s: there is no %s in %s", match[1], test[2], test[1])
			}
		}
		expected := map[string]int{}
		for kind, count := range kinds {
			for n := range count {
				expected[fmt.Sprint(kind, n+1)] = 1
			}
		}
		assert.Equal(t, expected, found, page)
	}
}

// declared returns the tests, fuzz targets and benchmarks of a package.
func declared(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(root + folder + "/*_test.go")
	require.NoError(t, err)
	names := map[string]bool{}
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, declaration := range tree.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && function.Recv == nil {
				names[function.Name.Name] = true
			}
		}
	}
	return names
}

// The versions below had holes that an attacker of SAML or of HTTP can use.
// govulncheck knows more of them, but needs its database.
func TestA7_NoVersionWithKnownHoles(t *testing.T) {
	module, err := os.ReadFile(root + "go.mod")
	require.NoError(t, err)
	for requirement, least := range map[string]string{
		"go ":                                   "1.24.2", // CVE-2025-22871
		"github.com/beevik/etree v":             "1.8.1",  // quadratic in depth
		"github.com/crewjam/saml v":             "0.5.1",  // CVE-2023-45683
		"github.com/russellhaering/goxmldsig v": "1.6.1",  // CVE-2026-33487
	} {
		version := regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(requirement) + `([0-9.]+)`).FindSubmatch(module)
		require.NotNil(t, version, requirement)
		assert.True(t, atLeast(string(version[1]), least), "%s%s, want %s or later", requirement, version[1], least)
	}
}

func atLeast(version, least string) bool {
	have, want := strings.Split(version, "."), strings.Split(least, ".")
	for i := range want {
		if i == len(have) {
			return false
		}
		a, _ := strconv.Atoi(have[i])
		b, _ := strconv.Atoi(want[i])
		if a != b {
			return a > b
		}
	}
	return true
}
