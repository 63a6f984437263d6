-- Signatures that changed something, until no clock difference would let them in again.
CREATE TABLE replays (
    signature         BLOB NOT NULL PRIMARY KEY CHECK (length(signature) = 32),
    until_us          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX replays_by_end ON replays (until_us);
