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
	nameID, err := encode(in.NameID)
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
		switch ended, err := loggedOut(ctx, tx, in); {
		case err != nil:
			return err
		case ended:
			return ErrLoggedOut
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
			`INSERT INTO sessions (id, tenant, user_id, groups, created_at, expires_at,
				idp_entity_id, assertion_id, name_id, name_id_value, session_index)
			 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			in.SessionID, in.Tenant, user.ID, sessionGroups, now, in.SessionExpires.UnixMilli(),
			in.IDPEntityID, in.AssertionID, nameID, in.NameID.Value, in.SessionIndex); err != nil {
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
		groups, nameID   string
		created, expires int64
	)
	err := s.db.QueryRowContext(ctx,
		`SELECT id, tenant, user_id, groups, name_id, session_index, created_at, expires_at FROM sessions
		 WHERE tenant = ? AND id = ? AND expires_at > ?`, tenant, id, s.now().UnixMilli()).
		Scan(&session.ID, &session.Tenant, &session.UserID, &groups, &nameID, &session.SessionIndex, &created, &expires)
	if err == nil {
		session.Groups, err = decodeGroups(groups)
	}
	if err == nil {
		err = decode(nameID, &session.NameID)
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
		return revoke(ctx, tx, id, until.UnixMilli())
	})
}

func revoke(ctx context.Context, tx *sql.Tx, id string, until int64) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO revoked_sessions (id, expires_at) VALUES (?, ?)
		 ON CONFLICT (id) DO UPDATE SET expires_at = MAX(expires_at, excluded.expires_at)`, id, until)
	return err
}

// RecordLogout implements Store.
func (s *SQLite) RecordLogout(ctx context.Context, l Logout) (map[string]time.Time, error) {
	nameID, err := encode(l.NameID)
	if err != nil {
		return nil, err
	}
	indexes, err := encode(l.SessionIndexes)
	if err != nil {
		return nil, err
	}
	var ended map[string]time.Time
	err = s.write(ctx, "record logout", func(tx *sql.Tx, now int64) error {
		if l.RequestExpires.UnixMilli() <= now {
			// The next purge would forget its use.
			return ErrReplayed
		}
		if err := purge(ctx, tx, now); err != nil {
			return err
		}
		if err := insertOnce(ctx, tx, ErrReplayed,
			`INSERT INTO logouts (tenant, idp_entity_id, request_id, issued_at, expires_at, name_id, session_indexes)
			 VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			l.Tenant, l.IDPEntityID, l.RequestID, l.RequestIssued.UnixMilli(), l.RequestExpires.UnixMilli(), nameID, indexes); err != nil {
			return err
		}
		if ended, err = sessionsOf(ctx, tx, l, indexes); err != nil {
			return err
		}
		for id, until := range ended {
			if err := revoke(ctx, tx, id, until.UnixMilli()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ended, nil
}

// sessionsOf returns the sessions that l means. The indexes are those of l, as
// JSON.
func sessionsOf(ctx context.Context, tx *sql.Tx, l Logout, indexes string) (_ map[string]time.Time, err error) {
	rows, err := tx.QueryContext(ctx,
		`SELECT id, assertion_id, name_id, session_index, expires_at FROM sessions
		 WHERE tenant = ?1 AND idp_entity_id = ?2 AND name_id_value = ?3
		 UNION
		 SELECT id, assertion_id, name_id, session_index, expires_at FROM sessions
		 WHERE tenant = ?1 AND idp_entity_id = ?2 AND session_index IN (SELECT value FROM json_each(?4))`,
		l.Tenant, l.IDPEntityID, l.NameID.Value, indexes)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	ended := map[string]time.Time{}
	for rows.Next() {
		var (
			id, nameID string
			expires    int64
		)
		s := SignIn{Tenant: l.Tenant, IDPEntityID: l.IDPEntityID}
		if err := rows.Scan(&id, &s.AssertionID, &nameID, &s.SessionIndex, &expires); err != nil {
			return nil, err
		}
		if err := decode(nameID, &s.NameID); err != nil {
			return nil, err
		}
		if l.Means(s) {
			ended[id] = fromMilli(expires)
		}
	}
	return ended, rows.Err()
}

// loggedOut says whether the IdP has ended the session that is about to begin:
// a request for logout may be faster than the assertion [SAMLCore 3.7.3.1].
func loggedOut(ctx context.Context, tx *sql.Tx, in SignIn) (_ bool, err error) {
	rows, err := tx.QueryContext(ctx,
		`SELECT name_id, session_indexes FROM logouts WHERE tenant = ? AND idp_entity_id = ? AND issued_at >= ?`,
		in.Tenant, in.IDPEntityID, in.AssertionIssued.UnixMilli())
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var nameID, indexes string
		l := Logout{Tenant: in.Tenant, IDPEntityID: in.IDPEntityID}
		if err := rows.Scan(&nameID, &indexes); err != nil {
			return false, err
		}
		if err := errors.Join(decode(nameID, &l.NameID), decode(indexes, &l.SessionIndexes)); err != nil {
			return false, err
		}
		if l.Means(in) {
			return true, nil
		}
	}
	return false, rows.Err()
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
		`DELETE FROM logouts WHERE expires_at <= ?`,
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

func encodeGroups(groups []string) (string, error) { return encode(append([]string{}, groups...)) }

func decodeGroups(text string) (groups []string, err error) {
	err = decode(text, &groups)
	return groups, err
}

func encode(value any) (string, error) {
	b, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("encode %T: %w", value, err)
	}
	return string(b), nil
}

func decode(text string, value any) error {
	if err := json.Unmarshal([]byte(text), value); err != nil {
		return fmt.Errorf("decode %T: %w", value, err)
	}
	return nil
}

func orNotFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

func fromMilli(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
