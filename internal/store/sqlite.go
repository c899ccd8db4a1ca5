package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// SQLite is a Store in one file, for one gateway process.
type SQLite struct {
	database
	lock *os.File
	// revoked holds a value when a session was revoked since the last wait.
	revoked chan struct{}
}

var _ Store = (*SQLite)(nil)

// OpenSQLite opens the database in file, creating it with mode 0600 and
// bringing it to this release's schema. The clock decides what has expired. A
// file that another process has open is refused: the two would not learn of
// each other's revocations.
func OpenSQLite(ctx context.Context, file string, now func() time.Time) (_ *SQLite, err error) {
	lock, err := lockFile(file)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	// SQLite gives its journal files the mode of the database file, so it has
	// to be right before the first connection.
	f, err := os.OpenFile(filepath.Clean(file), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return nil, fmt.Errorf("protect database: %w", err)
	}

	pragmas := url.Values{
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "foreign_keys(1)",
			// A sign-in that was answered must not be forgotten in a power
			// failure: its assertion could be replayed.
			"synchronous(FULL)"},
		// Take the write lock at BEGIN: a transaction that reads first could
		// not upgrade under contention.
		"_txlock": {"immediate"},
	}
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: pragmas.Encode()}).String()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	// SQLite has one writer anyway; waiting for it in Go is fair, and polling
	// for its lock is not.
	db.SetMaxOpenConns(1)

	s := &SQLite{lock: lock, revoked: make(chan struct{}, 1)}
	s.database = database{db: db, now: now, engine: engine{
		name: "sqlite",
		// Its tables have no rowid, and its DELETE no LIMIT.
		purge: `DELETE FROM %[1]s WHERE (%[2]s) IN (SELECT %[2]s FROM %[1]s WHERE expires_at <= $1 LIMIT %[3]d)`,
		revoked: func() {
			select {
			case s.revoked <- struct{}{}:
			default:
			}
		},
	}}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", file, err), db.Close())
	}
	return s, nil
}

// lockFile takes the lock that keeps a second process from the database in
// file, until it is closed or this process ends. It is on a file of its own:
// closing the database's would release SQLite's locks on it.
func lockFile(file string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Clean(file)+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock database: %w", err)
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) //nolint:gosec // file descriptors are small
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		err = fmt.Errorf("another gateway uses the SQLite database %s, which serves one at a time: for several replicas, set --database-url-file to the URL of a PostgreSQL database", file)
	case err != nil:
		err = fmt.Errorf("lock database: %w", err)
	default:
		return lock, nil
	}
	return nil, errors.Join(err, lock.Close())
}

// AwaitRevocation implements Store.
func (s *SQLite) AwaitRevocation(ctx context.Context) error {
	select {
	case <-s.revoked:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close implements Store. It may be called again.
func (s *SQLite) Close() error {
	err := s.db.Close()
	if e := s.lock.Close(); !errors.Is(e, os.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}
