-- Lines of the audit log, by IDs that are in the order of time.
CREATE TABLE audit (
    id         TEXT PRIMARY KEY,
    tenant     TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    event      TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    entry      TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_tenant ON audit (tenant, id);
CREATE INDEX audit_user ON audit (tenant, user_id, id);
CREATE INDEX audit_expiry ON audit (expires_at);
