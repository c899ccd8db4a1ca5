-- The order in which sessions were revoked, so that what was read before need
-- not be read again.
ALTER TABLE revoked_sessions ADD COLUMN position INTEGER NOT NULL DEFAULT 1;
CREATE INDEX revoked_sessions_position ON revoked_sessions (position);

CREATE TABLE revocation_order (
    position INTEGER NOT NULL
) STRICT;
INSERT INTO revocation_order (position) VALUES (1);
