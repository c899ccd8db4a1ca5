package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"
)

// The n-th file of an engine brings a database from version n-1 to n. A released
// one is never edited: a change is a new file. It only adds, since replicas of
// the release before go on working while a rollout replaces them.
//
//go:embed migrations
var migrationFiles embed.FS

// ErrLaterSchema says that the database was written by a later release.
var ErrLaterSchema = errors.New("the database was written by a later release: run that release or a later one, or restore a backup from before the upgrade")

// migrations returns the statements of an engine's files, in order.
func migrations(engine string) ([]string, error) {
	files, err := fs.Glob(migrationFiles, path.Join("migrations", engine, "*.sql"))
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	slices.Sort(files)
	var all []string
	for _, file := range files {
		text, err := migrationFiles.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		all = append(all, string(text))
	}
	return all, nil
}

// migrate applies the migrations that db lacks, all of them or none, while no
// other process does. A database of a later release is refused: this code would
// misread it.
func migrate(ctx context.Context, db *sql.DB, e engine, now time.Time) error {
	all, err := migrations(e.name)
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin migration: %w", err)
	}
	defer func() { _ = tx.Rollback() }()

	for _, statement := range append(slices.Clone(e.beforeMigration), `CREATE TABLE IF NOT EXISTS schema_migrations (
		version INTEGER PRIMARY KEY, applied_at BIGINT NOT NULL)`) {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("prepare migration: %w", err)
		}
	}
	var version int
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM schema_migrations`).Scan(&version); err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if version > len(all) {
		return fmt.Errorf("schema version %d, this release knows %d: %w", version, len(all), ErrLaterSchema)
	}
	for i := version; i < len(all); i++ {
		if _, err := tx.ExecContext(ctx, all[i]); err != nil {
			return fmt.Errorf("migrate to schema version %d: %w", i+1, err)
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO schema_migrations (version, applied_at) VALUES ($1, $2)`, i+1, now.UnixMilli()); err != nil {
			return fmt.Errorf("record schema version %d: %w", i+1, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit migration: %w", err)
	}
	return nil
}
