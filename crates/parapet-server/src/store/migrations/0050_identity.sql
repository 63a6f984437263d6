-- Users and keys, certificate authorities, device certificates, and the objects of the S3 front.

CREATE TABLE users (
    account           TEXT NOT NULL,
    id                TEXT NOT NULL,
    name              TEXT NOT NULL,
    policy_json       TEXT NOT NULL,
    created_us        INTEGER NOT NULL,
    PRIMARY KEY (account, id),
    UNIQUE (account, name)
) STRICT;

-- The secret is wrapped; the master key that opens it is not in this file.
CREATE TABLE access_keys (
    account           TEXT NOT NULL,
    id                TEXT NOT NULL,
    user              TEXT NOT NULL,
    wrapped           BLOB NOT NULL,
    created_us        INTEGER NOT NULL,
    PRIMARY KEY (account, id),
    UNIQUE (id),
    FOREIGN KEY (account, user) REFERENCES users (account, id) ON DELETE CASCADE
) STRICT;

CREATE TABLE authorities (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    kind              TEXT NOT NULL CHECK (kind IN ('server', 'claim', 'device')),
    certificate_pem   TEXT NOT NULL,
    wrapped           BLOB NOT NULL,
    created_us        INTEGER NOT NULL,
    PRIMARY KEY (account, region, kind)
) STRICT;

-- Claim certificates: one use each.
CREATE TABLE claims (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    serial            TEXT NOT NULL,
    device            TEXT NOT NULL,
    expires_us        INTEGER NOT NULL,
    used_us           INTEGER,
    PRIMARY KEY (account, region, serial),
    FOREIGN KEY (account, region, device) REFERENCES devices (account, region, id) ON DELETE CASCADE
) STRICT;

-- Certificates of devices. Number counts those of one device; the newest two are valid, so that a
-- renewal whose answer was lost does not lock the device out.
CREATE TABLE device_certificates (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    device            TEXT NOT NULL,
    number            INTEGER NOT NULL CHECK (number > 0),
    serial            TEXT NOT NULL,
    key_sha256        TEXT NOT NULL,
    expires_us        INTEGER NOT NULL,
    created_us        INTEGER NOT NULL,
    PRIMARY KEY (account, region, device, number),
    UNIQUE (account, region, serial),
    UNIQUE (account, region, key_sha256),
    FOREIGN KEY (account, region, device) REFERENCES devices (account, region, id) ON DELETE CASCADE
) STRICT;

CREATE TABLE objects (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    bucket            TEXT NOT NULL,
    key               TEXT NOT NULL,
    sha256            TEXT NOT NULL CHECK (length(sha256) = 64),
    bytes             INTEGER NOT NULL CHECK (bytes >= 0),
    etag              TEXT NOT NULL,
    content_type      TEXT,
    modified_us       INTEGER NOT NULL,
    PRIMARY KEY (account, region, bucket, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE uploads (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    id                TEXT NOT NULL,
    bucket            TEXT NOT NULL,
    key               TEXT NOT NULL,
    content_type      TEXT,
    created_us        INTEGER NOT NULL,
    PRIMARY KEY (account, region, id)
) STRICT;

CREATE TABLE upload_parts (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    upload            TEXT NOT NULL,
    number            INTEGER NOT NULL CHECK (number BETWEEN 1 AND 10000),
    file              TEXT NOT NULL,
    bytes             INTEGER NOT NULL CHECK (bytes >= 0),
    md5               TEXT NOT NULL CHECK (length(md5) = 32),
    modified_us       INTEGER NOT NULL,
    PRIMARY KEY (account, region, upload, number),
    FOREIGN KEY (account, region, upload) REFERENCES uploads (account, region, id) ON DELETE CASCADE
) STRICT;
