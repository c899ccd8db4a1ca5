package keyfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"cequence.cloud/saml-operator/internal/gateway/keyfile"
	"cequence.cloud/saml-operator/internal/gateway/session"
)

func TestFileIsMadeOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cookie.key")
	files := keyfile.Files{What: "cookie key", File: file, Check: session.CheckKey, Make: session.NewKey}
	keys := make([][][]byte, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = files.Load(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, key := range keys {
		if len(key) != 1 || len(key[0]) != session.KeyBytes || !reflect.DeepEqual(key, keys[0]) {
			t.Errorf("not one key: %d", len(key))
		}
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", info, err)
	}
	if _, err := (keyfile.Files{File: file + "2", Check: session.CheckKey}).Load(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that nobody is to make: %v", err)
	}
}

func TestLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with [odd] *names?")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	key := func(fill string) string { return strings.Repeat(fill, session.KeyBytes) }
	for _, test := range []struct {
		name  string
		files map[string]string
		want  string // the keys' letters; empty for an error
	}{
		{"one", map[string]string{"cookie.key": key("a")}, "a"},
		{"the one that is used comes first", map[string]string{"cookie.key": key("c"), "cookie.key.next": key("a"), "cookie.key.previous": key("b")}, "cab"},
		{"others are none of ours", map[string]string{"cookie.key": key("a"), "cookie.keys": "x", "a.cookie.key": "x", "url": "x"}, "a"},
		{"none that is used", map[string]string{"cookie.key.next": key("a")}, ""},
		{"a short one", map[string]string{"cookie.key": "short"}, ""},
		{"a short one beside it", map[string]string{"cookie.key": key("a"), "cookie.key.next": "short"}, ""},
		{"a line break after it", map[string]string{"cookie.key": key("a") + "\n"}, ""},
		{"too many", map[string]string{"cookie.key": key("a"), "cookie.key.1": key("a"), "cookie.key.2": key("a"), "cookie.key.3": key("a"),
			"cookie.key.4": key("a"), "cookie.key.5": key("a"), "cookie.key.6": key("a"), "cookie.key.7": key("a"), "cookie.key.8": key("a")}, ""},
	} {
		sub := filepath.Join(dir, test.name)
		if err := os.Mkdir(sub, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, content := range test.files {
			if err := os.WriteFile(filepath.Join(sub, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		keys, err := keyfile.Files{File: filepath.Join(sub, "cookie.key"), Check: session.CheckKey}.Load()
		got := ""
		for _, key := range keys {
			got += string(key[:1])
		}
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s: %q, %v, want %q", test.name, got, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "aaaa") {
			t.Errorf("%s: the error quotes a key: %v", test.name, err)
		}
	}
}
