-- The audit trail: one chain for the database, which belongs to one account. Rows are only added;
-- the hash of each covers its record and the hash before it (audit/chain.rs).

CREATE TABLE audit_records (
    sequence          INTEGER PRIMARY KEY CHECK (sequence > 0),
    time_us           INTEGER NOT NULL,
    record            TEXT NOT NULL CHECK (length(record) > 0),
    hash              BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE INDEX audit_records_by_time ON audit_records (time_us);

-- The signed checkpoints, as they were exported.
CREATE TABLE audit_checkpoints (
    sequence          INTEGER PRIMARY KEY CHECK (sequence > 0),
    checkpoint        TEXT NOT NULL
) STRICT;

-- INSERT OR REPLACE removes rows without a trigger of DELETE: a number that is not the next one is
-- refused before that.
CREATE TRIGGER audit_records_append BEFORE INSERT ON audit_records
WHEN NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM audit_records)
BEGIN SELECT RAISE(ABORT, 'the audit trail takes only its next record'); END;

CREATE TRIGGER audit_records_no_update BEFORE UPDATE ON audit_records
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;

CREATE TRIGGER audit_records_no_delete BEFORE DELETE ON audit_records
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;

CREATE TRIGGER audit_checkpoints_append BEFORE INSERT ON audit_checkpoints
WHEN NEW.sequence <= (SELECT coalesce(max(sequence), 0) FROM audit_checkpoints)
BEGIN SELECT RAISE(ABORT, 'checkpoints of the audit trail only move forward'); END;

CREATE TRIGGER audit_checkpoints_no_update BEFORE UPDATE ON audit_checkpoints
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;

CREATE TRIGGER audit_checkpoints_no_delete BEFORE DELETE ON audit_checkpoints
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
