-- Keys that seal session tokens, wrapped. The newest seals; each is kept until the last token that
-- it sealed has expired. IDs are in every token and are never used again.

CREATE TABLE session_keys (
    account           TEXT NOT NULL,
    id                INTEGER NOT NULL CHECK (id BETWEEN 1 AND 4294967295),
    wrapped           BLOB NOT NULL,
    created_us        INTEGER NOT NULL,
    PRIMARY KEY (account, id)
) STRICT;
