// Package cli_test runs the operator's command as a pipeline does.
package cli_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cequence.cloud/saml-operator/internal/gateway/tenant"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

var operator string

func TestMain(m *testing.M) { os.Exit(withOperator(m)) }

func withOperator(m *testing.M) int {
	directory, err := os.MkdirTemp("", "cli-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(directory) //nolint:errcheck // a temporary directory
	operator = filepath.Join(directory, "operator")
	if output, err := exec.Command("go", "build", "-o", operator, "../../cmd/operator").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the operator: %v\n%s", err, output)
		return 1
	}
	return m.Run()
}

type result struct {
	code           int
	stdout, stderr string
}

func run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	command := exec.CommandContext(t.Context(), operator, args...)
	command.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatalf("run %v: %v", args, err)
	} else if ok && exit.ExitCode() < 0 {
		t.Fatalf("%v was killed: %v", args, err)
	}
	return result{command.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// expect checks the exit code, and that stderr tells what it should.
func (r result) expect(t *testing.T, code int, stderr ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d; stderr:\n%s", r.code, code, r.stderr)
	}
	for _, text := range stderr {
		if !strings.Contains(r.stderr, text) {
			t.Errorf("stderr is\n%s\nwant it to contain %q", r.stderr, text)
		}
	}
}

func manifest(name, customer, metadataURL, more string) string {
	return fmt.Sprintf("---\napiVersion: sso.cequence.cloud/v1alpha1\nkind: SAMLTenant\nmetadata:\n  name: %s\nspec:\n  customerName: %s\n  metadataURL: %s\n%s", name, customer, metadataURL, more)
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func metadata(t *testing.T) (file string, provider *testidp.IDP) {
	t.Helper()
	return metadataOf(t, "")
}

func metadataOf(t *testing.T, entityID string) (file string, provider *testidp.IDP) {
	t.Helper()
	provider, err := testidp.New(testidp.Options{BaseURL: "https://idp.example.test", EntityID: entityID})
	if err != nil {
		t.Fatal(err)
	}
	document, err := provider.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "metadata.xml", string(document)), provider
}

func files(t *testing.T, directory string) tenantconfig.Files {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	files := tenantconfig.Files{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(directory, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestRenderWritesWhatTheGatewayServes(t *testing.T) {
	document, provider := metadata(t)
	manifests := write(t, "tenants.yaml", manifest("acme-tenant", "acme", "https://idp.example.test/metadata", "  serviceProvider: {signMetadata: true}\n"))
	out := filepath.Join(t.TempDir(), "rendered")
	args := []string{"render", "-f", manifests, "--metadata", document, "--base-domain", "sso.example.com", "--out", out}
	r := run(t, "", args...)
	r.expect(t, 0)
	if !strings.Contains(r.stdout, "SAMLTenant/acme-tenant rendered") || !strings.Contains(r.stdout, " 1 signing certificate,") || r.stderr != "" {
		t.Errorf("stdout %q, stderr %q", r.stdout, r.stderr)
	}
	first := files(t, filepath.Join(out, "acme-tenant"))
	loaded, err := tenant.Load("acme-tenant", first)
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Config.Host != "acme.sso.example.com" || loaded.Config.IdentityProvider.EntityID != provider.EntityID() || loaded.Key == nil {
		t.Errorf("the gateway reads %+v", loaded.Config)
	}
	if !bytes.Contains(loaded.Metadata, []byte("SignatureValue")) {
		t.Error("the SP metadata is not signed")
	}
	// Again: nothing changes, the key least of all.
	run(t, "", args...).expect(t, 0)
	if again := files(t, filepath.Join(out, "acme-tenant")); again.Hash() != first.Hash() || len(first) != 6 {
		t.Errorf("a second run changed the files, or there are not 6 of them: %d", len(first))
	}
}

func TestRenderFetchesByTheSameRulesAsTheController(t *testing.T) {
	provider, err := testidp.New(testidp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(provider)
	defer server.Close()
	provider.SetBaseURL(server.URL)
	ca := "  metadataCA: |\n    " + strings.ReplaceAll(strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))), "\n", "\n    ") + "\n"
	missing := httptest.NewTLSServer(http.NotFoundHandler())
	defer missing.Close()

	input := manifest("good", "good", provider.MetadataURL(), ca) + manifest("missing", "missing", missing.URL+"/metadata", ca)
	out := t.TempDir()
	r := run(t, input, "render", "-f", "-", "--out", out)
	r.expect(t, 1, "SAMLTenant/good: URLNotAllowed:", "SAMLTenant/missing: URLNotAllowed:", "--metadata-allow-cidrs")

	r = run(t, input, "render", "-f", "-", "--metadata-allow-cidrs=127.0.0.0/8", "--out", out)
	r.expect(t, 1, "SAMLTenant/missing: HTTPStatus:")
	if !strings.Contains(r.stdout, "SAMLTenant/good rendered") {
		t.Errorf("one that fails must not hold up the others; stdout %q", r.stdout)
	}
	if _, err := os.Stat(filepath.Join(out, "missing")); !os.IsNotExist(err) {
		t.Errorf("a tenant that failed left something behind: %v", err)
	}
}

func TestRenderSaysAllThatIsWrong(t *testing.T) {
	document, _ := metadata(t)
	page := write(t, "page.html", "<!DOCTYPE html><html><title>Sign in</title></html>")
	good := manifest("acme", "acme", "https://idp.example.test/metadata", "")
	out := t.TempDir()
	for name, test := range map[string]struct {
		stdin  string
		args   []string
		code   int
		stderr []string
	}{
		"a field that is wrong": {manifest("a", "Acme Inc", "http://idp.example.test/", ""), []string{"-f", "-", "--out", out}, 1,
			[]string{"SAMLTenant/a is invalid", "spec.customerName", "spec.metadataURL"}},
		"metadata on a cluster":    {strings.Replace(good, "metadataURL: https://idp.example.test/metadata", "metadataFrom: {secretKeyRef: {name: a, key: b}}", 1), []string{"-f", "-", "--out", out}, 1, []string{"SAMLTenant/acme: SourceNotFound", "--metadata"}},
		"a key on a cluster":       {manifest("acme", "acme", "https://idp.example.test/metadata", "  serviceProvider: {keySecretRef: {name: acme-tls}}\n"), []string{"-f", "-", "--metadata", document, "--out", filepath.Join(out, "keyless")}, 1, []string{"SAMLTenant/acme: KeySecretInvalid", "put its tls.key and tls.crt into"}},
		"a field that is unknown":  {manifest("a", "acme", "https://idp.example.test/", "  metadataUrl: x\n"), []string{"-f", "-", "--out", out}, 1, []string{`unknown field "spec.metadataUrl"`}},
		"the same customer twice":  {good + manifest("b", "acme", "https://idp.example.test/metadata", ""), []string{"-f", "-", "--metadata", document, "--out", out}, 1, []string{"SAMLTenant/acme: CustomerNameConflict", "SAMLTenant/b: CustomerNameConflict"}},
		"a page for metadata":      {good, []string{"-f", "-", "--metadata", page, "--out", out}, 1, []string{"SAMLTenant/acme: ParseFailed"}},
		"another entity":           {manifest("acme", "acme", "https://idp.example.test/metadata", "  idpEntityID: https://other.example/\n"), []string{"-f", "-", "--metadata", document, "--out", out}, 1, []string{"SAMLTenant/acme: EntityIDMismatch"}},
		"no tenant":                {"apiVersion: v1\nkind: ConfigMap\n", []string{"-f", "-", "--out", out}, 1, []string{"there is no SAMLTenant in -"}},
		"no such file":             {"", []string{"-f", "missing.yaml", "--out", out}, 1, []string{"missing.yaml"}},
		"no such metadata":         {good, []string{"-f", "-", "--metadata", "missing.xml", "--out", out}, 1, []string{"missing.xml"}},
		"no -f":                    {"", []string{"--out", out}, 2, []string{"-f"}},
		"no --out":                 {good, []string{"-f", "-"}, 2, []string{"--out"}},
		"an unknown flag":          {good, []string{"-f", "-", "--output", out}, 2, []string{"-output"}},
		"a base domain that is no": {good, []string{"-f", "-", "--base-domain", "https://x", "--out", out}, 2, []string{"--base-domain"}},
		"a network that is none":   {good, []string{"-f", "-", "--metadata-allow-cidrs", "10.0.0.0", "--out", out}, 2, []string{"10.0.0.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, test.stdin, append([]string{"render"}, test.args...)...).expect(t, test.code, test.stderr...)
		})
	}
	for _, args := range [][]string{{"rendr"}, {"--gateway-rollout=Sometimes", "--namespace=x"}, {"render"}} {
		if r := run(t, "", args...); !strings.HasPrefix(r.stderr, "operator: ") || strings.Contains(r.stderr, "usage:") {
			t.Errorf("%v: stderr is %q", args, r.stderr)
		}
	}
	run(t, "", "rendr").expect(t, 2, `unknown command "rendr"`)
	run(t, "", "--namespace=x", "--gateway-rollout=Sometimes").expect(t, 2, "Rolling, Structural or Off")
	run(t, "", "--namespace=x", "--gateway-rollout-quiet=3m").expect(t, 2, "--gateway-rollout-max-wait")
	run(t, "", "--namespace=x", "--refresh-interval=1s").expect(t, 2, "--refresh-interval")
}

func TestRenderKeepsItsHandsOffADamagedKey(t *testing.T) {
	document, _ := metadata(t)
	out := t.TempDir()
	args := []string{"render", "-f", "-", "--metadata", document, "--out", out}
	input := manifest("acme", "acme", "https://idp.example.test/metadata", "")
	run(t, input, args...).expect(t, 0)
	if err := os.Remove(filepath.Join(out, "acme", "tls.crt")); err != nil {
		t.Fatal(err)
	}
	run(t, input, args...).expect(t, 1, "SAMLTenant/acme: KeySecretInvalid", "delete tls.key and tls.crt to get a new pair")
	if err := os.Remove(filepath.Join(out, "acme", "tls.key")); err != nil {
		t.Fatal(err)
	}
	run(t, input, args...).expect(t, 0)
}

// The next pair is put beside the one in use by hand, and moved over it later.
func TestRenderPublishesTheNextKey(t *testing.T) {
	document, _ := metadata(t)
	out, other := t.TempDir(), t.TempDir()
	input := manifest("acme", "acme", "https://idp.example.test/metadata", "")
	render := func(to string) result {
		return run(t, input, "render", "-f", "-", "--metadata", document, "--out", to)
	}
	published := func(want int) {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(out, "acme", "sp-metadata.xml"))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(content), "<ds:X509Certificate>"); got != want {
			t.Errorf("%d certificates are published, want %d", got, want)
		}
	}
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	in := func(directory, name string) string { return filepath.Join(directory, "acme", name) }

	render(out).expect(t, 0)
	render(other).expect(t, 0)
	published(2)
	move(in(other, "tls.key"), in(out, "next.key"))
	render(out).expect(t, 1, "SAMLTenant/acme: KeySecretInvalid", "correct next.key and next.crt")
	move(in(other, "tls.crt"), in(out, "next.crt"))
	render(out).expect(t, 0)
	published(4)
	move(in(out, "next.key"), in(out, "tls.key"))
	move(in(out, "next.crt"), in(out, "tls.crt"))
	render(out).expect(t, 0)
	published(2)
}

func TestOperatorTellsAnUnknownFlagOnce(t *testing.T) {
	r := run(t, "", "render", "--output", "x")
	r.expect(t, 2)
	if want := "operator: flag provided but not defined: -output; \"operator render -h\" lists the flags\n"; r.stderr != want {
		t.Errorf("stderr is %q, want %q", r.stderr, want)
	}
	run(t, "", "--namespaces=x").expect(t, 2, `"operator -h" lists the flags`)
	run(t, "", "render", "-h").expect(t, 0, "-metadata-allow-cidrs", "-prune")
	run(t, "", "-h").expect(t, 0, "-gateway-rollout")
}

func TestRenderKeepsToTheIdentityProvider(t *testing.T) {
	document, provider := metadata(t)
	otherDocument, other := metadataOf(t, "https://other.example.test/")
	out := t.TempDir()
	acme := filepath.Join(out, "acme")
	args := func(document string) []string {
		return []string{"render", "-f", "-", "--metadata", document, "--out", out}
	}
	input := manifest("acme", "acme", "https://idp.example.test/metadata", "")
	run(t, input, args(document)...).expect(t, 0)
	before := files(t, acme).Hash()

	run(t, input, args(otherDocument)...).expect(t, 1, "SAMLTenant/acme: EntityIDMismatch", provider.EntityID(), "set idpEntityID")
	if files(t, acme).Hash() != before {
		t.Error("metadata that was refused changed the files")
	}
	run(t, input, args(document)...).expect(t, 0)

	// The manifest decides, and what it decided stays.
	run(t, input+"  idpEntityID: "+other.EntityID()+"\n", args(otherDocument)...).expect(t, 0)
	run(t, input, args(otherDocument)...).expect(t, 0)
	run(t, input, args(document)...).expect(t, 1, "SAMLTenant/acme: EntityIDMismatch")

	// A file that says nothing is no permission.
	if err := os.WriteFile(filepath.Join(acme, "idp-metadata.xml"), []byte("<x/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, input, args(document)...).expect(t, 1, "SAMLTenant/acme: find the IdP accepted before in", "set idpEntityID")
	run(t, input+"  idpEntityID: "+provider.EntityID()+"\n", args(document)...).expect(t, 0)
}
