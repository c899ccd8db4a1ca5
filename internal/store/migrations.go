package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// sqliteMigrations bring a database from version i to i+1. A released one is
// never edited: a change is a new entry.
var sqliteMigrations = []string{
	`CREATE TABLE users (
		id              TEXT PRIMARY KEY,
		tenant          TEXT NOT NULL,
		idp_entity_id   TEXT NOT NULL,
		stable_id       TEXT NOT NULL,
		email           TEXT NOT NULL,
		given_name      TEXT NOT NULL,
		surname         TEXT NOT NULL,
		display_name    TEXT NOT NULL,
		groups          TEXT NOT NULL,
		created_at      INTEGER NOT NULL,
		last_sign_in_at INTEGER NOT NULL,
		sign_ins        INTEGER NOT NULL,
		UNIQUE (tenant, idp_entity_id, stable_id)
	) STRICT;

	CREATE TABLE used_assertions (
		tenant        TEXT NOT NULL,
		idp_entity_id TEXT NOT NULL,
		assertion_id  TEXT NOT NULL,
		expires_at    INTEGER NOT NULL,
		PRIMARY KEY (tenant, idp_entity_id, assertion_id)
	) STRICT, WITHOUT ROWID;
	CREATE INDEX used_assertions_expiry ON used_assertions (expires_at);

	CREATE TABLE answered_requests (
		tenant     TEXT NOT NULL,
		request_id TEXT NOT NULL,
		expires_at INTEGER NOT NULL,
		PRIMARY KEY (tenant, request_id)
	) STRICT, WITHOUT ROWID;
	CREATE INDEX answered_requests_expiry ON answered_requests (expires_at);

	CREATE TABLE sessions (
		id         TEXT PRIMARY KEY,
		tenant     TEXT NOT NULL,
		user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
		groups     TEXT NOT NULL,
		created_at INTEGER NOT NULL,
		expires_at INTEGER NOT NULL
	) STRICT, WITHOUT ROWID;
	CREATE INDEX sessions_user ON sessions (user_id);
	CREATE INDEX sessions_expiry ON sessions (expires_at);

	CREATE TABLE revoked_sessions (
		id         TEXT PRIMARY KEY,
		expires_at INTEGER NOT NULL
	) STRICT, WITHOUT ROWID;
	CREATE INDEX revoked_sessions_expiry ON revoked_sessions (expires_at);`,

	// The name of a session that began before is not known, so that none of
	// the IdP's requests can mean it. Its end comes within the tenant's longest
	// duration.
	`ALTER TABLE sessions ADD COLUMN idp_entity_id TEXT NOT NULL DEFAULT '';
	ALTER TABLE sessions ADD COLUMN assertion_id  TEXT NOT NULL DEFAULT '';
	ALTER TABLE sessions ADD COLUMN name_id       TEXT NOT NULL DEFAULT '{}';
	ALTER TABLE sessions ADD COLUMN name_id_value TEXT NOT NULL DEFAULT '';
	ALTER TABLE sessions ADD COLUMN session_index TEXT NOT NULL DEFAULT '';
	CREATE INDEX sessions_name ON sessions (tenant, idp_entity_id, name_id_value);
	CREATE INDEX sessions_index ON sessions (tenant, idp_entity_id, session_index);

	CREATE TABLE logouts (
		tenant          TEXT NOT NULL,
		idp_entity_id   TEXT NOT NULL,
		request_id      TEXT NOT NULL,
		issued_at       INTEGER NOT NULL,
		expires_at      INTEGER NOT NULL,
		name_id         TEXT NOT NULL,
		session_indexes TEXT NOT NULL,
		PRIMARY KEY (tenant, idp_entity_id, request_id)
	) STRICT, WITHOUT ROWID;
	CREATE INDEX logouts_expiry ON logouts (expires_at);
	CREATE INDEX logouts_issue ON logouts (tenant, idp_entity_id, issued_at);`,
}

// migrate applies the migrations that db lacks, all of them or none. A
// database of a later release is refused: this code would misread it.
func migrate(ctx context.Context, db *sql.DB, migrations []string, now time.Time) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin migration: %w", err)
	}
	defer func() { _ = tx.Rollback() }()

	if _, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_migrations (
		version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT`); err != nil {
		return fmt.Errorf("create table of migrations: %w", err)
	}
	var version int
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM schema_migrations`).Scan(&version); err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if version > len(migrations) {
		return fmt.Errorf("database has schema version %d, this release knows %d: it was written by a later release", version, len(migrations))
	}
	for i := version; i < len(migrations); i++ {
		if _, err := tx.ExecContext(ctx, migrations[i]); err != nil {
			return fmt.Errorf("migrate to schema version %d: %w", i+1, err)
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO schema_migrations (version, applied_at) VALUES (?, ?)`, i+1, now.UnixMilli()); err != nil {
			return fmt.Errorf("record schema version %d: %w", i+1, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit migration: %w", err)
	}
	return nil
}
