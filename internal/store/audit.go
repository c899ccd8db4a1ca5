package store

import (
	"context"
	"time"
)

// AuditEntry is a line of the audit log, and what it is found by.
type AuditEntry struct {
	// ID orders entries by time.
	ID, Tenant, User, Event, Outcome string
	// Text is the whole line.
	Text      string
	ExpiresAt time.Time
}

// AuditQuery selects entries of a tenant; what is empty does not count.
type AuditQuery struct {
	Tenant, User, Event, Outcome string
	// Before is the ID of the last entry of the page before.
	Before string
	// Limit is as in UserQuery.
	Limit int
}

// AppendAudit implements Store.
func (d *database) AppendAudit(ctx context.Context, entries []AuditEntry) error {
	return d.write(ctx, "append to the audit log", func(tx *transaction, _ int64) error {
		for _, e := range entries {
			if _, err := tx.ExecContext(ctx,
				`INSERT INTO audit (id, tenant, user_id, event, outcome, entry, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
				 ON CONFLICT (id) DO NOTHING`, e.ID, e.Tenant, e.User, e.Event, e.Outcome, e.Text, e.ExpiresAt.UnixMilli()); err != nil {
				return err
			}
		}
		return nil
	})
}

// ListAudit implements Store.
func (d *database) ListAudit(ctx context.Context, q AuditQuery) ([]AuditEntry, error) {
	return list(ctx, d, "list the audit log", func(row scanner) (AuditEntry, error) {
		var (
			e       AuditEntry
			expires int64
		)
		err := row.Scan(&e.ID, &e.Tenant, &e.User, &e.Event, &e.Outcome, &e.Text, &expires)
		e.ExpiresAt = fromMilli(expires)
		return e, err
	}, `SELECT id, tenant, user_id, event, outcome, entry, expires_at FROM audit
		WHERE tenant = $1 AND expires_at > $2 AND ($3 = '' OR user_id = $3) AND ($4 = '' OR event = $4)
			AND ($5 = '' OR outcome = $5) AND ($6 = '' OR id < $6)
		ORDER BY id DESC LIMIT $7`, q.Tenant, d.now().UnixMilli(), q.User, q.Event, q.Outcome, q.Before, page(q.Limit))
}
