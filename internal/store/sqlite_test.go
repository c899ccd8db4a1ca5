package store_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/store"
	"cequence.cloud/saml-operator/internal/store/storetest"
)

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Open {
		file := filepath.Join(t.TempDir(), "gateway with spaces?.db")
		return func(t *testing.T, now func() time.Time) store.Store {
			t.Helper()
			s, err := store.OpenSQLite(t.Context(), file, now)
			if err != nil {
				t.Fatalf("OpenSQLite: %v", err)
			}
			return s
		}
	})
}

func TestSQLiteFilesAreForTheOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	s, err := store.OpenSQLite(t.Context(), filepath.Join(dir, "gateway.db"), storetest.NewClock().Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.RevokeSession(t.Context(), "session", time.Now().AddDate(10, 0, 0)); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	wal := false
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o, want 600", e.Name(), mode)
		}
		wal = wal || strings.HasSuffix(e.Name(), "-wal")
	}
	if !wal {
		t.Errorf("no write-ahead log in %v", entries)
	}
}

func TestSQLiteRefusesALaterSchema(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gateway.db")
	clock := storetest.NewClock()
	s, err := store.OpenSQLite(t.Context(), file, clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `INSERT INTO schema_migrations (version, applied_at) VALUES (999, 0)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.OpenSQLite(t.Context(), file, clock.Now); err == nil || !strings.Contains(err.Error(), "later release") {
		t.Errorf("got error %v, want one that names a later release", err)
	}
}
