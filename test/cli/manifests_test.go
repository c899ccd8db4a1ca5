package cli_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
)

// object is a SAMLTenant in JSON, without its braces.
func object(name string) string {
	return fmt.Sprintf(`"apiVersion": "sso.cequence.cloud/v1alpha1", "kind": "SAMLTenant", %s`, nameless(name))
}

// nameless is an object that does not say its kind.
func nameless(name string) string {
	return fmt.Sprintf(`"metadata": {"name": %q}, "spec": {"customerName": %q, "metadataURL": "https://idp.example.test/metadata"}`, name, name)
}

func plain(name string) string {
	return manifest(name, name, "https://idp.example.test/metadata", "")
}

// listed is what "kubectl get samltenants -o yaml" prints.
const listed = `apiVersion: v1
items:
- apiVersion: sso.cequence.cloud/v1alpha1
  kind: SAMLTenant
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {"apiVersion":"sso.cequence.cloud/v1alpha1","kind":"SAMLTenant"}
    creationTimestamp: "2026-11-02T10:00:00Z"
    generation: 3
    managedFields:
    - apiVersion: sso.cequence.cloud/v1alpha1
      fieldsType: FieldsV1
      fieldsV1:
        f:spec:
          .: {}
          f:customerName: {}
      manager: kubectl-client-side-apply
      operation: Update
      time: "2026-11-02T10:00:00Z"
    name: one
    namespace: saml-operator-system
    resourceVersion: "40812"
    uid: 6e3ba3c3-7a4d-4a3f-9f0f-0f6a0f5b1c11
  spec:
    customerName: one
    metadataURL: https://idp.example.test/metadata
  status:
    observedGeneration: 3
    writtenByALaterRelease: true
- apiVersion: sso.cequence.cloud/v1alpha1
  kind: SAMLTenant
  metadata:
    creationTimestamp: null
    name: two
  spec:
    customerName: two
    metadataURL: https://idp.example.test/metadata
  status: {}
kind: List
metadata:
  resourceVersion: ""
`

func TestRenderFindsEveryTenant(t *testing.T) {
	document, _ := metadata(t)
	for name, stdin := range map[string]string{
		"documents":                           plain("one") + plain("two"),
		"a list by kubectl":                   listed,
		"a list of one kind":                  `{"apiVersion": "sso.cequence.cloud/v1alpha1", "kind": "SAMLTenantList", "items": [{` + object("one") + `}, {` + nameless("two") + `}]}`,
		"a list in a list":                    `{"apiVersion": "v1", "kind": "List", "items": [{"kind": "List", "items": [{` + object("one") + `}]}, {` + object("two") + `}]}`,
		"a document after an end":             plain("one") + "...\n# the other\n" + strings.TrimPrefix(plain("two"), "---\n"),
		"one object after another":            "{" + object("one") + "}{" + object("two") + "}",
		"objects on lines":                    "# all\n\n{" + object("one") + "}\n\t{" + object("two") + "}\n",
		"an object beside a separator":        "--- {" + object("one") + "}\n---\t# last\n{" + object("two") + "}",
		"line breaks and marks as in Windows": "\ufeff" + strings.ReplaceAll(plain("one")+"\ufeff"+plain("two"), "\n", "\r\n"),
		"other kinds between them":            plain("one") + "---\nkind: Kustomization\nresources: [acme.yaml]\n---\n---\nreplicas: 2\n" + plain("two"),
		"an indented document":                strings.ReplaceAll(strings.TrimPrefix(plain("one"), "---"), "\n", "\n  ") + "\n" + plain("two"),
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			r := run(t, stdin, "render", "-f", "-", "--metadata", document, "--out", out)
			r.expect(t, 0)
			for _, tenant := range []string{"one", "two"} {
				if !strings.Contains(r.stdout, "SAMLTenant/"+tenant+" rendered") {
					t.Errorf("%s is missing; stdout is\n%s", tenant, r.stdout)
				}
			}
		})
	}
}

// Each stream holds a tenant that is right: without the error, the other would
// be missing and nobody the wiser.
func TestRenderPassesOverNoTenantInSilence(t *testing.T) {
	document, _ := metadata(t)
	wide := utf16.Encode([]rune("\ufeff" + plain("two")))
	utf16File := make([]byte, 0, 2*len(wide))
	for _, unit := range wide {
		utf16File = binary.LittleEndian.AppendUint16(utf16File, unit)
	}
	for name, test := range map[string]struct{ stdin, stderr string }{
		"another group":      {strings.Replace(plain("two"), "cequence.cloud", "cequence.clod", 1), `SAMLTenant/two: there is no kind "SAMLTenant" of apiVersion "sso.cequence.clod/v1alpha1"; write kind: SAMLTenant and apiVersion: sso.cequence.cloud/v1alpha1`},
		"another version":    {strings.Replace(plain("two"), "v1alpha1", "v1", 1), "write kind: SAMLTenant and apiVersion: sso.cequence.cloud/v1alpha1"},
		"no version":         {strings.Replace(plain("two"), "apiVersion", "version", 1), "write kind: SAMLTenant and apiVersion: sso.cequence.cloud/v1alpha1"},
		"another spelling":   {strings.Replace(plain("two"), "SAMLTenant", "SamlTenant", 1), `SamlTenant/two: there is no kind "SamlTenant"`},
		"another kind":       {strings.Replace(plain("two"), "SAMLTenant", "SAMLTenants", 1), `there is no kind "SAMLTenants"`},
		"no kind":            {strings.Replace(plain("two"), "kind", "king", 1), `there is no kind ""`},
		"a list's spelling":  {`{"apiVersion": "sso.cequence.cloud/v1alpha1", "kind": "SamlTenantList", "items": [{` + object("two") + `}]}`, "write kind: SAMLTenantList"},
		"a list without any": {`{"apiVersion": "sso.cequence.cloud/v1alpha1", "kind": "SAMLTenantList", "item": [{` + object("two") + `}]}`, "SAMLTenantList: items is no list"},
		"an item's spelling": {`{"kind": "List", "items": [{` + strings.Replace(object("two"), "SAMLT", "SAMLt", 1) + `}]}`, `there is no kind "SAMLtenant"`},
		"an item's form":     {`{"kind": "List", "items": ["two"]}`, "List: items[0] is no object"},
		"flow style":         {"{kind: List}\n{" + object("two") + "}", `a document that begins with "{" must be JSON`},
		"rest of an object":  {`{"kind": "List"}, {` + object("two") + "}", "must be JSON"},
		"an object in YAML":  {"kind: List\n{" + object("two") + "}", "not a YAML or JSON object"},
		"an anchor":          {"&a {" + object("two") + "}", `a document that begins with "&" must be JSON`},
		"a field twice":      {"{" + object("two") + `, "spec": {}}`, "not a YAML or JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, plain("one")+"---\n"+test.stdin, "render", "-f", "-", "--metadata", document, "--out", t.TempDir())
			r.expect(t, 1, "operator: -: ", test.stderr)
			if !strings.Contains(r.stdout, "SAMLTenant/one rendered") || strings.Contains(r.stdout, "two") {
				t.Errorf("stdout is %q", r.stdout)
			}
		})
	}
	run(t, string(utf16File), "render", "-f", "-", "--metadata", document, "--out", t.TempDir()).expect(t, 1, "-: not UTF-8")
}

func TestRenderReadsTheOtherFilesWhenOneCannotBeRead(t *testing.T) {
	document, _ := metadata(t)
	directory := t.TempDir()
	for name, content := range map[string]string{"b.yaml": "a: [", "c.json": "{" + object("two") + "}", "notes.txt": "[", "README.md": "["} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := run(t, "", "render", "-f", "missing.yaml", "-f", write(t, "a.yaml", plain("one")), "-f", "gone.yaml", "-f", directory,
		"--metadata", document, "--out", t.TempDir())
	r.expect(t, 1, "open missing.yaml: no such file", "open gone.yaml: no such file", filepath.Join(directory, "b.yaml")+": ")
	for _, tenant := range []string{"one", "two"} {
		if !strings.Contains(r.stdout, "SAMLTenant/"+tenant+" rendered") {
			t.Errorf("%s is missing; stdout is\n%s", tenant, r.stdout)
		}
	}
	if strings.Contains(r.stderr, "stat ") || strings.Contains(r.stderr, "notes.txt") {
		t.Errorf("stderr is\n%s", r.stderr)
	}
}
