-- compatible with 2
-- What happens in each queue, minute by minute, and marks in that history.

-- In the order in which exchanges take them, so that neither waits for the other for ever.
LOCK TABLE queue, schedule, audit, attempt_error, final, commit_mark, tally
IN ACCESS EXCLUSIVE MODE;

-- `counts` has one integer for each slot, slot + 64 * count: see core/history.py.
CREATE TABLE history (
    queue TEXT COLLATE "C" NOT NULL,
    -- Unix seconds / 60
    minute BIGINT NOT NULL,
    counts BIGINT[] NOT NULL,
    PRIMARY KEY (queue, minute)
) WITH (fillfactor = 70);
CREATE INDEX history_minute ON history (minute, queue);

-- A transaction appends what it did, in the row with its change of the counts; both are added up
-- together. Processes of the version before add up the counts only: meanwhile some of the history
-- is missing.
ALTER TABLE tally ADD COLUMN minute BIGINT;
ALTER TABLE tally ADD COLUMN happened BIGINT[];

-- Deploys and what people note. `scope`: the queues of the worker that a release was first seen on
-- (JSON), because several applications may share a store.
CREATE TABLE mark (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at DOUBLE PRECISION NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    who TEXT NOT NULL,
    scope TEXT COLLATE "C" NOT NULL
);
CREATE INDEX mark_scope ON mark (scope, seq) WHERE kind = 'release';

-- The bucket of a duration, as `bucket` of core/history.py; NULL of NULL.
CREATE FUNCTION time_bucket(seconds DOUBLE PRECISION) RETURNS BIGINT LANGUAGE sql IMMUTABLE
RETURN width_bucket(seconds, ARRAY[
    0.00390625, 0.0078125, 0.015625, 0.03125, 0.0625, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64,
    128, 256, 512, 1024, 2048, 4096, 8192, 16384
]::DOUBLE PRECISION[])::BIGINT;

-- Slots of the same kind added up.
CREATE FUNCTION add_counts(counts BIGINT[]) RETURNS BIGINT[] LANGUAGE sql IMMUTABLE
RETURN (
    SELECT array_agg(summed.slot + 64 * summed.number) FROM (
        SELECT code & 63 AS slot, sum(code >> 6)::BIGINT AS number
        FROM unnest(counts) AS code GROUP BY 1 ORDER BY 1
    ) AS summed
);

-- As settle_completion of 0002.sql, with what happened.
CREATE OR REPLACE FUNCTION settle_completion() RETURNS TRIGGER LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
DECLARE
    given completion;
    settled BIGINT;
    began DOUBLE PRECISION;
    now_is DOUBLE PRECISION := extract(epoch FROM clock_timestamp());
BEGIN
    SELECT * INTO given FROM completion
    WHERE completion.job = NEW.job AND completion.lease = NEW.lease;
    FOR tries IN 1..20 LOOP
        UPDATE job SET state = 'completed', result = given.result,
            result_checksum = given.result_checksum,
            final_at = now_is, lease_until = NULL,
            unique_key = CASE WHEN key_kept THEN unique_key END
        WHERE id = given.job AND lease = given.lease AND state LIKE 'running'
        RETURNING lane, started_at INTO settled, began;
        EXIT WHEN settled IS NOT NULL;
        EXIT WHEN NOT EXISTS (
            SELECT 1 FROM job WHERE id = given.job AND lease = given.lease AND state LIKE 'running'
        );
    END LOOP;
    IF settled IS NULL THEN
        RAISE EXCEPTION 'job % lost its lease before this commit, so another worker may run it; '
            'nothing of this transaction was committed', given.job USING ERRCODE = 'CV010';
    END IF;
    UPDATE completion SET result = NULL, result_checksum = NULL,
        settled_at = extract(epoch FROM clock_timestamp())
    WHERE completion.job = given.job AND completion.lease = given.lease;
    INSERT INTO tally (queue, scheduled, available, running, retryable, completed, cancelled,
        discarded, minute, happened)
    SELECT lane.queue, 0, 0, -1, 0, 1, 0, 0, floor(now_is / 60)::BIGINT,
        array_remove(ARRAY[66, 104 + time_bucket(now_is - began)], NULL)
    FROM lane WHERE lane.id = settled;
    PERFORM pg_notify(current_schema() || '.final', replace(given.job, E'\x1a', E'\x1a1'));
    RETURN NULL;
END $$;

-- As exchange_plain of 0001.sql, where it is described, with what happened: slot 1 is STARTED, 2 is
-- COMPLETED, 16 the first of the waiting times, and 40 the first of the running times.
CREATE OR REPLACE FUNCTION exchange_plain(
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
                cancelled, discarded, minute, happened)
            SELECT lane.queue, 0, 0, -sum(each.number), 0, sum(each.number), 0, 0,
                floor(now_is / 60)::BIGINT, ARRAY[2 + 64 * sum(each.number)::BIGINT]
                || array_agg(40 + each.bucket + 64 * each.number)
                    FILTER (WHERE each.bucket IS NOT NULL)
            FROM (
                SELECT run.lane, time_bucket(now_is - run.started_at) AS bucket,
                    count(*) AS number
                FROM run GROUP BY 1, 2
            ) AS each, LATERAL (SELECT * FROM lane WHERE lane.id = each.lane LIMIT 1) AS lane
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
            discarded, minute, happened)
        SELECT lane.queue, 0, -sum(each.number), sum(each.number), 0, 0, 0, 0,
            floor(now_is / 60)::BIGINT, ARRAY[1 + 64 * sum(each.number)::BIGINT]
            || array_agg(16 + each.bucket + 64 * each.number)
                FILTER (WHERE each.bucket IS NOT NULL)
        FROM (
            SELECT taken.lane, CASE WHEN taken.started_at >= taken.run_at THEN NULL
                ELSE time_bucket(now_is - taken.run_at) END AS bucket, count(*) AS number
            FROM taken GROUP BY 1, 2
        ) AS each, LATERAL (SELECT * FROM lane WHERE lane.id = each.lane LIMIT 1) AS lane
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
