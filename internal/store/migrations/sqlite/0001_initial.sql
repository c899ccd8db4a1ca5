CREATE TABLE users (
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
CREATE INDEX revoked_sessions_expiry ON revoked_sessions (expires_at);
