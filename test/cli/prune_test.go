package cli_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rendered returns a directory with the tenants one and gone, and the
// arguments that render into it.
func rendered(t *testing.T) (out string, args []string) {
	t.Helper()
	document, _ := metadata(t)
	out = t.TempDir()
	args = []string{"render", "-f", "-", "--metadata", document, "--out", out}
	run(t, plain("one")+plain("gone"), args...).expect(t, 0)
	return out, args
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return err == nil
}

func TestRenderWarnsOfTenantsWithoutAManifest(t *testing.T) {
	out, args := rendered(t)
	// No gateway takes these for tenants.
	for _, name := range []string{".git", "Notes", "empty"} {
		if err := os.MkdirAll(filepath.Join(out, name), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{".git", "Notes"} {
		if err := os.WriteFile(filepath.Join(out, name, "config.json"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := run(t, plain("one"), args...)
	r.expect(t, 0, "operator: warning: no manifest names the tenant in "+filepath.Join(out, "gone"), "--prune")
	if strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("stderr is\n%s\nwant one warning", r.stderr)
	}
	if len(files(t, filepath.Join(out, "gone"))) != 6 {
		t.Error("a warning deleted files")
	}
}

func TestPruneDeletesTenantsWithoutAManifest(t *testing.T) {
	out, args := rendered(t)
	one := files(t, filepath.Join(out, "one")).Hash()
	// It pleases the metadata no more, but it has a manifest.
	input := plain("one") + "  idpEntityID: https://other.example.test/\n"
	r := run(t, input, append(args, "--prune")...)
	r.expect(t, 1, "SAMLTenant/one: EntityIDMismatch")
	if exists(t, filepath.Join(out, "gone")) || !strings.Contains(r.stdout, "SAMLTenant/gone pruned") {
		t.Errorf("the tenant is still there; stdout is %q", r.stdout)
	}
	if files(t, filepath.Join(out, "one")).Hash() != one {
		t.Error("pruning touched a tenant with a manifest")
	}
	r = run(t, plain("one"), append(args, "--prune")...)
	r.expect(t, 0)
	if r.stderr != "" || strings.Contains(r.stdout, "pruned") {
		t.Errorf("a second run has something to say: %q, %q", r.stdout, r.stderr)
	}
}

func TestPruneWaitsUntilAllManifestsCanBeRead(t *testing.T) {
	out, args := rendered(t)
	for name, input := range map[string]string{
		"a manifest that is wrong": plain("one") + strings.Replace(plain("gone"), "customerName", "customer", 1),
		"a kind that is wrong":     plain("one") + strings.Replace(plain("gone"), "SAMLTenant", "SAMLTennant", 1),
		"no tenant":                "",
	} {
		t.Run(name, func(t *testing.T) {
			run(t, input, append(args, "--prune")...).expect(t, 1, "nothing was pruned")
		})
	}
	r := run(t, plain("one"), append(args, "--prune", "-f", "missing.yaml")...)
	r.expect(t, 1, "open missing.yaml", "nothing was pruned")
	if len(files(t, filepath.Join(out, "gone"))) != 6 {
		t.Error("files were deleted")
	}
}

func TestPruneDeletesOnlyWhatRenderWrote(t *testing.T) {
	for name, test := range map[string]struct {
		spoil  func(directory string) error
		stderr string
	}{
		"another file": {func(d string) error { return os.WriteFile(filepath.Join(d, "notes.txt"), []byte("mine"), 0o600) }, "it holds notes.txt"},
		"a directory":  {func(d string) error { return os.Mkdir(filepath.Join(d, "backup"), 0o750) }, "it holds backup"},
		"a directory by one of our names": {func(d string) error {
			key := filepath.Join(d, "tls.key")
			return errors.Join(os.Remove(key), os.Mkdir(key, 0o750))
		}, "it holds tls.key"},
		"a link": {func(d string) error {
			key := filepath.Join(d, "tls.key")
			return errors.Join(os.Remove(key), os.Symlink("/dev/null", key))
		}, "it holds tls.key"},
		"a configuration of another program": {func(d string) error {
			return os.WriteFile(filepath.Join(d, "config.json"), []byte(`{"debug": true}`), 0o600)
		}, "config.json is not what render wrote here"},
		"a configuration of another tenant": {func(d string) error {
			content, err := os.ReadFile(filepath.Join(d, "..", "one", "config.json"))
			return errors.Join(err, os.WriteFile(filepath.Join(d, "config.json"), content, 0o600))
		}, `it is of the tenant "one"`},
		"a link to a directory": {func(d string) error {
			elsewhere := filepath.Join(d, "..", "..", filepath.Base(filepath.Dir(d))+"-elsewhere")
			return errors.Join(os.Rename(d, elsewhere), os.Symlink(elsewhere, d))
		}, "it is no directory"},
	} {
		t.Run(name, func(t *testing.T) {
			out, args := rendered(t)
			gone := filepath.Join(out, "gone")
			if err := test.spoil(gone); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadDir(gone)
			if err != nil {
				t.Fatal(err)
			}
			r := run(t, plain("one"), append(args, "--prune")...)
			r.expect(t, 1, "prune "+gone+": ", test.stderr, "delete")
			after, err := os.ReadDir(gone)
			if err != nil || len(after) != len(before) {
				t.Errorf("there were %d files, now there are %d (%v)", len(before), len(after), err)
			}
			if !strings.Contains(r.stdout, "SAMLTenant/one rendered") {
				t.Errorf("stdout is %q", r.stdout)
			}
		})
	}
}
