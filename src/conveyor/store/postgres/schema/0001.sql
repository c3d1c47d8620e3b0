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
    is_committed BOOLEAN NOT NULL,
    -- What a lost answer of `exchange_plain` said: which jobs were claimed under which leases, and
    -- which of the reported ones were no longer held.
    claimed BIGINT[],
    leases BIGINT[],
    lost TEXT[]
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

-- A job is a wide row of `body`, written when it is enqueued, and one narrow row in exactly one of
-- `ready`, `later`, `running` and `final`. Claiming and settling move the narrow row only: its
-- arguments are never copied. The view `job` is both together.
CREATE SEQUENCE job_seq;

CREATE TABLE body (
    seq BIGINT PRIMARY KEY DEFAULT nextval('job_seq'),
    priority BIGINT NOT NULL,
    enqueued_at DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION,
    -- CRC-32 of id, task, args and options: what was accepted is what is run.
    checksum BIGINT NOT NULL,
    -- TRUE: the key is held until the job is pruned, not only until it is final.
    key_kept BOOLEAN NOT NULL DEFAULT FALSE,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    task TEXT COLLATE "C" NOT NULL,
    options BYTEA NOT NULL,
    args BYTEA NOT NULL
);
ALTER SEQUENCE job_seq OWNED BY body.seq;

-- Available jobs, in the order of claiming. A row is inserted and deleted, never updated, so that
-- its ctid is its name within a statement. `frees_key`: the job has a unique key that it holds only
-- until it is final. `rank` is ~priority: the highest priority is the lowest rank.
CREATE TABLE ready (
    lane BIGINT NOT NULL,
    rank BIGINT NOT NULL,
    run_at DOUBLE PRECISION NOT NULL,
    seq BIGINT NOT NULL,
    expires_at DOUBLE PRECISION,
    -- Of the arguments and options, in bytes: a claim ends where they fill its answer.
    size BIGINT NOT NULL,
    attempt BIGINT NOT NULL DEFAULT 0,
    lease BIGINT NOT NULL DEFAULT 0,
    crashes BIGINT NOT NULL DEFAULT 0,
    id TEXT COLLATE "C" NOT NULL,
    frees_key BOOLEAN NOT NULL DEFAULT FALSE,
    cancel_forced BOOLEAN NOT NULL DEFAULT FALSE,
    -- What earlier attempts have left.
    started_at DOUBLE PRECISION,
    unsupported_since DOUBLE PRECISION,
    cancel_requested_at DOUBLE PRECISION,
    worker TEXT COLLATE "C",
    cancel_reason TEXT,
    error TEXT,
    progress BYTEA,
    stopping BYTEA,
    PRIMARY KEY (lane, rank, run_at, seq)
);
CREATE UNIQUE INDEX ready_seq ON ready (seq);
CREATE INDEX ready_expiring ON ready (expires_at) WHERE expires_at IS NOT NULL;

-- Jobs that wait for their time: scheduled and retryable ones.
CREATE TABLE later (
    LIKE ready INCLUDING DEFAULTS,
    state TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (seq)
);
CREATE INDEX later_due ON later (run_at);
CREATE INDEX later_expiring ON later (expires_at) WHERE expires_at IS NOT NULL;

-- No other index than its key, and room in each page, so that renewing a lease writes no index.
CREATE TABLE running (
    lane BIGINT NOT NULL,
    run_at DOUBLE PRECISION NOT NULL,
    seq BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    lease BIGINT NOT NULL,
    crashes BIGINT NOT NULL,
    lease_until DOUBLE PRECISION,
    started_at DOUBLE PRECISION,
    id TEXT COLLATE "C" PRIMARY KEY,
    frees_key BOOLEAN NOT NULL,
    cancel_forced BOOLEAN NOT NULL DEFAULT FALSE,
    unsupported_since DOUBLE PRECISION,
    cancel_requested_at DOUBLE PRECISION,
    worker TEXT COLLATE "C",
    cancel_reason TEXT,
    error TEXT,
    progress BYTEA,
    stopping BYTEA
) WITH (fillfactor = 70);

CREATE TABLE final (
    lane BIGINT NOT NULL,
    run_at DOUBLE PRECISION NOT NULL,
    seq BIGINT PRIMARY KEY,
    attempt BIGINT NOT NULL,
    lease BIGINT NOT NULL,
    crashes BIGINT NOT NULL,
    final_at DOUBLE PRECISION,
    started_at DOUBLE PRECISION,
    result_checksum BIGINT,
    state TEXT COLLATE "C" NOT NULL,
    cancel_forced BOOLEAN NOT NULL DEFAULT FALSE,
    unsupported_since DOUBLE PRECISION,
    cancel_requested_at DOUBLE PRECISION,
    worker TEXT COLLATE "C",
    cancel_reason TEXT,
    error TEXT,
    progress BYTEA,
    stopping BYTEA,
    result BYTEA
);
CREATE INDEX final_old ON final (state, final_at);

-- The unique keys that are taken. Jobs without a key pay nothing for those that have one.
CREATE TABLE held_key (
    key TEXT COLLATE "C" PRIMARY KEY,
    seq BIGINT NOT NULL
);
CREATE INDEX held_key_seq ON held_key (seq);

ALTER TABLE ready SET (autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE running SET (autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- All jobs, for whatever names them by seq or by id, or lists them by seq; what looks for a state or
-- a lane asks the narrow tables. Each row of `body` looks for its narrow row: a lateral UNION is
-- never made a part of the join, so that every plan walks the keys, whatever the planner expects.
-- Rows can be inserted, updated and deleted; to lock one, lock it in its table.
CREATE VIEW job AS
SELECT body.seq, at.lane, body.checksum, body.priority, at.run_at, body.enqueued_at,
    body.expires_at, at.attempt, at.lease, at.crashes, at.lease_until, at.cancel_requested_at,
    at.started_at, at.unsupported_since, at.final_at, at.result_checksum, body.key_kept,
    at.cancel_forced, at.state, body.id, body.task,
    (SELECT key FROM held_key WHERE held_key.seq = body.seq) AS unique_key, at.worker,
    at.cancel_reason, at.error, body.options, at.progress, at.stopping, body.args, at.result
FROM body CROSS JOIN LATERAL (
    SELECT lane, run_at, attempt, lease, crashes, NULL::DOUBLE PRECISION AS lease_until,
        cancel_requested_at, started_at, unsupported_since, NULL::DOUBLE PRECISION AS final_at,
        NULL::BIGINT AS result_checksum, cancel_forced, 'available'::TEXT COLLATE "C" AS state,
        worker, cancel_reason, error, progress, stopping, NULL::BYTEA AS result
    FROM ready WHERE ready.seq = body.seq
    UNION ALL
    SELECT lane, run_at, attempt, lease, crashes, NULL, cancel_requested_at, started_at,
        unsupported_since, NULL, NULL, cancel_forced, state, worker, cancel_reason, error,
        progress, stopping, NULL
    FROM later WHERE later.seq = body.seq
    UNION ALL
    SELECT lane, run_at, attempt, lease, crashes, lease_until, cancel_requested_at, started_at,
        unsupported_since, NULL, NULL, cancel_forced, 'running', worker, cancel_reason, error,
        progress, stopping, NULL
    FROM running WHERE running.id = body.id
    UNION ALL
    SELECT lane, run_at, attempt, lease, crashes, NULL, cancel_requested_at, started_at,
        unsupported_since, final_at, result_checksum, cancel_forced, state, worker,
        cancel_reason, error, progress, stopping, result
    FROM final WHERE final.seq = body.seq
) AS at;

-- What is rare changes jobs through the view. A change is optimistic: if the job is no longer as it
-- was read, nothing changes, and the row does not count as changed. Whoever writes to the view may
-- have another search path.
CREATE FUNCTION add_job() RETURNS TRIGGER LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    NEW.seq := coalesce(NEW.seq, nextval('job_seq'));
    NEW.key_kept := coalesce(NEW.key_kept, FALSE);
    INSERT INTO body (seq, priority, enqueued_at, expires_at, checksum, key_kept, id, task,
        options, args)
    VALUES (NEW.seq, NEW.priority, NEW.enqueued_at, NEW.expires_at, NEW.checksum, NEW.key_kept,
        NEW.id, NEW.task, NEW.options, NEW.args);
    IF NEW.unique_key IS NOT NULL THEN
        INSERT INTO held_key (key, seq) VALUES (NEW.unique_key, NEW.seq);
    END IF;
    PERFORM put_job(NEW);
    RETURN NEW;
END $$;

-- Adds the narrow row of a job to the table of its state.
CREATE FUNCTION put_job(put job) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    waits ready;
BEGIN
    put.attempt := coalesce(put.attempt, 0);
    put.lease := coalesce(put.lease, 0);
    put.crashes := coalesce(put.crashes, 0);
    put.cancel_forced := coalesce(put.cancel_forced, FALSE);
    IF put.state IN ('available', 'scheduled', 'retryable') THEN
        waits.lane := put.lane;
        waits.rank := ~put.priority;
        waits.run_at := put.run_at;
        waits.seq := put.seq;
        waits.expires_at := put.expires_at;
        waits.size := length(put.args) + length(put.options);
        waits.attempt := put.attempt;
        waits.lease := put.lease;
        waits.crashes := put.crashes;
        waits.id := put.id;
        waits.frees_key := put.unique_key IS NOT NULL AND NOT put.key_kept;
        waits.cancel_forced := put.cancel_forced;
        waits.started_at := put.started_at;
        waits.unsupported_since := put.unsupported_since;
        waits.cancel_requested_at := put.cancel_requested_at;
        waits.worker := put.worker;
        waits.cancel_reason := put.cancel_reason;
        waits.error := put.error;
        waits.progress := put.progress;
        waits.stopping := put.stopping;
        IF put.state = 'available' THEN
            INSERT INTO ready SELECT waits.*;
        ELSE
            INSERT INTO later SELECT waits.*, put.state;
        END IF;
    ELSIF put.state = 'running' THEN
        INSERT INTO running (lane, run_at, seq, attempt, lease, crashes, lease_until, started_at,
            id, frees_key, cancel_forced, unsupported_since, cancel_requested_at, worker,
            cancel_reason, error, progress, stopping)
        VALUES (put.lane, put.run_at, put.seq, put.attempt, put.lease, put.crashes,
            put.lease_until, put.started_at, put.id,
            put.unique_key IS NOT NULL AND NOT put.key_kept, put.cancel_forced,
            put.unsupported_since, put.cancel_requested_at, put.worker, put.cancel_reason,
            put.error, put.progress, put.stopping);
    ELSE
        INSERT INTO final (lane, run_at, seq, attempt, lease, crashes, final_at, started_at,
            result_checksum, state, cancel_forced, unsupported_since, cancel_requested_at, worker,
            cancel_reason, error, progress, stopping, result)
        VALUES (put.lane, put.run_at, put.seq, put.attempt, put.lease, put.crashes, put.final_at,
            put.started_at, put.result_checksum, put.state, put.cancel_forced,
            put.unsupported_since, put.cancel_requested_at, put.worker, put.cancel_reason,
            put.error, put.progress, put.stopping, put.result);
    END IF;
END $$;

-- Deletes the narrow row of a job; FALSE if it is not as it was read.
CREATE FUNCTION take_job(taken job) RETURNS BOOLEAN LANGUAGE plpgsql AS $$
BEGIN
    CASE taken.state
        WHEN 'available' THEN
            DELETE FROM ready WHERE ready.seq = taken.seq AND ready.lease = taken.lease;
        WHEN 'scheduled', 'retryable' THEN
            DELETE FROM later WHERE later.seq = taken.seq AND later.lease = taken.lease
                AND later.state = taken.state;
        WHEN 'running' THEN
            DELETE FROM running WHERE running.id = taken.id AND running.lease = taken.lease
                AND running.cancel_requested_at IS NOT DISTINCT FROM taken.cancel_requested_at
                AND running.lease_until IS NOT DISTINCT FROM taken.lease_until
                AND running.progress IS NOT DISTINCT FROM taken.progress
                AND running.stopping IS NOT DISTINCT FROM taken.stopping;
        ELSE
            -- LIKE, so that no plan searches all jobs of that state.
            DELETE FROM final WHERE final.seq = taken.seq AND final.lease = taken.lease
                AND final.state LIKE taken.state;
    END CASE;
    RETURN FOUND;
END $$;

CREATE FUNCTION change_job() RETURNS TRIGGER LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    IF OLD.state = 'running' AND NEW.state = 'running' THEN
        -- In place: whoever waits for this row looks at it again.
        UPDATE running SET run_at = NEW.run_at, attempt = NEW.attempt, lease = NEW.lease,
            crashes = NEW.crashes, cancel_forced = NEW.cancel_forced,
            started_at = NEW.started_at, unsupported_since = NEW.unsupported_since,
            cancel_requested_at = NEW.cancel_requested_at, worker = NEW.worker,
            cancel_reason = NEW.cancel_reason, error = NEW.error, progress = NEW.progress,
            stopping = NEW.stopping, lease_until = NEW.lease_until
        WHERE running.id = OLD.id AND running.lease = OLD.lease
            AND running.cancel_requested_at IS NOT DISTINCT FROM OLD.cancel_requested_at
            AND running.lease_until IS NOT DISTINCT FROM OLD.lease_until
            AND running.progress IS NOT DISTINCT FROM OLD.progress
            AND running.stopping IS NOT DISTINCT FROM OLD.stopping;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    ELSE
        IF NOT take_job(OLD) THEN
            RETURN NULL;
        END IF;
        PERFORM put_job(NEW);
    END IF;
    IF NEW.unique_key IS DISTINCT FROM OLD.unique_key THEN
        DELETE FROM held_key WHERE held_key.seq = OLD.seq;
        IF NEW.unique_key IS NOT NULL THEN
            INSERT INTO held_key (key, seq) VALUES (NEW.unique_key, NEW.seq);
        END IF;
    END IF;
    IF (NEW.priority, NEW.enqueued_at, NEW.expires_at, NEW.checksum, NEW.key_kept, NEW.task,
        NEW.options, NEW.args) IS DISTINCT FROM (OLD.priority, OLD.enqueued_at, OLD.expires_at,
        OLD.checksum, OLD.key_kept, OLD.task, OLD.options, OLD.args)
    THEN
        UPDATE body SET priority = NEW.priority, enqueued_at = NEW.enqueued_at,
            expires_at = NEW.expires_at, checksum = NEW.checksum, key_kept = NEW.key_kept,
            task = NEW.task, options = NEW.options, args = NEW.args
        WHERE body.seq = OLD.seq;
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION remove_job() RETURNS TRIGGER LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    IF NOT take_job(OLD) THEN
        RETURN NULL;
    END IF;
    DELETE FROM body WHERE body.seq = OLD.seq;
    DELETE FROM held_key WHERE held_key.seq = OLD.seq;
    RETURN OLD;
END $$;

CREATE TRIGGER add_job INSTEAD OF INSERT ON job FOR EACH ROW EXECUTE FUNCTION add_job();
CREATE TRIGGER change_job INSTEAD OF UPDATE ON job FOR EACH ROW EXECUTE FUNCTION change_job();
CREATE TRIGGER remove_job INSTEAD OF DELETE ON job FOR EACH ROW EXECUTE FUNCTION remove_job();

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

-- Ends an exchange in which there is more to decide than `exchange_plain` can.
CREATE FUNCTION fail_undecided() RETURNS BOOLEAN LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the shared operation must decide' USING ERRCODE = 'CV001';
END $$;

-- Completes attempts that succeeded and claims the next jobs, in one round trip and one transaction.
--
-- In: mark: under which the outcome is found if the answer is lost. claimant: the worker; '' claims
-- nothing. given_at: the time; NULL is that of the server. ids, leases, results, checksums: the
-- reports. wanted, knowns, mosts, firsts, lasts: the queues, how many lanes of each the caller
-- knows, how many jobs of each it wants, and where those lanes are in `lanes` that it serves. ranks,
-- run_ats, seqs, until_ranks: where in each lane to begin, and the last rank. most, most_bytes: the
-- limits of all together.
-- lasting, starts: the length of the leases, and whether the jobs start at once.
--
-- Out: a row with nothing but the time as run_at; a row with only an id for each report whose lease
-- was lost; then the claimed jobs, as they were before, with the columns of a job as the statements
-- read them. Fails with CV001 if there is more to decide.
--
-- VOLATILE, so each statement sees what others had committed when it began: the orders of the
-- worker are read under its lock. Locks are taken in one order: a worker, then jobs by id.
CREATE FUNCTION exchange_plain(
    mark TEXT, claimant TEXT, given_at DOUBLE PRECISION,
    ids TEXT[], leases BIGINT[], results BYTEA[], checksums BIGINT[],
    wanted TEXT[], knowns BIGINT[], mosts BIGINT[], firsts BIGINT[], lasts BIGINT[],
    lanes BIGINT[], ranks BIGINT[], run_ats DOUBLE PRECISION[], seqs BIGINT[],
    until_ranks BIGINT[], most BIGINT, most_bytes BIGINT, lasting DOUBLE PRECISION, starts BOOLEAN
) RETURNS TABLE (
    seq BIGINT, id TEXT, task TEXT, lane BIGINT, args BYTEA, state TEXT, priority BIGINT,
    run_at DOUBLE PRECISION, enqueued_at DOUBLE PRECISION, attempt BIGINT, lease BIGINT,
    crashes BIGINT, worker TEXT, lease_until DOUBLE PRECISION,
    cancel_requested_at DOUBLE PRECISION, started_at DOUBLE PRECISION,
    unsupported_since DOUBLE PRECISION, final_at DOUBLE PRECISION, result BYTEA, error TEXT,
    progress BYTEA, cancel_forced BOOLEAN, stopping BYTEA, options BYTEA, checksum BIGINT,
    result_checksum BIGINT
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    now_is DOUBLE PRECISION := coalesce(given_at, extract(epoch FROM clock_timestamp()));
    open BIGINT[];
    is_undecided BOOLEAN;
    settled TEXT[];
    missed TEXT[];
BEGIN
    IF claimant <> '' THEN
        PERFORM pg_advisory_xact_lock_shared(
            hashtextextended(current_schema() || ' worker ' || claimant, 0)
        );
        SELECT array_agg(want.number ORDER BY want.number), bool_or(
            (SELECT count(*) FROM lane WHERE lane.queue = want.name) <> want.known
            OR (found.capacity IS NOT NULL AND EXISTS (
                SELECT 1 FROM offer WHERE offer.queue = want.name AND answer IS NULL
            ))
        )
        INTO open, is_undecided
        FROM unnest(wanted, knowns) WITH ORDINALITY AS want (name, known, number), LATERAL (
            SELECT queue.capacity FROM queue
            WHERE queue.name = want.name AND NOT queue.paused LIMIT 1
        ) AS found
        WHERE NOT EXISTS (SELECT 1 FROM worker WHERE worker.id = claimant AND quiet IN (1, 2));
        IF is_undecided THEN
            PERFORM fail_undecided();
        END IF;
    END IF;

    IF cardinality(ids) > 0 THEN
        WITH given AS MATERIALIZED (
            SELECT DISTINCT ON (each.id COLLATE "C", each.lease) each.* FROM unnest(
                ids, leases, results, checksums
            ) AS each (id, lease, result, checksum)
            ORDER BY each.id COLLATE "C", each.lease
        ),
        -- A lateral subquery that locks is never made a part of the join: each row walks the index,
        -- whatever the planner expects, and the locks are taken in the order of the ids.
        held AS MATERIALIZED (
            SELECT found.id, given.result, given.checksum FROM given, LATERAL (
                SELECT running.id FROM running
                WHERE running.id = given.id AND running.lease = given.lease FOR UPDATE
            ) AS found
        ),
        run AS (
            DELETE FROM running WHERE running.id = ANY (ARRAY(SELECT held.id FROM held))
            RETURNING running.*
        ),
        ended AS (
            INSERT INTO final (lane, run_at, seq, attempt, lease, crashes, final_at, started_at,
                result_checksum, state, cancel_forced, unsupported_since, cancel_requested_at,
                worker, cancel_reason, error, progress, stopping, result)
            SELECT run.lane, run.run_at, run.seq, run.attempt, run.lease, run.crashes, now_is,
                run.started_at, held.checksum, 'completed', run.cancel_forced,
                run.unsupported_since, run.cancel_requested_at, run.worker, run.cancel_reason,
                run.error, run.progress, run.stopping, held.result
            FROM run JOIN held ON held.id = run.id
        ),
        freed AS (
            DELETE FROM held_key
            WHERE held_key.seq = ANY (ARRAY(SELECT run.seq FROM run WHERE run.frees_key))
        ),
        tallied AS (
            INSERT INTO tally (queue, scheduled, available, running, retryable, completed,
                cancelled, discarded)
            SELECT lane.queue, 0, 0, -sum(each.number), 0, sum(each.number), 0, 0
            FROM (SELECT run.lane, count(*) AS number FROM run GROUP BY run.lane) AS each,
                LATERAL (SELECT * FROM lane WHERE lane.id = each.lane LIMIT 1) AS lane
            GROUP BY lane.queue
        )
        SELECT array_agg(held.id) INTO settled FROM held;
        IF cardinality(settled) IS DISTINCT FROM cardinality(ids) THEN
            missed := ARRAY(SELECT unnest(ids) EXCEPT SELECT unnest(settled));
        END IF;
    END IF;

    seq := NULL;
    run_at := now_is;
    RETURN NEXT;
    run_at := NULL;
    FOREACH id IN ARRAY coalesce(missed, '{}') LOOP
        RETURN NEXT;
    END LOOP;

    IF open IS NULL THEN
        IF settled IS NOT NULL THEN
            INSERT INTO commit_mark (id, is_committed, lost) VALUES (mark, TRUE, missed);
        END IF;
        RETURN;
    END IF;
    RETURN QUERY
    WITH heads AS MATERIALIZED (
        SELECT next.* FROM unnest(open) AS number, LATERAL (
            SELECT head.place, head.size FROM unnest(
                lanes[firsts[number]:lasts[number]], ranks[firsts[number]:lasts[number]],
                run_ats[firsts[number]:lasts[number]], seqs[firsts[number]:lasts[number]],
                until_ranks[firsts[number]:lasts[number]]
            ) AS each (lane, rank, run_at, seq, until_rank), LATERAL (
                SELECT ready.ctid AS place, ready.size, ready.rank, ready.run_at, ready.seq
                FROM ready
                WHERE ready.lane = each.lane
                    AND (ready.rank, ready.run_at, ready.seq) >= (each.rank, each.run_at, each.seq)
                    AND ready.rank <= each.until_rank
                ORDER BY ready.rank, ready.run_at, ready.seq
                LIMIT least(mosts[number], most) FOR UPDATE SKIP LOCKED
            ) AS head
            ORDER BY head.rank, head.run_at, head.seq LIMIT least(mosts[number], most)
        ) AS next
        LIMIT most
    ),
    fitting AS MATERIALIZED (
        SELECT summed.place FROM (
            SELECT heads.place, sum(heads.size) OVER (ROWS UNBOUNDED PRECEDING) - heads.size
                AS before FROM heads
        ) AS summed WHERE summed.before < most_bytes
    ),
    taken AS (
        DELETE FROM ready WHERE ready.ctid = ANY (ARRAY(SELECT fitting.place FROM fitting))
        RETURNING ready.*
    ),
    leased AS (
        INSERT INTO running (lane, run_at, seq, attempt, lease, crashes, lease_until, started_at,
            id, frees_key, cancel_forced, unsupported_since, cancel_requested_at, worker,
            cancel_reason, error, progress)
        SELECT lane, run_at, seq, attempt + 1, lease + 1, crashes, now_is + lasting,
            CASE WHEN starts THEN now_is END, id, frees_key, cancel_forced, unsupported_since,
            cancel_requested_at, claimant, cancel_reason, error, progress
        FROM taken
    ),
    tallied AS (
        INSERT INTO tally (queue, scheduled, available, running, retryable, completed, cancelled,
            discarded)
        SELECT lane.queue, 0, -sum(each.number), sum(each.number), 0, 0, 0, 0
        FROM (SELECT taken.lane, count(*) AS number FROM taken GROUP BY taken.lane) AS each,
            LATERAL (SELECT * FROM lane WHERE lane.id = each.lane LIMIT 1) AS lane
        GROUP BY lane.queue
    ),
    marked AS (
        INSERT INTO commit_mark (id, is_committed, claimed, leases, lost)
        SELECT mark, TRUE, array_agg(taken.seq), array_agg(taken.lease + 1), missed
        FROM taken HAVING count(*) > 0 OR settled IS NOT NULL
    )
    SELECT at.seq, at.id, body.task, at.lane, body.args, 'available'::TEXT, body.priority,
        at.run_at, body.enqueued_at, at.attempt, at.lease, at.crashes, at.worker,
        NULL::DOUBLE PRECISION, at.cancel_requested_at, at.started_at, at.unsupported_since,
        NULL::DOUBLE PRECISION, NULL::BYTEA, at.error, at.progress, at.cancel_forced,
        NULL::BYTEA, body.options, body.checksum, NULL::BIGINT
    FROM (SELECT taken.* FROM taken ORDER BY taken.rank, taken.run_at, taken.seq) AS at,
        LATERAL (SELECT each.* FROM body AS each WHERE each.seq = at.seq LIMIT 1) AS body
    WHERE CASE WHEN at.expires_at <= now_is
            OR (length(body.options) > 2 AND position('"given":'::BYTEA IN body.options) > 0)
        THEN fail_undecided() ELSE TRUE END;
END $$;
