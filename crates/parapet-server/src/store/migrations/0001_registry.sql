-- Devices, packages, cameras, instances and what each device shall run.
-- Texts of the API are kept as they came; enumerations are text with a CHECK; *_us are
-- microseconds since the epoch; columns called *_json are opaque to SQL.

CREATE TABLE devices (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    id                TEXT NOT NULL,
    name              TEXT NOT NULL,
    description       TEXT,
    networking_json   TEXT,
    iot_thing         TEXT NOT NULL,
    provisioning      TEXT NOT NULL CHECK (provisioning IN
                        ('AWAITING_PROVISIONING', 'PENDING', 'SUCCEEDED', 'FAILED', 'ERROR', 'DELETING')),
    created_us        INTEGER NOT NULL,
    updated_us        INTEGER NOT NULL,
    -- The device's newest report (without its metrics) and when it came; nothing before the first.
    reported_json     TEXT,
    reported_us       INTEGER,
    PRIMARY KEY (account, region, id),
    UNIQUE (account, region, name)
) STRICT;
CREATE INDEX devices_by_age ON devices (account, region, created_us DESC, id DESC);

-- The newest desired document of each device. A generation is never reused.
CREATE TABLE desired (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    device            TEXT NOT NULL,
    generation        INTEGER NOT NULL CHECK (generation > 0),
    document_json     TEXT NOT NULL,
    updated_us        INTEGER NOT NULL,
    PRIMARY KEY (account, region, device),
    FOREIGN KEY (account, region, device) REFERENCES devices (account, region, id) ON DELETE CASCADE
) STRICT;

CREATE TABLE packages (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    id                TEXT NOT NULL,
    name              TEXT NOT NULL,
    created_us        INTEGER NOT NULL,
    PRIMARY KEY (account, region, id),
    UNIQUE (account, region, name)
) STRICT;
CREATE INDEX packages_by_age ON packages (account, region, created_us DESC, id DESC);

CREATE TABLE package_versions (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    package           TEXT NOT NULL,
    version           TEXT NOT NULL,
    patch             TEXT NOT NULL,
    status            TEXT NOT NULL CHECK (status IN
                        ('REGISTER_PENDING', 'REGISTER_COMPLETED', 'FAILED', 'DELETING')),
    status_description TEXT NOT NULL,
    is_latest         INTEGER NOT NULL CHECK (is_latest IN (0, 1)),
    registered_us     INTEGER NOT NULL,
    -- package.json as it was registered; empty where it could not be read.
    manifest          TEXT NOT NULL,
    PRIMARY KEY (account, region, package, version, patch),
    FOREIGN KEY (account, region, package) REFERENCES packages (account, region, id) ON DELETE CASCADE
) STRICT;
CREATE UNIQUE INDEX package_versions_latest
    ON package_versions (account, region, package, version) WHERE is_latest = 1;

-- What each asset of a registered patch was at registration: the content, not the object's key,
-- is what instances get, so that a later upload under the same key changes nothing.
CREATE TABLE package_assets (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    package           TEXT NOT NULL,
    version           TEXT NOT NULL,
    patch             TEXT NOT NULL,
    asset             TEXT NOT NULL,
    sha256            TEXT NOT NULL CHECK (length(sha256) = 64),
    bytes             INTEGER NOT NULL CHECK (bytes >= 0),
    descriptor        TEXT,
    PRIMARY KEY (account, region, package, version, patch, asset),
    FOREIGN KEY (account, region, package, version, patch)
        REFERENCES package_versions (account, region, package, version, patch) ON DELETE CASCADE
) STRICT;

CREATE TABLE nodes (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    id                TEXT NOT NULL,
    package           TEXT NOT NULL,
    package_name      TEXT NOT NULL,
    version           TEXT NOT NULL,
    patch             TEXT NOT NULL,
    name              TEXT NOT NULL,
    category          TEXT NOT NULL CHECK (category IN
                        ('BUSINESS_LOGIC', 'ML_MODEL', 'MEDIA_SOURCE', 'MEDIA_SINK')),
    description       TEXT NOT NULL,
    asset             TEXT,
    created_us        INTEGER NOT NULL,
    PRIMARY KEY (account, region, package, version, patch, name),
    FOREIGN KEY (account, region, package, version, patch)
        REFERENCES package_versions (account, region, package, version, patch) ON DELETE CASCADE
) STRICT;
CREATE INDEX nodes_by_id ON nodes (account, region, id);
CREATE INDEX nodes_by_age ON nodes (account, region, created_us DESC, id DESC);

-- Where a camera package's stream comes from; changed in place by UpdateCamera.
CREATE TABLE cameras (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    package_name      TEXT NOT NULL,
    version           TEXT NOT NULL,
    url               TEXT NOT NULL,
    -- NULL: the camera asks for no password.
    secret            TEXT,
    secret_version    INTEGER,
    updated_us        INTEGER NOT NULL,
    PRIMARY KEY (account, region, package_name, version),
    CHECK ((secret IS NULL) = (secret_version IS NULL))
) STRICT;

-- Wrapped values only. The master key that opens them is not in this file.
CREATE TABLE secrets (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    id                TEXT NOT NULL,
    version           INTEGER NOT NULL CHECK (version > 0),
    wrapped           BLOB NOT NULL,
    created_us        INTEGER NOT NULL,
    PRIMARY KEY (account, region, id, version)
) STRICT;

CREATE TABLE template_jobs (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    id                TEXT NOT NULL,
    node_name         TEXT NOT NULL,
    node_description  TEXT,
    package_name      TEXT NOT NULL,
    package_version   TEXT NOT NULL,
    template_type     TEXT NOT NULL,
    -- Credentials masked.
    parameters_json   TEXT NOT NULL,
    job_tags_json     TEXT,
    status            TEXT NOT NULL CHECK (status IN ('PENDING', 'SUCCEEDED', 'FAILED')),
    status_message    TEXT NOT NULL,
    -- The camera's credentials, waiting in table secrets; NULL as soon as the job is over.
    secret            TEXT,
    created_us        INTEGER NOT NULL,
    updated_us        INTEGER NOT NULL,
    PRIMARY KEY (account, region, id)
) STRICT;
CREATE INDEX template_jobs_by_age ON template_jobs (account, region, created_us DESC, id DESC);

CREATE TABLE instances (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    id                TEXT NOT NULL,
    name              TEXT,
    description       TEXT,
    device            TEXT NOT NULL,
    device_name       TEXT NOT NULL,
    role_arn          TEXT,
    replaces          TEXT,
    -- Byte for byte as they were sent.
    manifest          TEXT NOT NULL,
    overrides         TEXT,
    -- The effective graph with its pins: what the planner reads.
    deployment_json   TEXT NOT NULL,
    desired_state     TEXT NOT NULL CHECK (desired_state IN ('RUNNING', 'REMOVED')),
    -- Generation of the device's document in which this desired state first stood.
    generation        INTEGER NOT NULL,
    -- Facts seen in reports: first time it ran, and when the device no longer held it.
    deployed_us       INTEGER,
    removed_us        INTEGER,
    created_us        INTEGER NOT NULL,
    updated_us        INTEGER NOT NULL,
    PRIMARY KEY (account, region, id)
) STRICT;
CREATE INDEX instances_by_age ON instances (account, region, created_us DESC, id DESC);
CREATE INDEX instances_by_device ON instances (account, region, device, created_us DESC, id DESC);
CREATE INDEX instances_held ON instances (account, region, device) WHERE removed_us IS NULL;

-- Packaged nodes of the effective graph, in its order.
CREATE TABLE instance_nodes (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    instance          TEXT NOT NULL,
    position          INTEGER NOT NULL,
    node              TEXT NOT NULL,
    node_id           TEXT NOT NULL,
    owner             TEXT NOT NULL,
    package_name      TEXT NOT NULL,
    version           TEXT NOT NULL,
    patch             TEXT NOT NULL,
    interface         TEXT NOT NULL,
    category          TEXT NOT NULL,
    paused            INTEGER NOT NULL CHECK (paused IN (0, 1)),
    PRIMARY KEY (account, region, instance, position),
    UNIQUE (account, region, instance, node),
    FOREIGN KEY (account, region, instance) REFERENCES instances (account, region, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX instance_nodes_by_package ON instance_nodes (account, region, package_name, version);

-- Every package version that the graph or the overrides list, with its pinned patch.
CREATE TABLE instance_packages (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    instance          TEXT NOT NULL,
    position          INTEGER NOT NULL,
    owner             TEXT NOT NULL,
    name              TEXT NOT NULL,
    version           TEXT NOT NULL,
    patch             TEXT NOT NULL,
    PRIMARY KEY (account, region, instance, position),
    FOREIGN KEY (account, region, instance) REFERENCES instances (account, region, id) ON DELETE CASCADE
) STRICT;

-- Resource is the tail of the ARN: type/id.
CREATE TABLE tags (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    resource          TEXT NOT NULL,
    key               TEXT NOT NULL,
    value             TEXT NOT NULL,
    PRIMARY KEY (account, region, resource, key)
) STRICT, WITHOUT ROWID;
