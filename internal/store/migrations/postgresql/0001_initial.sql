-- Keys compare byte by byte, whatever the locale of the database: an index
-- must not depend on rules that a new version of the C library may change.
CREATE TABLE users (
    id              TEXT COLLATE "C" PRIMARY KEY,
    tenant          TEXT COLLATE "C" NOT NULL,
    idp_entity_id   TEXT COLLATE "C" NOT NULL,
    stable_id       TEXT COLLATE "C" NOT NULL,
    email           TEXT NOT NULL,
    given_name      TEXT NOT NULL,
    surname         TEXT NOT NULL,
    display_name    TEXT NOT NULL,
    groups          TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    last_sign_in_at BIGINT NOT NULL,
    sign_ins        BIGINT NOT NULL,
    UNIQUE (tenant, idp_entity_id, stable_id)
);

CREATE TABLE used_assertions (
    tenant        TEXT COLLATE "C" NOT NULL,
    idp_entity_id TEXT COLLATE "C" NOT NULL,
    assertion_id  TEXT COLLATE "C" NOT NULL,
    expires_at    BIGINT NOT NULL,
    PRIMARY KEY (tenant, idp_entity_id, assertion_id)
);
CREATE INDEX used_assertions_expiry ON used_assertions (expires_at);

CREATE TABLE answered_requests (
    tenant     TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, request_id)
);
CREATE INDEX answered_requests_expiry ON answered_requests (expires_at);

CREATE TABLE sessions (
    id         TEXT COLLATE "C" PRIMARY KEY,
    tenant     TEXT COLLATE "C" NOT NULL,
    user_id    TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    groups     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,

    idp_entity_id TEXT COLLATE "C" NOT NULL,
    assertion_id  TEXT COLLATE "C" NOT NULL,
    name_id       TEXT NOT NULL,
    name_id_value TEXT COLLATE "C" NOT NULL,
    session_index TEXT COLLATE "C" NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_name ON sessions (tenant, idp_entity_id, name_id_value);
CREATE INDEX sessions_index ON sessions (tenant, idp_entity_id, session_index);
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- The order in which sessions were revoked, so that what was read before need
-- not be read again.
CREATE TABLE revoked_sessions (
    id         TEXT COLLATE "C" PRIMARY KEY,
    expires_at BIGINT NOT NULL,
    position   BIGINT NOT NULL
);
CREATE INDEX revoked_sessions_expiry ON revoked_sessions (expires_at);
CREATE INDEX revoked_sessions_position ON revoked_sessions (position);

CREATE TABLE revocation_order (
    position BIGINT NOT NULL
);
INSERT INTO revocation_order (position) VALUES (1);

CREATE TABLE logouts (
    tenant          TEXT COLLATE "C" NOT NULL,
    idp_entity_id   TEXT COLLATE "C" NOT NULL,
    request_id      TEXT COLLATE "C" NOT NULL,
    issued_at       BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    name_id         TEXT NOT NULL,
    session_indexes TEXT NOT NULL,
    PRIMARY KEY (tenant, idp_entity_id, request_id)
);
CREATE INDEX logouts_expiry ON logouts (expires_at);
CREATE INDEX logouts_issue ON logouts (tenant, idp_entity_id, issued_at);
