// Package keyfile reads keys from files, makes the first one, and follows what
// becomes of them, so that a key is replaced without a restart.
package keyfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// maxKeys bounds what something costs that no key fits.
	maxKeys = 8
	// interval is how often the files are looked at.
	interval = time.Second
)

// Files are the files with keys of one kind: the one with the key that is used,
// and beside it any number of others whose names begin with its name and a dot,
// such as cookie.key.next and cookie.key.previous, with keys that are only
// accepted.
//
// So a key is replaced without the end of anything. Replicas see a change of a
// Secret at different times, so a new key is accepted everywhere before it is
// used anywhere; and the one before is accepted until nothing counts any more
// that it was used for.
type Files struct {
	// What the keys are called in errors and in the log, such as "cookie key".
	What string
	// File has the key that is used.
	File string
	// Check says what is wrong with a key, without quoting it.
	Check func(key []byte) error
	// Make makes what File holds at the first start; nil if it must be there.
	Make func() ([]byte, error)
}

// Load reads the keys, first the one that is used.
func (f Files) Load() ([][]byte, error) {
	if f.Make != nil {
		if err := f.create(); err != nil {
			return nil, fmt.Errorf("create %s: %w", f.What, err)
		}
	}
	return f.read()
}

func (f Files) read() ([][]byte, error) {
	others, err := filepath.Glob(escapeGlob(f.File) + ".*")
	if err != nil {
		return nil, fmt.Errorf("list %ss: %w", f.What, err)
	}
	if len(others) >= maxKeys {
		return nil, fmt.Errorf("%s has %d files with keys beside it, want at most %d", f.File, len(others), maxKeys-1)
	}
	slices.Sort(others)
	keys := make([][]byte, 0, 1+len(others))
	for _, file := range append([]string{f.File}, others...) {
		key, err := os.ReadFile(filepath.Clean(file))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f.What, err)
		}
		if err := f.Check(key); err != nil {
			return nil, fmt.Errorf("%s %s: %w", f.What, file, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Follow gives set what the files hold whenever that has changed, until ctx
// ends. Files that cannot be used leave the keys before in place. A change
// counts at the second look that finds it, since the first may have been in the
// middle of it.
func (f Files) Follow(ctx context.Context, set func(keys ...[]byte) error, current [][]byte, log *slog.Logger) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	seen, complaint := current, ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		keys, err := f.read()
		if err != nil {
			if complaint != err.Error() {
				complaint = err.Error()
				log.Warn("the files with the "+f.What+"s cannot be used, the keys before stay", "error", complaint)
			}
			continue
		}
		complaint = ""
		settled := equal(keys, seen)
		seen = keys
		if !settled || equal(keys, current) {
			continue
		}
		if err := set(keys...); err != nil {
			log.Error(f.What+"s", "error", err.Error()) // Check: they are keys
			continue
		}
		log.Info("the "+f.What+"s have changed", "accepted", len(keys), "usedChanged", !bytes.Equal(keys[0], current[0]))
		current = keys
	}
}

func equal(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

// escapeGlob returns a pattern that means a path literally.
func escapeGlob(path string) string {
	var escaped bytes.Buffer
	for _, r := range path {
		if r == '*' || r == '?' || r == '[' || r == '\\' {
			escaped.WriteByte('\\')
		}
		escaped.WriteRune(r)
	}
	return escaped.String()
}

// create makes a key in File, with mode 0600, unless the file is there. It
// writes it beside File and links it into place, so that File is complete from
// its first moment, and a key that is there is never replaced: two processes
// that start at once get the same one.
func (f Files) create() (err error) {
	if _, err := os.Stat(f.File); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := f.Make()
	if err != nil {
		return err
	}
	// Its name is none of those that read looks for. Its mode is 0600.
	made, err := os.CreateTemp(filepath.Dir(f.File), ".new-key-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(made.Name())) }()
	_, err = made.Write(key)
	if err = errors.Join(err, made.Sync(), made.Close()); err != nil {
		return err
	}
	if err := os.Link(made.Name(), f.File); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
