package store_test

import (
	"database/sql"
	"errors"
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
	openSQLite(t, file, clock).close()
	execute(t, "sqlite", file, `INSERT INTO schema_migrations (version, applied_at) VALUES (999, 0)`)
	if _, err := store.OpenSQLite(t.Context(), file, clock.Now); !errors.Is(err, store.ErrLaterSchema) {
		t.Errorf("got error %v, want %v", err, store.ErrLaterSchema)
	}
}

func TestSecondProcessOnSQLiteIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gateway.db")
	clock := storetest.NewClock()
	first := openSQLite(t, file, clock)
	_, err := store.OpenSQLite(t.Context(), file, clock.Now)
	if err == nil || !strings.Contains(err.Error(), "--database-url-file") {
		t.Errorf("got error %v, want one that names the setting", err)
	}
	if err := first.RevokeSession(t.Context(), "session", clock.Now().Add(time.Hour)); err != nil {
		t.Errorf("the first does not work any more: %v", err)
	}
	first.close()
	openSQLite(t, file, clock).close()
}

// The file was written by the first release.
func TestSQLiteGoesOnWithAnOlderDatabase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gateway.db")
	dump, err := os.ReadFile("testdata/sqlite-1.sql")
	if err != nil {
		t.Fatal(err)
	}
	execute(t, "sqlite", file, string(dump))
	clock := storetest.NewClock()
	for range 2 {
		s := openSQLite(t, file, clock)
		session, err := s.GetSession(t.Context(), "acme", "session-1")
		if err != nil || session.UserID != "USER-OF-VERSION-1" || len(session.Groups) != 2 {
			t.Errorf("GetSession: %+v, %v", session, err)
		}
		revoked, _, err := s.RevokedSessions(t.Context(), 0)
		if err != nil || !revoked["session-9"].Equal(clock.Now().Add(time.Hour)) {
			t.Errorf("RevokedSessions: %v, %v", revoked, err)
		}
		if _, err := s.RecordSignIn(t.Context(), store.SignIn{
			Tenant: "acme", IDPEntityID: "https://idp.example/acme", AssertionID: "assertion-1", AssertionExpires: clock.Now().Add(time.Minute),
		}); !errors.Is(err, store.ErrReplayed) {
			t.Errorf("RecordSignIn: got error %v, want %v", err, store.ErrReplayed)
		}
		s.close()
	}
}

func TestSQLiteKeepsAnOlderUser(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gateway.db")
	dump, err := os.ReadFile("testdata/sqlite-1.sql")
	if err != nil {
		t.Fatal(err)
	}
	execute(t, "sqlite", file, string(dump))
	s := openSQLite(t, file, storetest.NewClock())
	defer s.close()
	storetest.RunOlderUser(t, "USER-OF-VERSION-1", s)
}

type sqlite struct {
	*store.SQLite
	close func()
}

func openSQLite(t *testing.T, file string, clock *storetest.Clock) sqlite {
	t.Helper()
	s, err := store.OpenSQLite(t.Context(), file, clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	return sqlite{s, func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}}
}

// execute runs statements on a database past its store.
func execute(t *testing.T, driver, location, statements string) {
	t.Helper()
	db, err := sql.Open(driver, location)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), statements)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}
