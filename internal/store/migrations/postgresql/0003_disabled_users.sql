-- When an administrator disabled the user; 0 if the user may sign in.
ALTER TABLE users ADD COLUMN disabled_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX users_tenant ON users (tenant, id);
CREATE INDEX sessions_tenant ON sessions (tenant, id);
