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

-- A transaction leaves its mark here: whoever lost the answer to a COMMIT looks for it. The number of
-- the transaction would not do, because after a crash of the server another one can get it.
CREATE TABLE commit_mark (
    id TEXT COLLATE "C" PRIMARY KEY,
    is_committed BOOLEAN NOT NULL
);
ALTER TABLE commit_mark SET (autovacuum_vacuum_scale_factor = 0.01,
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

-- Completes attempts that succeeded, as "succeed" of sql/statements.sql does, in one call. Answers
-- the ids of those whose lease was still valid. A claimant that will claim in the same transaction
-- is locked first, because locks are taken in one order; '' is none.
CREATE FUNCTION settle_plain(
    claimant TEXT, ids TEXT[], leases BIGINT[], results BYTEA[], checksums BIGINT[],
    ended DOUBLE PRECISION
) RETURNS SETOF TEXT LANGUAGE plpgsql AS $$
BEGIN
    IF claimant <> '' THEN
        PERFORM pg_advisory_xact_lock_shared(
            hashtextextended(current_schema() || ' worker ' || claimant, 0)
        );
    END IF;
    -- First all locks, in one order: a join would take them in another.
    PERFORM 1 FROM job WHERE job.id = ANY (ids) ORDER BY job.id FOR UPDATE;
    RETURN QUERY
    WITH settled AS (
        UPDATE job SET state = 'completed', result = given.result,
            result_checksum = given.checksum, final_at = ended, lease_until = NULL,
            unique_key = CASE WHEN key_kept THEN unique_key END
        FROM unnest(ids, leases, results, checksums) AS given (id, lease, result, checksum)
        WHERE job.id = given.id AND job.lease = given.lease
            -- LIKE, so that no plan searches all running jobs for them.
            AND job.state LIKE 'running'
        RETURNING job.id, job.lane
    ),
    tallied AS (
        INSERT INTO tally (queue, scheduled, available, running, retryable, completed, cancelled,
            discarded)
        SELECT lane.queue, 0, 0, -count(*), 0, count(*), 0, 0
        FROM settled JOIN lane ON lane.id = settled.lane GROUP BY lane.queue
    )
    SELECT settled.id FROM settled;
END $$;

-- Claims the next jobs of some lanes of a queue in one call, and answers them as they were before.
-- A row of NULLs says that there is more to decide than this function can: producers wait for room,
-- or there are lanes that the caller does not know. VOLATILE, so each statement sees what others
-- had committed when it began: the orders of the worker are read under its lock.
CREATE FUNCTION claim_plain(
    claimant TEXT, wanted TEXT, lanes BIGINT[], known BIGINT, most BIGINT,
    until DOUBLE PRECISION, started DOUBLE PRECISION
) RETURNS SETOF job LANGUAGE plpgsql AS $$
DECLARE
    found queue;
    undecided job;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(
        hashtextextended(current_schema() || ' worker ' || claimant, 0)
    );
    IF EXISTS (SELECT 1 FROM worker WHERE worker.id = claimant AND quiet IN (1, 2)) THEN
        RETURN;
    END IF;
    SELECT * INTO found FROM queue WHERE queue.name = wanted;
    IF found.name IS NULL OR found.paused THEN
        RETURN;
    END IF;
    IF (SELECT count(*) FROM lane WHERE lane.queue = wanted) <> known
        OR (found.capacity IS NOT NULL AND EXISTS (
            SELECT 1 FROM offer WHERE offer.queue = wanted AND answer IS NULL
        ))
    THEN
        RETURN NEXT undecided;
        RETURN;
    END IF;
    RETURN QUERY
    WITH heads AS MATERIALIZED (
        SELECT head.* FROM unnest(lanes) AS each (lane), LATERAL (
            SELECT * FROM job WHERE job.lane = each.lane AND job.state = 'available'
            ORDER BY job.priority DESC, job.run_at, job.seq LIMIT most FOR UPDATE SKIP LOCKED
        ) AS head
        ORDER BY head.priority DESC, head.run_at, head.seq LIMIT most
    ),
    leased AS (
        UPDATE job SET state = 'running', attempt = job.attempt + 1, lease = job.lease + 1,
            worker = claimant, lease_until = until, started_at = started, stopping = NULL
        WHERE job.seq = ANY (ARRAY(SELECT heads.seq FROM heads))
    ),
    tallied AS (
        INSERT INTO tally (queue, scheduled, available, running, retryable, completed, cancelled,
            discarded)
        SELECT wanted, 0, -count(*), count(*), 0, 0, 0, 0 FROM heads HAVING count(*) > 0
    )
    SELECT * FROM heads;
END $$;
