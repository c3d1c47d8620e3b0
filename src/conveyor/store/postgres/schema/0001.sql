-- The first schema. Times are Unix seconds. Texts compare byte by byte, as they do everywhere else.

CREATE TABLE queue (
    name TEXT COLLATE "C" PRIMARY KEY,
    capacity BIGINT,
    paused BOOLEAN NOT NULL DEFAULT FALSE,
    scheduled BIGINT NOT NULL DEFAULT 0,
    available BIGINT NOT NULL DEFAULT 0,
    running BIGINT NOT NULL DEFAULT 0,
    retryable BIGINT NOT NULL DEFAULT 0,
    completed BIGINT NOT NULL DEFAULT 0,
    cancelled BIGINT NOT NULL DEFAULT 0,
    discarded BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- What transactions have changed about a queue's counts since they were last added up: a row that
-- every transaction updates would make them wait for each other.
CREATE TABLE tally (
    queue TEXT COLLATE "C" NOT NULL,
    scheduled BIGINT NOT NULL,
    available BIGINT NOT NULL,
    running BIGINT NOT NULL,
    retryable BIGINT NOT NULL,
    completed BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    discarded BIGINT NOT NULL
);
CREATE INDEX tally_queue ON tally (queue);
ALTER TABLE tally SET (autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

CREATE VIEW counted_queue AS
SELECT name, capacity, paused,
    queue.scheduled + changed.scheduled AS scheduled,
    queue.available + changed.available AS available,
    queue.running + changed.running AS running,
    queue.retryable + changed.retryable AS retryable,
    queue.completed + changed.completed AS completed,
    queue.cancelled + changed.cancelled AS cancelled,
    queue.discarded + changed.discarded AS discarded
FROM queue CROSS JOIN LATERAL (
    SELECT coalesce(sum(scheduled), 0)::BIGINT AS scheduled,
        coalesce(sum(available), 0)::BIGINT AS available,
        coalesce(sum(running), 0)::BIGINT AS running,
        coalesce(sum(retryable), 0)::BIGINT AS retryable,
        coalesce(sum(completed), 0)::BIGINT AS completed,
        coalesce(sum(cancelled), 0)::BIGINT AS cancelled,
        coalesce(sum(discarded), 0)::BIGINT AS discarded
    FROM tally WHERE tally.queue = queue.name
) AS changed;

-- A lane is a queue and the labels its jobs require (JSON, sorted): a claim walks one index.
CREATE TABLE lane (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue TEXT COLLATE "C" NOT NULL,
    requires TEXT COLLATE "C" NOT NULL,
    UNIQUE (queue, requires)
);

CREATE TABLE job (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane BIGINT NOT NULL,
    checksum BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    run_at DOUBLE PRECISION NOT NULL,
    enqueued_at DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION,
    attempt BIGINT NOT NULL DEFAULT 0,
    lease BIGINT NOT NULL DEFAULT 0,
    crashes BIGINT NOT NULL DEFAULT 0,
    lease_until DOUBLE PRECISION,
    cancel_requested_at DOUBLE PRECISION,
    started_at DOUBLE PRECISION,
    unsupported_since DOUBLE PRECISION,
    final_at DOUBLE PRECISION,
    result_checksum BIGINT,
    -- TRUE: the key is held until the job is pruned, not only until it is final.
    key_kept BOOLEAN NOT NULL DEFAULT FALSE,
    cancel_forced BOOLEAN NOT NULL DEFAULT FALSE,
    state TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    task TEXT COLLATE "C" NOT NULL,
    unique_key TEXT COLLATE "C",
    worker TEXT COLLATE "C",
    cancel_reason TEXT,
    error TEXT,
    options BYTEA NOT NULL,
    progress BYTEA,
    stopping BYTEA,
    -- CRC-32 of id, task, args and options: what was accepted is what is run.
    args BYTEA NOT NULL,
    result BYTEA
) WITH (fillfactor = 85);
ALTER TABLE job SET (autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- The states are literals, so that each index holds only the jobs it is for: ten million finished
-- jobs are in none of the first three.
CREATE INDEX job_available ON job (lane, priority DESC, run_at, seq) WHERE state = 'available';
CREATE INDEX job_due ON job (run_at) WHERE state IN ('scheduled', 'retryable');
-- Without lease_until, so that renewing a lease writes no index.
CREATE INDEX job_running ON job (worker) WHERE state = 'running';
CREATE INDEX job_final ON job (state, final_at) WHERE final_at IS NOT NULL;
CREATE INDEX job_expiring ON job (expires_at)
    WHERE expires_at IS NOT NULL AND state IN ('scheduled', 'available', 'retryable');
CREATE UNIQUE INDEX job_unique ON job (unique_key) WHERE unique_key IS NOT NULL;

-- A request that waits for room; `answer` is set by whoever made some.
CREATE TABLE offer (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue TEXT COLLATE "C" NOT NULL,
    until DOUBLE PRECISION NOT NULL,
    request BYTEA NOT NULL,
    answer BYTEA
);
CREATE INDEX offer_waiting ON offer (queue, seq) WHERE answer IS NULL;

-- Which jobs a waiting request would add, and which contents they need.
CREATE TABLE offered_job (
    id TEXT COLLATE "C" NOT NULL,
    offer BIGINT NOT NULL,
    PRIMARY KEY (id, offer)
);
CREATE INDEX offered_job_offer ON offered_job (offer);

CREATE TABLE offered_file (
    digest TEXT COLLATE "C" NOT NULL,
    offer BIGINT NOT NULL,
    PRIMARY KEY (digest, offer)
);
CREATE INDEX offered_file_offer ON offered_file (offer);

-- Why attempts did not succeed.
CREATE TABLE attempt_error (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    worker TEXT,
    became TEXT NOT NULL,
    error BYTEA NOT NULL
);
CREATE INDEX attempt_error_job ON attempt_error (job, seq);

-- What jobs wrote. A chunk sent twice has the same place and is kept once.
CREATE TABLE output (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job BIGINT NOT NULL,
    lease BIGINT NOT NULL,
    position BIGINT NOT NULL,
    stream TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    data BYTEA NOT NULL,
    UNIQUE (job, lease, position)
);
CREATE INDEX output_job ON output (job, seq);

-- The files of jobs. Their contents are in content_piece, each under its SHA-256.
CREATE TABLE file (
    job BIGINT NOT NULL,
    -- 'input' or 'artifact'
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    digest TEXT COLLATE "C" NOT NULL,
    size BIGINT NOT NULL,
    executable BOOLEAN NOT NULL,
    -- Under which lease an artifact was left; 0 for an input.
    lease BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (job, kind, name)
);
CREATE INDEX file_digest ON file (digest);

CREATE TABLE content (
    digest TEXT COLLATE "C" PRIMARY KEY,
    size BIGINT NOT NULL,
    -- TRUE: all of it is here, and its SHA-256 was checked.
    whole BOOLEAN NOT NULL,
    used_at DOUBLE PRECISION NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX content_used ON content (used_at);

CREATE TABLE content_piece (
    digest TEXT COLLATE "C" NOT NULL REFERENCES content (digest) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (digest, position)
);
-- Uncompressed, so that a part of a piece is read without the rest of it.
ALTER TABLE content_piece ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE worker (
    id TEXT COLLATE "C" PRIMARY KEY,
    beat_at DOUBLE PRECISION NOT NULL,
    info BYTEA NOT NULL,
    quiet BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE schedule (
    name TEXT COLLATE "C" PRIMARY KEY,
    cron TEXT NOT NULL,
    timezone TEXT NOT NULL,
    missed TEXT NOT NULL,
    next_at DOUBLE PRECISION NOT NULL,
    last_at DOUBLE PRECISION,
    paused BOOLEAN NOT NULL DEFAULT FALSE
);

-- What applications declare about their tasks (JSON), for those who enqueue them by name.
CREATE TABLE task (
    name TEXT COLLATE "C" PRIMARY KEY,
    defaults BYTEA NOT NULL
);

-- Who leads, or led last: of the scalers, say. `term` counts the holders; the note is handed on.
CREATE TABLE leader (
    name TEXT COLLATE "C" PRIMARY KEY,
    holder TEXT NOT NULL,
    until DOUBLE PRECISION NOT NULL,
    since DOUBLE PRECISION NOT NULL,
    term BIGINT NOT NULL,
    note TEXT NOT NULL
);

-- Who may use the server. Of a token's secret only the digest is kept; scopes and queues are JSON.
CREATE TABLE token (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    scopes TEXT NOT NULL,
    queues TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION,
    revoked_at DOUBLE PRECISION
);

-- What was done by hand.
CREATE TABLE audit (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at DOUBLE PRECISION NOT NULL,
    who TEXT NOT NULL,
    place TEXT NOT NULL,
    what TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at);
