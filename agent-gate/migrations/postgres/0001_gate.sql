-- The gate's state, in a schema of its own. Times are integer milliseconds UTC; bodies are JSON
-- as the core writes it, kept as text because their exact bytes are hashed and served.

-- Whose turn it is to write: one row. A term is never given twice; whoever writes names its term
-- and holds this row until its commit, so a write of an old term and a take-over cannot cross.
CREATE TABLE holdpoint.lease (
    one    BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    term   BIGINT NOT NULL,
    holder TEXT NOT NULL,
    url    TEXT NOT NULL,
    until  TIMESTAMPTZ NOT NULL
);
INSERT INTO holdpoint.lease (term, holder, url, until) VALUES (0, '', '', '-infinity');

-- Single values: epoch, counters, the last time the gate knew.
CREATE TABLE holdpoint.meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- One row a rollout, as it stands. Its history is in decisions and audit.
CREATE TABLE holdpoint.rollouts (
    place      BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    id         TEXT PRIMARY KEY,
    change_id  TEXT NOT NULL,
    service    TEXT NOT NULL,
    state      TEXT NOT NULL,
    body       TEXT NOT NULL,
    updated_ms BIGINT NOT NULL
);
CREATE INDEX rollouts_by_change ON holdpoint.rollouts (change_id);
CREATE INDEX rollouts_by_state ON holdpoint.rollouts (state);
CREATE INDEX rollouts_by_service ON holdpoint.rollouts (service);

CREATE TABLE holdpoint.freezes (
    place    BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    id       TEXT PRIMARY KEY,
    scope    TEXT NOT NULL,
    in_force BOOLEAN NOT NULL,
    body     TEXT NOT NULL,
    at_ms    BIGINT NOT NULL
);
CREATE INDEX freezes_by_force ON holdpoint.freezes (in_force);

-- Everything a decision rested on: enough to explain it and to make it again.
CREATE TABLE holdpoint.decisions (
    place    BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    id       TEXT PRIMARY KEY,
    rollout  TEXT NOT NULL,
    service  TEXT NOT NULL,
    decision TEXT NOT NULL,
    reason   TEXT NOT NULL,
    body     TEXT NOT NULL,
    at_ms    BIGINT NOT NULL,
    -- Under which term it was written; the same in audit.
    term     BIGINT NOT NULL
);
CREATE INDEX decisions_by_rollout ON holdpoint.decisions (rollout, place);
CREATE INDEX decisions_by_service ON holdpoint.decisions (service, place);

-- Append-only. hash = SHA-256(prev || record), where record is the exact text. What was in sight
-- stands beside it, because it is long; the record holds its SHA-256.
CREATE TABLE holdpoint.audit (
    seq     BIGINT PRIMARY KEY,
    subject TEXT NOT NULL,
    record  TEXT NOT NULL,
    sight   TEXT,
    prev    BYTEA NOT NULL,
    hash    BYTEA NOT NULL,
    term    BIGINT NOT NULL
);
CREATE INDEX audit_by_subject ON holdpoint.audit (subject, seq);
CREATE FUNCTION holdpoint.keep_audit() RETURNS TRIGGER LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'the audit log is append-only'; END$$;
CREATE TRIGGER audit_keeps_rows BEFORE DELETE OR UPDATE OR TRUNCATE ON holdpoint.audit
    FOR EACH STATEMENT EXECUTE FUNCTION holdpoint.keep_audit();

-- Only the hash of a token is kept.
CREATE TABLE holdpoint.tokens (
    name       TEXT PRIMARY KEY,
    role       TEXT NOT NULL,
    sha256     BYTEA NOT NULL UNIQUE,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    revoked_ms BIGINT
);

-- Orders to the outside, claimed by id. One that is not settled is given again after a restart.
CREATE TABLE holdpoint.effects (
    place      BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    id         TEXT PRIMARY KEY,
    rollout    TEXT NOT NULL,
    generation BIGINT NOT NULL,
    body       TEXT NOT NULL,
    issued_ms  BIGINT NOT NULL,
    settled_ms BIGINT,
    outcome    TEXT
);
CREATE INDEX effects_open ON holdpoint.effects (place) WHERE settled_ms IS NULL;
