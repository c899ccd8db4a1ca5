package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// MaxPage is how many rows one call lists at most.
const MaxPage = 500

// UserQuery selects users of a tenant.
type UserQuery struct {
	Tenant string
	// Email and StableID, unless empty, are those of the users, byte for byte.
	Email, StableID string
	// After is the ID of the last user of the page before.
	After string
	// Limit is MaxPage if it is less than one, or more.
	Limit int
}

// SessionQuery selects sessions of a tenant that have not ended.
type SessionQuery struct {
	Tenant string
	// UserID and SessionID, unless empty, are those of the sessions.
	UserID, SessionID string
	// After and Limit are as in UserQuery; EndSessions takes no notice of them.
	After string
	Limit int
}

// ListUsers implements Store.
func (d *database) ListUsers(ctx context.Context, q UserQuery) ([]User, error) {
	return list(ctx, d, "list users", scanUser,
		`SELECT `+userColumns+` FROM users
		 WHERE tenant = $1 AND id > $2 AND ($3 = '' OR email = $3)
			AND ($4 = '' OR stable_id = $4 OR substr(stable_id, 1, length($4) + 1) = $4 || $5)
		 ORDER BY id LIMIT $6`, q.Tenant, q.After, q.Email, q.StableID, userKeySeparator, page(q.Limit))
}

// GetUser implements Store.
func (d *database) GetUser(ctx context.Context, tenant, id string) (User, error) {
	users, err := list(ctx, d, "get user", scanUser, `SELECT `+userColumns+` FROM users WHERE tenant = $1 AND id = $2`, tenant, id)
	if err == nil && len(users) == 0 {
		err = fmt.Errorf("get user: %w", ErrNotFound)
	}
	if err != nil {
		return User{}, err
	}
	return users[0], nil
}

// SetUserDisabled implements Store.
func (d *database) SetUserDisabled(ctx context.Context, tenant, id string, disabled bool) (user User, ended map[string]time.Time, err error) {
	err = d.write(ctx, "disable user", func(tx *transaction, now int64) error {
		since := int64(0)
		if disabled {
			since = now
		}
		// A sign-in holds the user's row until its session is there, or comes
		// after and finds that the user is disabled.
		user, err = scanUser(tx.QueryRowContext(ctx,
			`UPDATE users SET disabled_at = CASE WHEN CAST($1 AS BIGINT) > 0 AND disabled_at > 0 THEN disabled_at ELSE CAST($1 AS BIGINT) END,
				inactive_at = CASE WHEN CAST($1 AS BIGINT) > 0 THEN inactive_at ELSE 0 END
			 WHERE tenant = $2 AND id = $3 RETURNING `+userColumns, since, tenant, id))
		if err != nil || !disabled {
			return err
		}
		ended, err = endSessions(ctx, tx, SessionQuery{Tenant: tenant, UserID: id}, now)
		return err
	})
	if err != nil {
		return User{}, nil, err
	}
	return user, ended, nil
}

// notEnded leaves out sessions that are over, at the time $1.
const notEnded = ` expires_at > $1 AND NOT EXISTS (SELECT 1 FROM revoked_sessions WHERE revoked_sessions.id = sessions.id)
	AND tenant = $2 AND ($3 = '' OR user_id = $3) AND ($4 = '' OR id = $4)`

// ListSessions implements Store.
func (d *database) ListSessions(ctx context.Context, q SessionQuery) ([]Session, error) {
	return list(ctx, d, "list sessions", scanSession,
		`SELECT `+sessionColumns+` FROM sessions WHERE`+notEnded+` AND id > $5 ORDER BY id LIMIT $6`,
		d.now().UnixMilli(), q.Tenant, q.UserID, q.SessionID, q.After, page(q.Limit))
}

// EndSessions implements Store.
func (d *database) EndSessions(ctx context.Context, q SessionQuery) (ended map[string]time.Time, err error) {
	err = d.write(ctx, "end sessions", func(tx *transaction, now int64) error {
		ended, err = endSessions(ctx, tx, q, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ended, nil
}

// endSessions revokes all sessions that q selects, however many they are, at
// one position of the order of revocations. What holds for revoke does here.
func endSessions(ctx context.Context, tx *transaction, q SessionQuery, now int64) (_ map[string]time.Time, err error) {
	position, err := nextRevocation(ctx, tx)
	if err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx,
		`INSERT INTO revoked_sessions (id, expires_at, position)
		 SELECT id, expires_at, CAST($5 AS BIGINT) FROM sessions WHERE`+notEnded+`
		 ON CONFLICT (id) DO NOTHING RETURNING id, expires_at`, now, q.Tenant, q.UserID, q.SessionID, position)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	ended := map[string]time.Time{}
	for rows.Next() {
		var (
			id      string
			expires int64
		)
		if err := rows.Scan(&id, &expires); err != nil {
			return nil, err
		}
		ended[id] = fromMilli(expires)
	}
	return ended, rows.Err()
}

func page(limit int) int {
	if limit < 1 || limit > MaxPage {
		return MaxPage
	}
	return limit
}

// scanner is a row of a result.
type scanner interface{ Scan(into ...any) error }

// list returns the rows of a query.
func list[T any](ctx context.Context, d *database, what string, scan func(scanner) (T, error), query string, args ...any) (_ []T, err error) {
	fail := func(err error) ([]T, error) { return nil, fmt.Errorf("%s: %w", what, err) }
	if err := d.prepare(ctx); err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	rows, err := d.db.QueryContext(ctx, query, args...)
	if err != nil {
		return fail(err)
	}
	defer func(rows *sql.Rows) { err = errors.Join(err, rows.Close()) }(rows)
	all := []T{}
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return fail(err)
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	return all, nil
}
