// Package imports_test holds the tree to its import rules: which way the
// packages point, and what the gateway and the operator never share.
package imports_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "cequence.cloud/saml-operator"

// rule says what the packages in a folder may import. Folders of this module
// are written from its top with a leading "./", other packages by import path;
// either stands for everything below it as well.
type rule struct {
	folder string
	// may is what they import themselves, beside the standard library and the
	// folder itself.
	may []string
	// anything lifts the limit of may.
	anything bool
	// never is what they must not reach in any number of steps.
	never []string
}

var (
	kubernetes = []string{"k8s.io", "sigs.k8s.io"}
	// operator is what decides and fetches: the gateway knows no CRD and calls
	// no metadata URL.
	operator = []string{
		"./api", "./config/crd", "./controllers",
		"./internal/idpmetadata", "./internal/manifest", "./internal/operatormetrics", "./internal/render", "./internal/rollout",
		"sigs.k8s.io/controller-runtime",
	}
	// gateway is what meets browsers and keeps users.
	gateway = []string{"./internal/gateway", "./internal/store"}
	saml    = []string{
		"github.com/crewjam/saml", "github.com/beevik/etree", "github.com/russellhaering/goxmldsig", "golang.org/x",
	}
)

// rules has the one that counts for a package under the longest folder that
// holds it.
var rules = []rule{
	{folder: "./api", may: []string{"k8s.io/apimachinery"}},
	{folder: "./cmd/gateway", anything: true, never: append([]string{
		"github.com/crewjam/saml", "github.com/russellhaering/goxmldsig", // one verifier
	}, operator...)},
	{folder: "./cmd/kubectl-saml", anything: true, never: append([]string{"./controllers", "./internal/idpmetadata"}, gateway...)},
	{folder: "./cmd/operator", anything: true, never: gateway},
	{folder: "./config/crd"},
	{folder: "./config/gitops"},
	{folder: "./controllers", never: gateway, may: append([]string{
		"./api", "./internal/conditions", "./internal/idpmetadata", "./internal/operatormetrics", "./internal/refresh",
		"./internal/render", "./internal/rollout", "./internal/spkey", "./internal/tenantconfig",
		"github.com/go-logr/logr", "github.com/prometheus/client_golang", "golang.org/x",
	}, kubernetes...)},
	{folder: "./internal/conditions", may: []string{"k8s.io/apimachinery"}},
	{folder: "./internal/dialguard"},
	{folder: "./internal/gateway", never: operator, may: append([]string{
		"./internal/administration", "./internal/dialguard", "./internal/refresh", "./internal/store", "./internal/tenantconfig", "./internal/xmldsig", "./internal/xmltree",
	}, saml...)},
	{folder: "./internal/gateway/diagnosis", never: operator, may: []string{
		"./internal/gateway/authorization", "./internal/gateway/identity", "./internal/gateway/pages", "./internal/gateway/sp", "./internal/gateway/tenant",
		"./internal/store", "./internal/tenantconfig",
	}},
	{folder: "./internal/gateway/identityjwt", may: []string{"github.com/go-jose/go-jose"}},
	{folder: "./internal/gateway/keyfile"},
	{folder: "./internal/administration"},
	{folder: "./internal/gateway/admin", never: operator, may: []string{
		"./internal/administration", "./internal/gateway/audit", "./internal/gateway/session", "./internal/store", "k8s.io/api", "k8s.io/apimachinery", "k8s.io/client-go",
	}},
	{folder: "./internal/gateway/authz", never: operator, may: []string{
		"./internal/gateway/forwarded", "./internal/gateway/server", "golang.org/x", "github.com/envoyproxy/go-control-plane/envoy", "google.golang.org/genproto/googleapis/rpc", "google.golang.org/grpc",
	}},
	{folder: "./internal/gateway/configsource", never: operator, may: []string{
		"./internal/gateway/tenant", "./internal/tenantconfig",
		"golang.org/x", "k8s.io/api", "k8s.io/apimachinery", "k8s.io/client-go",
	}},
	{folder: "./internal/gateway/pathrules", never: operator, may: []string{
		"./internal/gateway/paths", "./internal/tenantconfig", "sigs.k8s.io/yaml",
	}},
	{folder: "./internal/gateway/upstreams", may: []string{"./internal/dialguard"}},
	{folder: "./internal/gateway/admission"},
	{folder: "./internal/gateway/streams"},
	{folder: "./internal/gateway/gatewaymetrics", never: operator, may: []string{
		"./internal/gateway/admission", "./internal/gateway/audit", "./internal/gateway/paths", "./internal/gateway/scim", "./internal/gateway/streams", "./internal/gateway/tenant",
		"./internal/store", "github.com/prometheus/client_golang",
	}},
	{folder: "./internal/gateway/scim", never: operator, may: []string{
		"./internal/gateway/audit", "./internal/gateway/identity", "./internal/gateway/session", "./internal/gateway/tenant", "./internal/store", "./internal/tenantconfig",
		"github.com/elimity-com/scim", "github.com/scim2/filter-parser",
	}},
	{folder: "./internal/idpmetadata", never: kubernetes, may: append([]string{
		"./internal/dialguard", "./internal/xmldsig", "./internal/xmltree",
	}, saml...)},
	{folder: "./internal/manifest", never: gateway, may: append([]string{"./api", "./config/crd"}, kubernetes...)},
	{folder: "./internal/operatormetrics", never: gateway, may: append([]string{
		"./api", "./internal/idpmetadata", "github.com/prometheus/client_golang",
	}, kubernetes...)},
	{folder: "./internal/refresh"},
	{folder: "./internal/render", may: []string{
		"./api", "./internal/idpmetadata", "./internal/tenantconfig", "./internal/xmldsig", "./internal/xmltree",
	}, never: gateway},
	{folder: "./internal/rollout"},
	{folder: "./internal/spkey"},
	{folder: "./internal/store", never: append([]string{"./internal/gateway"}, operator...), may: []string{
		"./internal/tenantconfig", "github.com/jackc/pgx", "modernc.org/sqlite", "golang.org/x",
	}},
	{folder: "./internal/tenantconfig"},
	{folder: "./internal/xmldsig", may: []string{"./internal/xmltree"}},
	{folder: "./internal/xmltree"},
	// What only tests and the demo run may lean on everything, and nothing
	// that ships may lean on it: no rule above lets it in.
	{folder: "./internal/testbrowser", anything: true, never: kubernetes},
	{folder: "./internal/testidp", anything: true, never: kubernetes},
	{folder: "./internal/testpostgres", anything: true, never: kubernetes},
	{folder: "./hack", anything: true},
	{folder: "./test", anything: true},
}

// shipped are the folders whose packages end up in a binary that users run.
var shipped = []string{"./cmd"}

// unshippable is what must not end up there.
var unshippable = []string{
	"./config/gitops", "./hack", "./internal/store/storetest", "./internal/testbrowser", "./internal/testidp", "./internal/testpostgres", "./test",
	"testing", "github.com/stretchr/testify",
}

// vagueNames say nothing about what a package does.
var vagueNames = []string{"util", "utils", "common", "helper", "helpers", "misc", "shared"}

// pkg is a package as `go list` shows it: without its tests.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

// graph is the packages of the module and everything they lead to.
type graph map[string]pkg

func TestTreeKeepsImportRules(t *testing.T) {
	g := listTree(t)
	require.Contains(t, g, module+"/api/v1alpha1", "go list shows this module")
	for _, violation := range violations(g, rules) {
		t.Error(violation)
	}
}

func TestRulesAreEnforced(t *testing.T) {
	rules := []rule{
		{folder: "./api", may: []string{"k8s.io/apimachinery"}},
		{folder: "./gateway", may: []string{"./store"}, never: []string{"./api"}},
		{folder: "./gateway/source", may: []string{"k8s.io/client-go"}},
		{folder: "./store", anything: true},
		{folder: "./cmd", anything: true},
	}
	for name, c := range map[string]struct {
		imports map[string][]string
		want    []string
	}{
		"the standard library, the own folder and what is allowed": {
			imports: map[string][]string{
				"./api/v1":         {"time", "./api/v2", "k8s.io/apimachinery/pkg/runtime"},
				"./gateway":        {"./store", "./gateway/source"},
				"./gateway/source": {"k8s.io/client-go/rest"},
			},
		},
		"an import that is not allowed": {
			imports: map[string][]string{"./api/v1": {"k8s.io/client-go/rest"}},
			want:    []string{"./api/v1 imports k8s.io/client-go/rest, which the rule of ./api does not allow"},
		},
		"a name that only begins like an allowed one": {
			imports: map[string][]string{"./api/v1": {"k8s.io/apimachinery-extra"}},
			want:    []string{"./api/v1 imports k8s.io/apimachinery-extra, which the rule of ./api does not allow"},
		},
		"an allowance that counts for a subfolder only": {
			imports: map[string][]string{"./gateway/pages": {"k8s.io/client-go/rest"}},
			want:    []string{"./gateway/pages imports k8s.io/client-go/rest, which the rule of ./gateway does not allow"},
		},
		"something forbidden behind an allowed import": {
			imports: map[string][]string{"./gateway": {"./store"}, "./store": {"x.test/orm"}, "x.test/orm": {"./api/v1"}, "./api/v1": nil},
			want:    []string{"./gateway must not reach ./api/v1, but does: ./gateway → ./store → x.test/orm → ./api/v1"},
		},
		"a package without a rule": {
			imports: map[string][]string{"./novel": nil},
			want:    []string{"./novel has no rule; say in this test what it may import"},
		},
		"a vague name": {
			imports: map[string][]string{"./store/util": nil},
			want:    []string{"./store/util is named util, which does not say what it does"},
		},
		"a test package in a binary": {
			imports: map[string][]string{"./cmd/operator": {"./store"}, "./store": {"github.com/stretchr/testify/assert"}},
			want:    []string{"./cmd/operator must not reach github.com/stretchr/testify/assert, but does: ./cmd/operator → ./store → github.com/stretchr/testify/assert"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := graph{}
			add := func(short string, imports []string) {
				p := pkg{ImportPath: long(short), Standard: !strings.ContainsAny(short, "./")}
				for _, i := range imports {
					p.Imports = append(p.Imports, long(i))
				}
				g[p.ImportPath] = p
			}
			for _, imports := range c.imports {
				for _, i := range imports {
					add(i, nil)
				}
			}
			for short, imports := range c.imports {
				add(short, imports)
			}
			assert.Equal(t, c.want, violations(g, rules))
		})
	}
}

// violations returns one sentence for each breach of a rule, sorted.
func violations(g graph, rules []rule) []string {
	var found []string
	for _, importPath := range slices.Sorted(maps.Keys(g)) {
		name := short(importPath)
		if !strings.HasPrefix(name, "./") {
			continue
		}
		if base := path.Base(name); slices.Contains(vagueNames, base) {
			found = append(found, fmt.Sprintf("%s is named %s, which does not say what it does", name, base))
		}
		r, ok := ruleOf(name, rules)
		if !ok {
			found = append(found, name+" has no rule; say in this test what it may import")
			continue
		}
		for _, i := range g[importPath].Imports {
			if r.anything || g[i].Standard || within(short(i), r.folder) || withinAny(short(i), r.may) {
				continue
			}
			found = append(found, fmt.Sprintf("%s imports %s, which the rule of %s does not allow", name, short(i), r.folder))
		}
		never := r.never
		if withinAny(name, shipped) {
			never = slices.Concat(never, unshippable)
		}
		for _, way := range ways(g, importPath, never) {
			found = append(found, fmt.Sprintf("%s must not reach %s, but does: %s", name, way[len(way)-1], strings.Join(way, " → ")))
		}
	}
	return found
}

// ruleOf returns the rule with the longest folder that holds the package.
func ruleOf(name string, rules []rule) (rule, bool) {
	var best rule
	for _, r := range rules {
		if within(name, r.folder) && len(r.folder) > len(best.folder) {
			best = r
		}
	}
	return best, best.folder != ""
}

// ways returns the shortest way from a package to each package that is within
// one of the forbidden folders. It does not look behind a forbidden package.
func ways(g graph, from string, forbidden []string) [][]string {
	var found [][]string
	seen := map[string]bool{from: true}
	for queue := [][]string{{short(from)}}; len(queue) > 0; queue = queue[1:] {
		way := queue[0]
		last := way[len(way)-1]
		if len(way) > 1 && withinAny(last, forbidden) {
			found = append(found, way)
			continue
		}
		for _, i := range g[long(last)].Imports {
			if !seen[i] {
				seen[i] = true
				queue = append(queue, append(slices.Clone(way), short(i)))
			}
		}
	}
	return found
}

func withinAny(name string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return within(name, f) })
}

func within(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, folder+"/")
}

// short turns the module's path at the start into a dot; long turns it back.
func short(importPath string) string {
	if within(importPath, module) {
		return "." + strings.TrimPrefix(importPath, module)
	}
	return importPath
}

func long(name string) string {
	if within(name, ".") {
		return module + strings.TrimPrefix(name, ".")
	}
	return name
}

// listTree asks the go command for the module's packages and all that they
// lead to, as they are built for a release.
func listTree(t *testing.T) graph {
	t.Helper()
	// A test's result is cached by what the test itself has opened, so it looks
	// at every folder with packages.
	for _, folder := range []string{"api", "cmd", "controllers", "hack", "internal", "test"} {
		err := filepath.WalkDir(filepath.Join("../..", folder), func(_ string, _ fs.DirEntry, err error) error { return err })
		require.NoError(t, err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Standard,Imports", "./...")
	cmd.Dir = "../.."
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	g := graph{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return g
		}
		require.NoError(t, err)
		g[p.ImportPath] = p
	}
}
