-- What an operator decided that an application instance may use and reach. An instance without a
-- row has what the device gives every application, and reaches nothing.
CREATE TABLE confinements (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    instance          TEXT NOT NULL,
    -- Counts the changes from 1: who changes says which one they saw.
    revision          INTEGER NOT NULL CHECK (revision > 0),
    -- With a version of its own; see registry/confinement.rs.
    policy_json       TEXT NOT NULL,
    updated_us        INTEGER NOT NULL,
    PRIMARY KEY (account, region, instance),
    FOREIGN KEY (account, region, instance) REFERENCES instances (account, region, id) ON DELETE CASCADE
) STRICT;
