package pathrules_test

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/pathrules"
	"cequence.cloud/saml-operator/internal/gateway/paths"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

const roles = `
paths:
- {path: /, match: Exact, access: Public}
- {path: /status, access: Public}
- {path: /admin, roles: [admin, owner]}
- {path: /admin/help, access: Public}
- {path: /admin/keys, roles: [owner], freshSignIn: 15m}
- {path: /admin/keys/mine, match: Exact, access: SignedIn}
- {path: /Files, match: Exact, access: Public}
- {path: /files, roles: [reader]}
- {path: /export, match: Exact, freshSignIn: 1h}
- {path: /straße/, roles: [driver]}
`

func read(t testing.TB, text string) *pathrules.Rules {
	t.Helper()
	rules, err := pathrules.Read([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func form(t testing.TB, escaped string) paths.Form {
	t.Helper()
	f, err := paths.Normalize(escaped)
	if err != nil {
		t.Fatalf("%q: %v", escaped, err)
	}
	return f
}

// said writes a requirement down.
func said(r pathrules.Requirement) string {
	if r.Public {
		return "public"
	}
	words := []string{"signed in"}
	for _, list := range r.Roles {
		words = append(words, strings.Join(list, "|"))
	}
	if r.FreshSignIn != 0 {
		words = append(words, r.FreshSignIn.String())
	}
	return strings.Join(words, ", ")
}

func TestOf(t *testing.T) {
	rules := read(t, roles)
	for escaped, want := range map[string]string{
		"/":                "public",
		"/other":           "signed in",
		"/status":          "public",
		"/status/":         "public",
		"/status/a/b":      "public",
		"/statuses":        "signed in",
		"/status.json":     "signed in",
		"/STATUS":          "signed in",
		"/%73tatus":        "signed in",
		"/status/%73":      "public",
		"/status/a%40b":    "public",
		"/statu%73/a":      "signed in",
		"/admin/help/%61":  "public",
		"/status/a%20b":    "public",
		"/admin":           "signed in, admin|owner",
		"/admin/":          "signed in, admin|owner",
		"/admin/users":     "signed in, admin|owner",
		"/administrator":   "signed in",
		"/admin-panel":     "signed in",
		"/Admin":           "signed in, admin|owner",
		"/ADMIN/x":         "signed in, admin|owner",
		"/%61dmin":         "signed in, admin|owner",
		"/adm%C4%B1n":      "signed in, admin|owner",
		"/%EF%BD%81dmin/x": "signed in, admin|owner",
		"/admin.json":      "signed in, admin|owner",
		"/admin%20x":       "signed in, admin|owner",
		"/admin%3Fx":       "signed in, admin|owner",
		"/admin~1":         "signed in, admin|owner",
		"/admin/help":      "public",
		"/admin/help/a":    "public",
		"/admin/HELP":      "signed in, admin|owner",
		"/admin/%68elp":    "signed in, admin|owner",
		"/ADMIN/help":      "signed in, admin|owner",
		"/admin/help.html": "signed in, admin|owner",
		"/admin/keys":      "signed in, owner, 15m0s",
		"/admin/keys/1":    "signed in, owner, 15m0s",
		"/admin/Keys":      "signed in, admin|owner, owner, 15m0s",
		"/admin/keys/mine": "signed in",
		// An exact rule that asks for less is for its own spelling alone.
		"/admin/keys/mine/":  "signed in, owner, 15m0s",
		"/admin/keys/mine/a": "signed in, owner, 15m0s",
		"/admin/keys/Mine":   "signed in, owner, 15m0s",
		"/Files":             "signed in, reader",
		"/files":             "signed in, reader",
		"/Files/a":           "signed in, reader",
		"/export":            "signed in, 1h0m0s",
		"/export/":           "signed in, 1h0m0s",
		"/export.csv":        "signed in, 1h0m0s",
		"/EXPORT":            "signed in, 1h0m0s",
		"/export/a":          "signed in",
		"/stra%C3%9Fe/a":     "signed in, driver",
		"/stra%C3%9Fe":       "signed in, driver",
		"/STRASSE/a":         "signed in, driver",
	} {
		if got := said(rules.Of(form(t, escaped))); got != want {
			t.Errorf("%s: %s, want %s", escaped, got, want)
		}
	}
	var none *pathrules.Rules
	if got := none.Of(form(t, "/")); !reflect.DeepEqual(got, pathrules.Requirement{}) {
		t.Errorf("no rules: %s", said(got))
	}
}

func TestSatisfied(t *testing.T) {
	required := pathrules.Requirement{Roles: [][]string{{"admin", "owner"}, {"reader"}}}
	for have, want := range map[string]bool{
		"": false, "admin": false, "reader": false, "admin reader": true, "reader owner": true, "Admin reader": false, "admin owner": false,
	} {
		if got := required.Satisfied(strings.Fields(have)); got != want {
			t.Errorf("%q: %t", have, got)
		}
	}
	if !(pathrules.Requirement{}).Satisfied(nil) {
		t.Error("nothing asked for is not satisfied")
	}
}

// A tenant closes what the gateway has opened, and opens what the gateway leaves
// to it.
func TestCombine(t *testing.T) {
	gateway := read(t, `
paths:
- {path: /public, access: Public}
- {path: /theirs, access: TenantDecides}
- {path: /theirs/ours, access: SignedIn}
- {path: /admin, roles: [operator], freshSignIn: 1h}
`)
	tenant := pathrules.New([]tenantconfig.PathRule{
		{Path: "/public/closed", Roles: []string{"member"}},
		{Path: "/public/signed-in"},
		{Path: "/public/open", Public: true},
		{Path: "/theirs/open", Public: true},
		{Path: "/theirs/ours", Public: true},
		{Path: "/opened", Public: true},
		{Path: "/admin", Public: true},
		{Path: "/admin/a", Roles: []string{"admin"}, FreshSignIn: 60},
		{Path: "/admin/b", FreshSignIn: 7200},
	})
	for path, want := range map[string]string{
		"/public/a": "public", "/public/open": "public",
		"/public/closed": "signed in, member", "/public/signed-in": "signed in",
		"/theirs": "signed in", "/theirs/open": "public", "/theirs/ours": "signed in", "/Theirs/open": "signed in", "/theirs/Open": "signed in",
		"/opened": "signed in",
		"/admin":  "signed in, operator, 1h0m0s", "/admin/a": "signed in, operator, admin, 1m0s", "/admin/b": "signed in, operator, 1h0m0s",
	} {
		f := form(t, path)
		if got := said(pathrules.Combine(gateway.Of(f), tenant.Of(f))); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		if got := said(pathrules.Combine(pathrules.Requirement{}, tenant.Of(f))); got == "public" {
			t.Errorf("%s: a tenant opens it by itself", path)
		}
	}
}

// The guide's rules are rules.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("../../../docs/guides/paths-and-upstreams.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "\n```yaml\npaths:\n")[1:]
	if len(blocks) != 2 {
		t.Fatalf("%d blocks with rules", len(blocks))
	}
	for _, block := range blocks {
		rules, _, _ := strings.Cut(block, "\n```")
		read(t, "paths:\n"+rules)
	}
}

func TestRead(t *testing.T) {
	rules := read(t, `{"paths": [{"path": "/a", "match": "Exact", "roles": ["x"], "freshSignIn": "90s"}]}`)
	if got := rules.Of(form(t, "/a")); got.FreshSignIn != 90*time.Second || !reflect.DeepEqual(got.Roles, [][]string{{"x"}}) {
		t.Errorf("JSON: %s", said(got))
	}
	for text, problem := range map[string]string{
		"":                    "no rule below 'paths'",
		"paths: []":           "no rule below 'paths'",
		"- {path: /a}":        "want 'paths'",
		"paths: [":            "want 'paths'",
		"path: [{path: /a}]":  `"path"`,
		"paths: [{path: /a}]": "paths[0]: set access, or else",
		"paths: [{path: /a, access: Public, roles: [x]}]":                             "set access, or else",
		"paths: [{path: /a, roles: []}]":                                              "roles is empty",
		"paths: [{path: /a, role: x}]":                                                `"role"`,
		"paths: [{path: /a, access: Public, access: SignedIn}]":                       "already set",
		"paths: [{path: /a, access: public}]":                                         `access is "public"`,
		"paths: [{path: /a, match: Regex, access: Public}]":                           `match is "Regex"`,
		"paths: [{path: /a, freshSignIn: 30s}]":                                       `freshSignIn is "30s"`,
		"paths: [{path: /a, freshSignIn: 15}]":                                        "freshSignIn",
		"paths: [{path: /a, freshSignIn: 721h}]":                                      "freshSignIn",
		"paths: [{path: /ok, access: Public}, {path: /a/*, access: Public}]":          "paths[1]: path",
		"paths: [{access: Public}]":                                                   "path",
		"paths: [{path: /saml/acs, access: Public}]":                                  "gateway's own",
		"paths: [{path: /a, access: Public}]\n---\npaths: [{path: /b, roles: [x]}]\n": "more than one document",
	} {
		if _, err := pathrules.Read([]byte(text)); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%q: got %v, want an error with %q", text, err, problem)
		}
	}
	read(t, "---\npaths: [{path: /a, access: Public}]\n")
}
