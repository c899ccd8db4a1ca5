-- Lines of the audit log, by IDs that are in the order of time.
CREATE TABLE audit (
    id         TEXT COLLATE "C" PRIMARY KEY,
    tenant     TEXT COLLATE "C" NOT NULL,
    user_id    TEXT COLLATE "C" NOT NULL,
    event      TEXT COLLATE "C" NOT NULL,
    outcome    TEXT COLLATE "C" NOT NULL,
    entry      TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX audit_tenant ON audit (tenant, id);
CREATE INDEX audit_user ON audit (tenant, user_id, id);
CREATE INDEX audit_expiry ON audit (expires_at);
