package session

import (
	"bytes"
	"context"
	"crypto/rand"
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
	// maxKeys bounds what a cookie that is none of ours costs.
	maxKeys = 8
	// keyInterval is how often the files are looked at.
	keyInterval = time.Second
)

// KeyFiles are the files with the cookie keys: the one with the key that seals,
// and beside it any number of others whose names begin with its name and a dot,
// such as cookie.key.next and cookie.key.previous, with keys that only open.
//
// So a key is replaced without the end of a session. Replicas see a change of a
// Secret at different times, so a new key opens everywhere before it seals
// anywhere; and the one before opens until nothing counts any more that it has
// sealed.
type KeyFiles struct {
	// File has the key that seals.
	File string
	// Create makes File at the first start.
	Create bool
}

// Load reads the keys, first the one that seals.
func (f KeyFiles) Load() ([][]byte, error) {
	if f.Create {
		if err := createKey(f.File); err != nil {
			return nil, fmt.Errorf("create cookie key: %w", err)
		}
	}
	return f.read()
}

func (f KeyFiles) read() ([][]byte, error) {
	others, err := filepath.Glob(escapeGlob(f.File) + ".*")
	if err != nil {
		return nil, fmt.Errorf("list cookie keys: %w", err)
	}
	if len(others) >= maxKeys {
		return nil, fmt.Errorf("%s has %d files with keys beside it, want at most %d", f.File, len(others), maxKeys-1)
	}
	slices.Sort(others)
	keys := make([][]byte, 0, 1+len(others))
	for _, file := range append([]string{f.File}, others...) {
		key, err := os.ReadFile(filepath.Clean(file))
		if err != nil {
			return nil, fmt.Errorf("read cookie key: %w", err)
		}
		if len(key) != KeyBytes {
			return nil, fmt.Errorf("cookie key %s has %d bytes, want %d", file, len(key), KeyBytes)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Follow has c use what the files hold, until ctx ends. Files that cannot be
// used leave the keys before in place. A change counts at the second look that
// finds it, since the first may have been in the middle of it.
func (f KeyFiles) Follow(ctx context.Context, c *Codec, current [][]byte, log *slog.Logger) {
	ticker := time.NewTicker(keyInterval)
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
				log.Warn("the files with the cookie keys cannot be used, the keys before stay", "error", complaint)
			}
			continue
		}
		complaint = ""
		settled := equal(keys, seen)
		seen = keys
		if !settled || equal(keys, current) {
			continue
		}
		if err := c.SetKeys(keys...); err != nil {
			log.Error("cookie keys", "error", err.Error()) // read: they are keys
			continue
		}
		log.Info("the cookie keys have changed", "opening", len(keys), "sealingChanged", !bytes.Equal(keys[0], current[0]))
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

// createKey makes a key in file, with mode 0600, unless the file is there. It
// writes it beside file and links it into place, so that file is complete from
// its first moment, and a key that is there is never replaced: two processes
// that start at once get the same one.
func createKey(file string) (err error) {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key := make([]byte, KeyBytes)
	_, _ = rand.Read(key)                                        // never fails
	f, err := os.CreateTemp(filepath.Dir(file), ".cookie-key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(key)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
