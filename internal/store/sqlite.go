package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// SQLite is a Store in one file, for one gateway process.
type SQLite struct {
	db  *sql.DB
	now func() time.Time
}

var _ Store = (*SQLite)(nil)

// OpenSQLite opens the database in file, creating it with mode 0600 and
// bringing it to this release's schema. The clock decides what has expired.
func OpenSQLite(ctx context.Context, file string, now func() time.Time) (*SQLite, error) {
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

	if err := migrate(ctx, db, sqliteMigrations, now()); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", file, err), db.Close())
	}
	return &SQLite{db: db, now: now}, nil
}

// Close closes the database.
func (s *SQLite) Close() error { return s.db.Close() }

// RecordSignIn implements Store.
func (s *SQLite) RecordSignIn(ctx context.Context, in SignIn) (SignInResult, error) {
	groups, err := encodeGroups(in.Profile.Groups)
	if err != nil {
		return SignInResult{}, err
	}
	sessionGroups, err := encodeGroups(in.SessionGroups)
	if err != nil {
		return SignInResult{}, err
	}
	var result SignInResult
	err = s.write(ctx, "record sign-in", func(tx *sql.Tx, now int64) error {
		// The next purge would forget its use.
		if in.AssertionExpires.UnixMilli() <= now {
			return ErrAssertionExpired
		}
		if err := purge(ctx, tx, now); err != nil {
			return err
		}
		if err := insertOnce(ctx, tx, ErrReplayed,
			`INSERT INTO used_assertions (tenant, idp_entity_id, assertion_id, expires_at)
			 VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			in.Tenant, in.IDPEntityID, in.AssertionID, in.AssertionExpires.UnixMilli()); err != nil {
			return err
		}
		if in.RequestID != "" {
			if err := insertOnce(ctx, tx, ErrRequestAnswered,
				`INSERT INTO answered_requests (tenant, request_id, expires_at)
				 VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
				in.Tenant, in.RequestID, in.RequestExpires.UnixMilli()); err != nil {
				return err
			}
		}
		p := in.Profile
		user, err := scanUser(tx.QueryRowContext(ctx,
			`INSERT INTO users (`+userColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)
			 ON CONFLICT (tenant, idp_entity_id, stable_id) DO UPDATE SET
				email = excluded.email, given_name = excluded.given_name, surname = excluded.surname,
				display_name = excluded.display_name, groups = excluded.groups,
				last_sign_in_at = excluded.last_sign_in_at, sign_ins = users.sign_ins + 1
			 RETURNING `+userColumns,
			in.NewUserID, in.Tenant, in.IDPEntityID, p.StableID, p.Email, p.GivenName, p.Surname,
			p.DisplayName, groups, now, now))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx,
			`INSERT INTO sessions (id, tenant, user_id, groups, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)`,
			in.SessionID, in.Tenant, user.ID, sessionGroups, now, in.SessionExpires.UnixMilli()); err != nil {
			return err
		}
		result = SignInResult{User: user, Created: user.SignIns == 1}
		return nil
	})
	if err != nil {
		return SignInResult{}, err
	}
	return result, nil
}

// GetSession implements Store.
func (s *SQLite) GetSession(ctx context.Context, tenant, id string) (Session, error) {
	var (
		session          Session
		groups           string
		created, expires int64
	)
	err := s.db.QueryRowContext(ctx,
		`SELECT id, tenant, user_id, groups, created_at, expires_at FROM sessions
		 WHERE tenant = ? AND id = ? AND expires_at > ?`, tenant, id, s.now().UnixMilli()).
		Scan(&session.ID, &session.Tenant, &session.UserID, &groups, &created, &expires)
	if err == nil {
		session.Groups, err = decodeGroups(groups)
	}
	if err != nil {
		return Session{}, fmt.Errorf("get session: %w", orNotFound(err))
	}
	session.CreatedAt, session.ExpiresAt = fromMilli(created), fromMilli(expires)
	return session, nil
}

// RevokeSession implements Store.
func (s *SQLite) RevokeSession(ctx context.Context, id string, until time.Time) error {
	return s.write(ctx, "revoke session", func(tx *sql.Tx, now int64) error {
		if err := purge(ctx, tx, now); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx,
			`INSERT INTO revoked_sessions (id, expires_at) VALUES (?, ?)
			 ON CONFLICT (id) DO UPDATE SET expires_at = MAX(expires_at, excluded.expires_at)`,
			id, until.UnixMilli())
		return err
	})
}

// RevokedSessions implements Store.
func (s *SQLite) RevokedSessions(ctx context.Context) (_ map[string]time.Time, err error) {
	fail := func(err error) (map[string]time.Time, error) {
		return nil, fmt.Errorf("list revoked sessions: %w", err)
	}
	rows, err := s.db.QueryContext(ctx, `SELECT id, expires_at FROM revoked_sessions WHERE expires_at > ?`, s.now().UnixMilli())
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	revoked := map[string]time.Time{}
	for rows.Next() {
		var (
			id      string
			expires int64
		)
		if err := rows.Scan(&id, &expires); err != nil {
			return fail(err)
		}
		revoked[id] = fromMilli(expires)
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	return revoked, nil
}

// write runs do in a transaction that holds the write lock from its start.
func (s *SQLite) write(ctx context.Context, what string, do func(tx *sql.Tx, now int64) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer func() { _ = tx.Rollback() }()
	if err := do(tx, s.now().UnixMilli()); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// purge deletes what has expired. Each row is deleted once, along an index,
// so a transaction that begins with it pays for what earlier ones left.
func purge(ctx context.Context, tx *sql.Tx, now int64) error {
	for _, statement := range []string{
		`DELETE FROM used_assertions WHERE expires_at <= ?`,
		`DELETE FROM answered_requests WHERE expires_at <= ?`,
		`DELETE FROM sessions WHERE expires_at <= ?`,
		`DELETE FROM revoked_sessions WHERE expires_at <= ?`,
	} {
		if _, err := tx.ExecContext(ctx, statement, now); err != nil {
			return fmt.Errorf("purge: %w", err)
		}
	}
	return nil
}

// insertOnce runs an insert that ignores conflicts, and returns taken when
// there was one.
func insertOnce(ctx context.Context, tx *sql.Tx, taken error, insert string, args ...any) error {
	result, err := tx.ExecContext(ctx, insert, args...)
	if err != nil {
		return err
	}
	switch n, err := result.RowsAffected(); {
	case err != nil:
		return err
	case n == 0:
		return taken
	}
	return nil
}

const userColumns = `id, tenant, idp_entity_id, stable_id, email, given_name, surname,
	display_name, groups, created_at, last_sign_in_at, sign_ins`

func scanUser(row *sql.Row) (User, error) {
	var (
		u                 User
		groups            string
		created, lastSeen int64
	)
	if err := row.Scan(&u.ID, &u.Tenant, &u.IDPEntityID, &u.Profile.StableID, &u.Profile.Email,
		&u.Profile.GivenName, &u.Profile.Surname, &u.Profile.DisplayName, &groups,
		&created, &lastSeen, &u.SignIns); err != nil {
		return User{}, orNotFound(err)
	}
	var err error
	if u.Profile.Groups, err = decodeGroups(groups); err != nil {
		return User{}, err
	}
	u.CreatedAt, u.LastSignInAt = fromMilli(created), fromMilli(lastSeen)
	return u, nil
}

func encodeGroups(groups []string) (string, error) {
	b, err := json.Marshal(append([]string{}, groups...))
	if err != nil {
		return "", fmt.Errorf("encode groups: %w", err)
	}
	return string(b), nil
}

func decodeGroups(text string) ([]string, error) {
	var groups []string
	if err := json.Unmarshal([]byte(text), &groups); err != nil {
		return nil, fmt.Errorf("decode groups: %w", err)
	}
	return groups, nil
}

func orNotFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

func fromMilli(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
