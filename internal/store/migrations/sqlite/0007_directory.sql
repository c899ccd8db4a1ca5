-- When the customer's directory said that the user is not active; 0 if it did
-- not.
ALTER TABLE users ADD COLUMN inactive_at INTEGER NOT NULL DEFAULT 0;

-- What the directory has said of users and groups, by SCIM.
CREATE TABLE directory_users (
    user_id     TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    tenant      TEXT NOT NULL,
    user_name   TEXT NOT NULL,
    external_id TEXT NOT NULL,
    resource    TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    modified_at INTEGER NOT NULL,
    UNIQUE (tenant, user_name)
) STRICT;
CREATE INDEX directory_users_external ON directory_users (tenant, external_id);
CREATE INDEX directory_users_tenant ON directory_users (tenant, user_id);

CREATE TABLE directory_groups (
    id           TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL,
    display_name TEXT NOT NULL,
    external_id  TEXT NOT NULL,
    resource     TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    modified_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX directory_groups_tenant ON directory_groups (tenant, id);
CREATE INDEX directory_groups_name ON directory_groups (tenant, display_name);
CREATE INDEX directory_groups_external ON directory_groups (tenant, external_id);

CREATE TABLE directory_members (
    group_id TEXT NOT NULL REFERENCES directory_groups (id) ON DELETE CASCADE,
    user_id  TEXT NOT NULL REFERENCES directory_users (user_id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
) STRICT;
CREATE INDEX directory_members_user ON directory_members (user_id);
