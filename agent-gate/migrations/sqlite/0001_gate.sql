-- The gate's state. Times are integer milliseconds UTC; bodies are JSON as the core writes it.

-- Single values: epoch, counters, the last time the gate knew.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row a rollout, as it stands. Its history is in decisions and audit.
CREATE TABLE rollouts (
    id         TEXT PRIMARY KEY,
    change_id  TEXT NOT NULL,
    service    TEXT NOT NULL,
    state      TEXT NOT NULL,
    body       TEXT NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX rollouts_by_change ON rollouts (change_id);
CREATE INDEX rollouts_by_state ON rollouts (state);
CREATE INDEX rollouts_by_service ON rollouts (service);

CREATE TABLE freezes (
    id       TEXT PRIMARY KEY,
    scope    TEXT NOT NULL,
    in_force INTEGER NOT NULL,
    body     TEXT NOT NULL,
    at_ms    INTEGER NOT NULL
) STRICT;
CREATE INDEX freezes_by_force ON freezes (in_force);

-- Everything a decision rested on: enough to explain it and to make it again.
CREATE TABLE decisions (
    id       TEXT PRIMARY KEY,
    rollout  TEXT NOT NULL,
    service  TEXT NOT NULL,
    decision TEXT NOT NULL,
    reason   TEXT NOT NULL,
    body     TEXT NOT NULL,
    at_ms    INTEGER NOT NULL
) STRICT;
CREATE INDEX decisions_by_rollout ON decisions (rollout);

-- Append-only. hash = SHA-256(prev || record), where record is the exact text. What was in sight
-- stands beside it, because it is long; the record holds its SHA-256.
CREATE TABLE audit (
    seq     INTEGER PRIMARY KEY,
    subject TEXT NOT NULL,
    record  TEXT NOT NULL,
    sight   TEXT,
    prev    BLOB NOT NULL,
    hash    BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_subject ON audit (subject, seq);
CREATE TRIGGER audit_keeps_rows BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_keeps_text BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- Only the hash of a token is kept.
CREATE TABLE tokens (
    name       TEXT PRIMARY KEY,
    role       TEXT NOT NULL,
    sha256     BLOB NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    revoked_ms INTEGER
) STRICT;

-- Orders to the outside, claimed by id. One that is not settled is given again after a restart.
CREATE TABLE effects (
    id         TEXT PRIMARY KEY,
    rollout    TEXT NOT NULL,
    generation INTEGER NOT NULL,
    body       TEXT NOT NULL,
    issued_ms  INTEGER NOT NULL,
    settled_ms INTEGER,
    outcome    TEXT
) STRICT;
CREATE INDEX effects_open ON effects (settled_ms);
