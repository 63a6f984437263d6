-- Users, groups, roles, managed and inline policies, their tags, second factors and identity
-- providers. Global to the account: IAM has no regions. Documents are kept byte for byte.

-- Counts the changes of everything that a decision depends on, so that what is held in memory
-- (directory/) knows when it is out of date, whichever process wrote.
CREATE TABLE principals_generation (
    one               INTEGER PRIMARY KEY CHECK (one = 1),
    generation        INTEGER NOT NULL
) STRICT;
INSERT INTO principals_generation (one, generation) VALUES (1, 1);

CREATE TABLE inline_policies (
    account           TEXT NOT NULL,
    holder_kind       TEXT NOT NULL CHECK (holder_kind IN ('user', 'group', 'role')),
    holder            TEXT NOT NULL,
    name              TEXT NOT NULL,
    document          TEXT NOT NULL,
    PRIMARY KEY (account, holder_kind, holder, name)
) STRICT, WITHOUT ROWID;

-- What a user was allowed before there were managed policies stays allowed.
INSERT INTO inline_policies (account, holder_kind, holder, name, document)
    SELECT account, 'user', id, 'InitialPolicy', policy_json FROM users;
ALTER TABLE users DROP COLUMN policy_json;
ALTER TABLE users ADD COLUMN path TEXT NOT NULL DEFAULT '/';
-- ARN of the policy that bounds what its own policies can allow.
ALTER TABLE users ADD COLUMN boundary TEXT;
-- Sessions issued before this instant are void.
ALTER TABLE users ADD COLUMN not_before_us INTEGER;
-- Names differ by more than the case of their letters.
CREATE UNIQUE INDEX users_by_name ON users (account, name COLLATE NOCASE);
CREATE INDEX users_by_boundary ON users (account, boundary) WHERE boundary IS NOT NULL;

ALTER TABLE access_keys ADD COLUMN status TEXT NOT NULL DEFAULT 'Active'
    CHECK (status IN ('Active', 'Inactive'));
-- Recorded now and then, not at each request.
ALTER TABLE access_keys ADD COLUMN last_used_us INTEGER;
ALTER TABLE access_keys ADD COLUMN last_used_service TEXT;
ALTER TABLE access_keys ADD COLUMN last_used_region TEXT;
CREATE INDEX access_keys_by_user ON access_keys (account, user);

CREATE TABLE groups (
    account           TEXT NOT NULL,
    id                TEXT NOT NULL,
    name              TEXT NOT NULL,
    path              TEXT NOT NULL,
    created_us        INTEGER NOT NULL,
    PRIMARY KEY (account, id)
) STRICT;
CREATE UNIQUE INDEX groups_by_name ON groups (account, name COLLATE NOCASE);

CREATE TABLE group_members (
    account           TEXT NOT NULL,
    group_id          TEXT NOT NULL,
    user_id           TEXT NOT NULL,
    PRIMARY KEY (account, group_id, user_id),
    FOREIGN KEY (account, group_id) REFERENCES groups (account, id),
    FOREIGN KEY (account, user_id) REFERENCES users (account, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX group_members_by_user ON group_members (account, user_id);

CREATE TABLE roles (
    account           TEXT NOT NULL,
    id                TEXT NOT NULL,
    name              TEXT NOT NULL,
    path              TEXT NOT NULL,
    description       TEXT,
    trust_json        TEXT NOT NULL,
    max_session_s     INTEGER NOT NULL CHECK (max_session_s BETWEEN 3600 AND 43200),
    boundary          TEXT,
    not_before_us     INTEGER,
    -- The service that a service-linked role belongs to; nobody edits such a role.
    linked_service    TEXT,
    created_us        INTEGER NOT NULL,
    PRIMARY KEY (account, id)
) STRICT;
CREATE UNIQUE INDEX roles_by_name ON roles (account, name COLLATE NOCASE);
CREATE INDEX roles_by_boundary ON roles (account, boundary) WHERE boundary IS NOT NULL;

-- Managed policies of the account; those that AWS owns are part of the program.
CREATE TABLE policies (
    account           TEXT NOT NULL,
    id                TEXT NOT NULL,
    arn               TEXT NOT NULL,
    name              TEXT NOT NULL,
    path              TEXT NOT NULL,
    description       TEXT,
    default_version   INTEGER NOT NULL,
    -- Version numbers are never used again.
    last_version      INTEGER NOT NULL,
    created_us        INTEGER NOT NULL,
    updated_us        INTEGER NOT NULL,
    PRIMARY KEY (account, id),
    UNIQUE (account, arn)
) STRICT;
CREATE UNIQUE INDEX policies_by_name ON policies (account, name COLLATE NOCASE);

CREATE TABLE policy_versions (
    account           TEXT NOT NULL,
    policy            TEXT NOT NULL,
    version           INTEGER NOT NULL CHECK (version > 0),
    document          TEXT NOT NULL,
    created_us        INTEGER NOT NULL,
    PRIMARY KEY (account, policy, version),
    FOREIGN KEY (account, policy) REFERENCES policies (account, id) ON DELETE CASCADE
) STRICT;

-- Which managed policy speaks for whom; the ARN may be one of AWS's.
CREATE TABLE policy_attachments (
    account           TEXT NOT NULL,
    holder_kind       TEXT NOT NULL CHECK (holder_kind IN ('user', 'group', 'role')),
    holder            TEXT NOT NULL,
    arn               TEXT NOT NULL,
    PRIMARY KEY (account, holder_kind, holder, arn)
) STRICT, WITHOUT ROWID;
CREATE INDEX policy_attachments_by_arn ON policy_attachments (account, arn);

-- Tags of users, roles and policies, by their IDs, and of identity providers and second factors,
-- by their ARNs.
CREATE TABLE principal_tags (
    account           TEXT NOT NULL,
    kind              TEXT NOT NULL CHECK (kind IN ('user', 'role', 'policy', 'oidc-provider', 'mfa')),
    holder            TEXT NOT NULL,
    key               TEXT NOT NULL,
    value             TEXT NOT NULL,
    PRIMARY KEY (account, kind, holder, key)
) STRICT, WITHOUT ROWID;

-- Seeds are wrapped. A code is accepted once: last_step is the newest time step that was.
CREATE TABLE mfa_devices (
    account           TEXT NOT NULL,
    serial            TEXT NOT NULL,
    wrapped           BLOB NOT NULL,
    user_id           TEXT,
    enabled_us        INTEGER,
    last_step         INTEGER,
    created_us        INTEGER NOT NULL,
    PRIMARY KEY (account, serial),
    FOREIGN KEY (account, user_id) REFERENCES users (account, id),
    CHECK ((user_id IS NULL) = (enabled_us IS NULL))
) STRICT;
CREATE INDEX mfa_devices_by_user ON mfa_devices (account, user_id);

CREATE TABLE oidc_providers (
    account           TEXT NOT NULL,
    arn               TEXT NOT NULL,
    -- Without the scheme, as ARNs and condition keys carry it.
    url               TEXT NOT NULL,
    client_ids_json   TEXT NOT NULL,
    thumbprints_json  TEXT NOT NULL,
    -- The issuer's public keys, as the operator gave them; NULL: none yet.
    keys_json         TEXT,
    created_us        INTEGER NOT NULL,
    PRIMARY KEY (account, arn),
    UNIQUE (account, url)
) STRICT;

CREATE TABLE account_aliases (
    account           TEXT PRIMARY KEY,
    alias             TEXT NOT NULL UNIQUE
) STRICT;

CREATE TRIGGER users_insert_counts AFTER INSERT ON users
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER users_update_counts AFTER UPDATE ON users
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER users_delete_counts AFTER DELETE ON users
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER groups_insert_counts AFTER INSERT ON groups
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER groups_update_counts AFTER UPDATE ON groups
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER groups_delete_counts AFTER DELETE ON groups
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER group_members_insert_counts AFTER INSERT ON group_members
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER group_members_update_counts AFTER UPDATE ON group_members
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER group_members_delete_counts AFTER DELETE ON group_members
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER roles_insert_counts AFTER INSERT ON roles
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER roles_update_counts AFTER UPDATE ON roles
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER roles_delete_counts AFTER DELETE ON roles
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER policies_insert_counts AFTER INSERT ON policies
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER policies_update_counts AFTER UPDATE ON policies
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER policies_delete_counts AFTER DELETE ON policies
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER policy_versions_insert_counts AFTER INSERT ON policy_versions
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER policy_versions_update_counts AFTER UPDATE ON policy_versions
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER policy_versions_delete_counts AFTER DELETE ON policy_versions
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER policy_attachments_insert_counts AFTER INSERT ON policy_attachments
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER policy_attachments_update_counts AFTER UPDATE ON policy_attachments
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER policy_attachments_delete_counts AFTER DELETE ON policy_attachments
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER inline_policies_insert_counts AFTER INSERT ON inline_policies
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER inline_policies_update_counts AFTER UPDATE ON inline_policies
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER inline_policies_delete_counts AFTER DELETE ON inline_policies
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER principal_tags_insert_counts AFTER INSERT ON principal_tags
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER principal_tags_update_counts AFTER UPDATE ON principal_tags
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER principal_tags_delete_counts AFTER DELETE ON principal_tags
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER oidc_providers_insert_counts AFTER INSERT ON oidc_providers
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER oidc_providers_update_counts AFTER UPDATE ON oidc_providers
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER oidc_providers_delete_counts AFTER DELETE ON oidc_providers
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
-- Not when a use is recorded.
CREATE TRIGGER access_keys_insert_counts AFTER INSERT ON access_keys
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER access_keys_update_counts AFTER UPDATE OF status, wrapped, user ON access_keys
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
CREATE TRIGGER access_keys_delete_counts AFTER DELETE ON access_keys
    BEGIN UPDATE principals_generation SET generation = generation + 1; END;
