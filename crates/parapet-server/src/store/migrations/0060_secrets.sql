-- Roll-over of authorities, keys of the server's own, and what devices are known to trust.

-- An authority has an ID of its own, so that two of a kind can exist while one follows the other.
-- `state`: `next` is trusted but signs nothing yet, `signing` signs, `previous` is trusted until
-- its leaves are gone. The first of a kind keeps the kind as its ID: its key is sealed under it.
ALTER TABLE authorities RENAME TO authorities_0050;
CREATE TABLE authorities (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    id                TEXT NOT NULL,
    kind              TEXT NOT NULL CHECK (kind IN ('server', 'claim', 'device')),
    state             TEXT NOT NULL CHECK (state IN ('next', 'signing', 'previous')),
    certificate_pem   TEXT NOT NULL,
    wrapped           BLOB NOT NULL,
    created_us        INTEGER NOT NULL,
    PRIMARY KEY (account, region, id),
    UNIQUE (account, region, kind, state)
) STRICT;
INSERT INTO authorities (account, region, id, kind, state, certificate_pem, wrapped, created_us)
    SELECT account, region, kind, kind, 'signing', certificate_pem, wrapped, created_us
    FROM authorities_0050;
DROP TABLE authorities_0050;

-- Keys that the server uses for itself (page tokens), wrapped like everything else.
CREATE TABLE service_keys (
    account           TEXT NOT NULL,
    name              TEXT NOT NULL,
    wrapped           BLOB NOT NULL,
    created_us        INTEGER NOT NULL,
    PRIMARY KEY (account, name)
) STRICT;

-- The digest of the authorities that a device said it trusts. May be out of date: a device says so
-- with its reports.
CREATE TABLE device_trust (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    device            TEXT NOT NULL,
    authorities       TEXT NOT NULL,
    seen_us           INTEGER NOT NULL,
    PRIMARY KEY (account, region, device),
    FOREIGN KEY (account, region, device) REFERENCES devices (account, region, id) ON DELETE CASCADE
) STRICT;

-- Who signed a device certificate: an authority is given up when nothing it signed is good any
-- more. Certificates of before are of the first authority.
ALTER TABLE device_certificates ADD COLUMN authority TEXT NOT NULL DEFAULT 'device';
