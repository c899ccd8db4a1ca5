-- The name of a session that began before is not known, so that none of the
-- IdP's requests can mean it. Its end comes within the tenant's longest
-- duration.
ALTER TABLE sessions ADD COLUMN idp_entity_id TEXT NOT NULL DEFAULT '';
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
CREATE INDEX logouts_issue ON logouts (tenant, idp_entity_id, issued_at);
