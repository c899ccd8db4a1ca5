package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/store"
	"cequence.cloud/saml-operator/internal/store/storetest"
	"cequence.cloud/saml-operator/internal/testpostgres"
)

// migrateEnv has this program, as a process of its own, migrate the database
// that it names.
const migrateEnv = "STORE_TEST_MIGRATE"

var server *testpostgres.Server

func TestMain(m *testing.M) {
	if url := os.Getenv(migrateEnv); url != "" {
		s, err := store.Open(context.Background(), url, time.Now)
		if err == nil {
			_, _, err = s.RevokedSessions(context.Background(), 0)
			err = errors.Join(err, s.Close())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(testpostgres.Run(m, func(s *testpostgres.Server) { server = s }))
}

func newPostgreSQL(t *testing.T) storetest.Open {
	t.Helper()
	url := server.NewDatabase(t)
	return func(t *testing.T, now func() time.Time) store.Store {
		t.Helper()
		return openPostgreSQL(t, url, now)
	}
}

func openPostgreSQL(t *testing.T, url string, now func() time.Time) *store.PostgreSQL {
	t.Helper()
	s, err := store.OpenPostgreSQL(func() (string, error) { return url, nil }, now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPostgreSQL(t *testing.T) { storetest.Run(t, newPostgreSQL) }

func TestReplicasOnPostgreSQL(t *testing.T) { storetest.RunReplicas(t, newPostgreSQL) }

func TestPostgreSQLRefusesALaterSchema(t *testing.T) {
	url := server.NewDatabase(t)
	clock := storetest.NewClock()
	first := openPostgreSQL(t, url, clock.Now)
	t.Cleanup(func() { _ = first.Close() })
	if _, _, err := first.RevokedSessions(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	execute(t, "pgx", url, `INSERT INTO schema_migrations (version, applied_at) VALUES (999, 0)`)
	later := openPostgreSQL(t, url, clock.Now)
	t.Cleanup(func() { _ = later.Close() })
	if _, _, err := later.RevokedSessions(t.Context(), 0); !errors.Is(err, store.ErrLaterSchema) {
		t.Errorf("got error %v, want %v", err, store.ErrLaterSchema)
	}
	// A rollout to a later release does not stop those that still run.
	if _, _, err := first.RevokedSessions(t.Context(), 0); err != nil {
		t.Errorf("a replica of this release: %v", err)
	}
}

// As a replica of the release before leaves it, which a rollout replaces.
func TestPostgreSQLKeepsAnOlderUser(t *testing.T) {
	url := server.NewDatabase(t)
	clock := storetest.NewClock()
	here, there := openPostgreSQL(t, url, clock.Now), openPostgreSQL(t, url, clock.Now)
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	if _, _, err := here.RevokedSessions(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	execute(t, "pgx", url, `INSERT INTO users (id, tenant, idp_entity_id, stable_id, email, given_name, surname, display_name, groups, created_at, last_sign_in_at, sign_ins)
		VALUES ('OLDER', 'acme', 'https://idp.example/acme', 'alice@acme.example', '', '', '', '', '[]', 1, 1, 1)`)
	storetest.RunOlderUser(t, "OLDER", here, there)
}

func TestProcessesMigrateOnce(t *testing.T) {
	url := server.NewDatabase(t)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), program)
			cmd.Env = append(os.Environ(), migrateEnv+"="+url)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("migrate: %v: %s", err, out)
			}
		})
	}
	wg.Wait()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var versions, last int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*), max(version) FROM schema_migrations`).Scan(&versions, &last); err != nil || versions == 0 || versions != last {
		t.Errorf("%d migrations up to version %d: %v", versions, last, err)
	}
}

func TestExpiredRowsGoAway(t *testing.T) {
	clock := storetest.NewClock()
	file := t.TempDir() + "/gateway.db"
	lite, url := openSQLite(t, file, clock), server.NewDatabase(t)
	defer lite.close()
	large := openPostgreSQL(t, url, clock.Now)
	t.Cleanup(func() { _ = large.Close() })
	for driver, s := range map[string]store.Store{"sqlite": lite, "pgx": large} {
		location := map[string]string{"sqlite": file, "pgx": url}[driver]
		t.Run(driver, func(t *testing.T) {
			revoke := func(id string) {
				t.Helper()
				if err := s.RevokeSession(t.Context(), id, clock.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			revoke("last")
			execute(t, driver, location, `WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 250)
				INSERT INTO revoked_sessions (id, expires_at, position) SELECT 'old' || n, 1, 1 FROM n`)
			rows := func() (n int) {
				t.Helper()
				db, err := sql.Open(driver, location)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = db.Close() }()
				if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM revoked_sessions`).Scan(&n); err != nil {
					t.Fatal(err)
				}
				return n
			}
			for _, want := range []int{151, 51, 1, 1} { // some with each write
				revoke("last")
				if got := rows(); got != want {
					t.Errorf("%d rows, want %d", got, want)
				}
			}
		})
	}
}

// Not in parallel with other tests: it stops the server of all.
func TestPostgreSQLStoppedAndStarted(t *testing.T) {
	url := server.NewDatabase(t)
	clock := storetest.NewClock()
	here, there := openPostgreSQL(t, url, clock.Now), openPostgreSQL(t, url, clock.Now)
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	signIn := func(n int) error {
		_, err := here.RecordSignIn(t.Context(), store.SignIn{
			Tenant: "acme", IDPEntityID: "idp", AssertionID: fmt.Sprint(n), AssertionExpires: clock.Now().Add(time.Minute),
			RequestID: fmt.Sprint(n), RequestExpires: clock.Now().Add(time.Minute), NewUserID: store.NewUserID(),
			Profile: store.Profile{StableID: "alice"}, SessionID: fmt.Sprint(n), SessionExpires: clock.Now().Add(time.Hour),
		})
		return err
	}
	if err := signIn(1); err != nil {
		t.Fatal(err)
	}
	await := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		return there.AwaitRevocation(ctx)
	}
	require.Eventually(t, func() bool { return await() == nil }, 20*time.Second, time.Millisecond, "nobody listens")

	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	err := signIn(2)
	if err == nil || errors.Is(err, store.ErrReplayed) {
		t.Errorf("a sign-in without a database: %v", err)
	}
	if err != nil && strings.Contains(err.Error(), testpostgres.Password) {
		t.Errorf("the error has the password: %v", err)
	}
	if err := await(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("AwaitRevocation: %v", err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}

	if err := signIn(1); !errors.Is(err, store.ErrReplayed) {
		t.Errorf("a replay afterwards: %v", err)
	}
	if err := signIn(2); err != nil {
		t.Errorf("the sign-in that failed, again: %v", err)
	}
	require.Eventually(t, func() bool { return await() == nil }, 20*time.Second, time.Millisecond, "nobody listens again")
	if err := here.RevokeSession(t.Context(), "1", clock.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	require.Eventually(t, func() bool { return await() == nil }, 20*time.Second, time.Millisecond, "the revocation was not heard of")
}

func TestPostgreSQLURL(t *testing.T) {
	const password = "s3cr3t/@:" // not encoded as it must be
	for _, url := range []string{
		"", "gateway.db", "mysql://user:pw@host/db", "postgres://user:" + password + "@host/db", "postgres://host:port/db", "postgres://h/db?pool_max_conns=x&password=" + password,
	} {
		_, err := store.OpenPostgreSQL(func() (string, error) { return url, nil }, time.Now)
		if err == nil || !strings.Contains(err.Error(), "postgres://user") || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestPostgreSQLTakesAChangedPassword(t *testing.T) {
	right := server.NewDatabase(t)
	current := strings.Replace(right, testpostgres.Password, "outdated", 1)
	s, err := store.OpenPostgreSQL(func() (string, error) { return current, nil }, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, _, err := s.RevokedSessions(t.Context(), 0); err == nil || strings.Contains(err.Error(), "outdated") {
		t.Errorf("got error %v, want one without the password", err)
	}
	current = right
	if _, _, err := s.RevokedSessions(t.Context(), 0); err != nil {
		t.Errorf("with the new password: %v", err)
	}
}

// A server that does not speak TLS, or somebody in between, learns nothing
// unless the URL says sslmode=disable.
func TestPostgreSQLIsNotSpokenToWithoutTLS(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	received := make(chan []byte, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			received <- nil
			return
		}
		defer func() { _ = conn.Close() }()
		request := make([]byte, 8) // SSLRequest
		_, _ = io.ReadFull(conn, request)
		_, _ = conn.Write([]byte("N"))
		rest, _ := io.ReadAll(conn)
		received <- rest
	}()
	s := openPostgreSQL(t, "postgres://user:password@"+listener.Addr().String()+"/db", time.Now)
	t.Cleanup(func() { _ = s.Close() })
	if _, _, err := s.RevokedSessions(t.Context(), 0); err == nil {
		t.Error("no error")
	}
	if got := <-received; len(got) > 0 {
		t.Errorf("sent %q in plain text", got)
	}
}
