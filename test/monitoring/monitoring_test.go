// Package monitoring_test holds the alerting rules to their unit tests, and
// the rules and the dashboard to the metrics that operator and gateway really have.
package monitoring_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

const (
	rulesFile     = "config/prometheus/rules.yaml"
	dashboardFile = "config/grafana/saml-operator.json"
	runbook       = "docs/runbooks/alerts.md"
	root          = "../.."
)

type rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

type ruleSpec struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, file))
	require.NoError(t, err)
	return content
}

// spec is the rule file within the custom resource.
func spec(t *testing.T) any {
	t.Helper()
	var resource struct{ Spec any }
	require.NoError(t, yaml.Unmarshal(read(t, rulesFile), &resource))
	return resource.Spec
}

func alerts(t *testing.T) []rule {
	t.Helper()
	var resource struct{ Spec ruleSpec }
	require.NoError(t, yaml.Unmarshal(read(t, rulesFile), &resource))
	var all []rule
	for _, group := range resource.Spec.Groups {
		all = append(all, group.Rules...)
	}
	require.NotEmpty(t, all)
	return all
}

// Prometheus' own tool reads the rules, and runs their unit tests.
func TestRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	require.NoError(t, err, "hack/install-test-packages.sh installs promtool")
	dir := t.TempDir()
	rules, err := yaml.Marshal(spec(t))
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(rulesFile)), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, rulesFile), rules, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tests.yaml"), read(t, "test/monitoring/rules.yaml"), 0o600))
	for _, args := range [][]string{{"check", "rules", "--lint-fatal", rulesFile}, {"test", "rules", "tests.yaml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		assert.NoError(t, err, string(out))
	}
}

func TestEveryAlertIsTestedAndSaysWhatToDo(t *testing.T) {
	unitTests, sections := string(read(t, "test/monitoring/rules.yaml")), headings(string(read(t, runbook)))
	for _, r := range alerts(t) {
		assert.Contains(t, unitTests, `ALERTS{alertname="`+r.Alert+`", alertstate="firing"`, "a unit test has it fire")
		assert.Contains(t, []string{"info", "warning", "critical"}, r.Labels["severity"], r.Alert)
		assert.NotEmpty(t, r.For, r.Alert)
		assert.NotEmpty(t, r.Annotations["summary"], r.Alert)
		assert.NotEmpty(t, r.Annotations["description"], r.Alert)
		page, section, _ := strings.Cut(r.Annotations["runbook_url"], "#")
		assert.True(t, strings.HasSuffix(page, "/"+runbook), page)
		assert.Contains(t, sections, section, r.Alert)
	}
}

// headings are the anchors of a page.
func headings(page string) []string {
	var anchors []string
	for _, match := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(page, -1) {
		anchors = append(anchors, strings.ToLower(match[1]))
	}
	return anchors
}

// dashboardQueries are the queries of all panels.
func dashboardQueries(t *testing.T) map[string]string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(read(t, dashboardFile), &dashboard))
	queries := map[string]string{}
	ids := map[int]bool{}
	for _, panel := range dashboard.Panels {
		assert.False(t, ids[panel.ID], "panel %d is there twice", panel.ID)
		ids[panel.ID] = true
		assert.Equal(t, panel.Type != "row", len(panel.Targets) > 0, panel.Title)
		for _, target := range panel.Targets {
			queries[panel.Title+": "+target.Expr] = target.Expr
		}
	}
	require.NotEmpty(t, queries)
	return queries
}

func TestRulesAndDashboardNameWhatThereIs(t *testing.T) {
	told := exposed(t)
	for metric, labels := range exposedByGateway(t) {
		if strings.HasPrefix(metric, "saml_gateway_") {
			told[metric] = labels
		}
	}
	queries := dashboardQueries(t)
	for _, r := range alerts(t) {
		queries[r.Alert] = r.Expr
	}
	used := map[string]bool{}
	for where, query := range queries {
		found := selectors(query)
		assert.NotEmpty(t, found, where)
		for _, s := range found {
			used[s.metric] = true
			labels, ok := told[s.metric]
			if !assert.True(t, ok, "%s: there is no metric %s", where, s.metric) {
				continue
			}
			for _, label := range s.labels {
				assert.True(t, slices.Contains(labels, label) || slices.Contains(targetLabels, label),
					"%s: %s has no label %s", where, s.metric, label)
			}
		}
	}
	for metric := range told {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(metric, "_bucket"), "_sum"), "_count")
		if strings.HasPrefix(metric, "saml_operator_") || strings.HasPrefix(metric, "saml_gateway_") {
			assert.True(t, used[base] || used[base+"_bucket"] || used[base+"_sum"], "nothing shows %s", metric)
		}
	}
}

// targetLabels are those that Prometheus adds to what it scrapes.
var targetLabels = []string{"namespace", "pod", "job"}

// selector is a metric in a query, with the labels that it is matched by.
type selector struct {
	metric string
	labels []string
}

var (
	quoted     = regexp.MustCompile(`"[^"]*"`)
	clause     = regexp.MustCompile(`\b(?:by|without|on|ignoring)\s*\([^)]*\)`)
	duration   = regexp.MustCompile(`\[[^\]]*\]`)
	identifier = regexp.MustCompile(`\b([a-zA-Z_:][\w:]*)\s*(\(|\{[^}]*\})?`)
	label      = regexp.MustCompile(`(\w+)\s*[!=]`)
	operators  = []string{"and", "or", "unless", "bool", "group_left", "group_right", "offset"}
)

// selectors finds the metrics in a query of the language's part that is used
// here.
func selectors(query string) []selector {
	for _, noise := range []*regexp.Regexp{quoted, clause, duration} {
		query = noise.ReplaceAllString(query, "")
	}
	var found []selector
	for _, match := range identifier.FindAllStringSubmatch(query, -1) {
		if match[2] == "(" || slices.Contains(operators, match[1]) {
			continue
		}
		s := selector{metric: match[1]}
		for _, l := range label.FindAllStringSubmatch(match[2], -1) {
			s.labels = append(s.labels, l[1])
		}
		found = append(found, s)
	}
	return found
}

func TestSelectorsAreFound(t *testing.T) {
	for query, want := range map[string][]selector{
		`up`: {{metric: "up"}},
		`sum by (le, x) (rate(a_bucket{p="q", r=~"s|t"}[$__rate_interval])) > 0`: {{"a_bucket", []string{"p", "r"}}},
		`max by (tenant) (a) - time() < 60 * 86400 >= 3e9 and on (b) c{d!="e{f}"} or vector(0)`: {
			{metric: "a"}, {"c", []string{"d"}},
		},
	} {
		assert.Equal(t, want, selectors(query), query)
	}
}
