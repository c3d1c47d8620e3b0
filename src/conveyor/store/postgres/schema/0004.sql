-- compatible with 2
-- Enqueueing in the application's own transaction in few round trips, vacuums of the large tables
-- that keep up with the deletion of old jobs, and exchanges that are planned once in a session.

-- Adds jobs where little has to be decided: there is room, no key is taken, no file and no callback
-- belongs to them.
-- FALSE if there is more to decide, or something went wrong: then nothing was changed, and the
-- shared operation decides, or says what is wrong. Whatever happens, the transaction can go on,
-- because the block is a savepoint.
--
-- In: wanted, bound: the queue and the capacity that its producer declares, NULL for none. now_is:
-- the time. One element for each job of ids, labels (the labels that it requires, JSON), tasks,
-- all_args, all_options, checksums, states, priorities, run_ats, expiries, keys and keys_kept. channels,
-- payloads: the notifications of the commit.
CREATE FUNCTION enqueue_plain(
    wanted TEXT, bound BIGINT, now_is DOUBLE PRECISION, ids TEXT[], labels TEXT[], tasks TEXT[],
    all_args BYTEA[], all_options BYTEA[], checksums BIGINT[], states TEXT[], priorities BIGINT[],
    run_ats DOUBLE PRECISION[], expiries DOUBLE PRECISION[], keys TEXT[], keys_kept BOOLEAN[],
    channels TEXT[], payloads TEXT[]
) RETURNS BOOLEAN LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF bound IS NULL THEN
        PERFORM 1 FROM queue WHERE name = wanted AND capacity IS NULL;
    ELSIF current_setting('transaction_isolation') = 'read committed' THEN
        PERFORM 1 FROM queue WHERE name = wanted AND capacity = bound FOR UPDATE;
        -- VOLATILE, so this statement sees what was committed before the lock was taken.
        PERFORM 1 FROM counted_queue
        WHERE FOUND AND name = wanted AND capacity = bound
            AND scheduled + available + retryable + cardinality(ids) <= capacity
            AND NOT EXISTS (
                SELECT 1 FROM offer WHERE queue = wanted AND answer IS NULL AND until >= now_is
            );
    ELSE
        RETURN FALSE;
    END IF;
    IF NOT FOUND THEN
        RETURN FALSE;
    END IF;
    WITH fresh AS MATERIALIZED (
        SELECT nextval('job_seq') AS seq, ordered.* FROM (
            -- A lane that does not exist is NULL, which no table takes.
            SELECT given.*, length(args) + length(options) AS size, (
                SELECT lane.id FROM lane
                WHERE lane.queue = wanted AND lane.requires = given.requires
            ) AS lane
            FROM unnest(ids, labels, tasks, all_args, all_options, checksums, states, priorities,
                run_ats, expiries, keys, keys_kept) WITH ORDINALITY AS given (id, requires, task,
                args, options, checksum, state, priority, run_at, expires_at, key, key_kept, number)
            ORDER BY number
        ) AS ordered
    ),
    added AS (
        INSERT INTO body (seq, priority, enqueued_at, expires_at, checksum, key_kept, id, task,
            options, args)
        SELECT seq, priority, now_is, expires_at, checksum, key_kept, id, task, options, args
        FROM fresh
    ),
    keyed AS (
        INSERT INTO held_key (key, seq) SELECT key, seq FROM fresh WHERE key IS NOT NULL
    ),
    made_ready AS (
        INSERT INTO ready (lane, rank, run_at, seq, expires_at, size, id, frees_key)
        SELECT lane, ~priority, run_at, seq, expires_at, size, id, key IS NOT NULL AND NOT key_kept
        FROM fresh WHERE state = 'available'
    ),
    put_off AS (
        INSERT INTO later (lane, rank, run_at, seq, expires_at, size, id, frees_key, state)
        SELECT lane, ~priority, run_at, seq, expires_at, size, id, key IS NOT NULL AND NOT key_kept,
            state
        FROM fresh WHERE state <> 'available'
    )
    INSERT INTO tally (queue, scheduled, available, running, retryable, completed, cancelled,
        discarded, minute, happened)
    SELECT wanted, count(*) FILTER (WHERE state <> 'available'),
        count(*) FILTER (WHERE state = 'available'), 0, 0, 0, 0, 0, floor(now_is / 60)::BIGINT,
        ARRAY[64 * count(*)]
    FROM fresh;
    PERFORM pg_notify(channel, payload)
    FROM unnest(channels, payloads) AS hint (channel, payload);
    RETURN TRUE;
-- A timeout, too, must not end the application's transaction.
EXCEPTION WHEN OTHERS OR query_canceled THEN
    RETURN FALSE;
END $$;

-- Old jobs are deleted in the order of their age. At the default of a fifth of the table, a vacuum
-- comes when a fifth of a day's jobs are dead.
ALTER TABLE body SET (autovacuum_vacuum_scale_factor = 0.03, autovacuum_vacuum_threshold = 10000);
ALTER TABLE final SET (autovacuum_vacuum_scale_factor = 0.03, autovacuum_vacuum_threshold = 10000);
ALTER TABLE held_key SET (autovacuum_vacuum_scale_factor = 0.03,
    autovacuum_vacuum_threshold = 10000);
ALTER TABLE output SET (autovacuum_vacuum_scale_factor = 0.03, autovacuum_vacuum_threshold = 10000);
ALTER TABLE attempt_error SET (autovacuum_vacuum_scale_factor = 0.03,
    autovacuum_vacuum_threshold = 10000);

-- Planning its statements for each call took longer than most calls. Every plan walks an index.
ALTER FUNCTION exchange_plain SET plan_cache_mode = force_generic_plan;

-- The numbers of a thousand jobs: compressing them takes longer than writing them.
ALTER TABLE commit_mark ALTER COLUMN claimed SET STORAGE EXTERNAL,
    ALTER COLUMN leases SET STORAGE EXTERNAL, ALTER COLUMN lost SET STORAGE EXTERNAL;
