-- Statements of the PostgreSQL store: those that replace one of sql/statements.sql, then its own.

-- name: tally
INSERT INTO tally (scheduled, available, running, retryable, completed, cancelled, discarded,
    minute, happened, queue)
VALUES (:scheduled, :available, :running, :retryable, :completed, :cancelled, :discarded, :minute,
    :happened, :name)

-- name: note_past
INSERT INTO past_tally (queue, completed, cancelled, discarded, deleted, retried)
VALUES (:queue, :completed, :cancelled, :discarded, :deleted, :retried)

-- name: set_counts
WITH corrected AS (
    UPDATE queue SET scheduled = :scheduled, available = :available, running = :running,
        retryable = :retryable, completed = :completed, cancelled = :cancelled,
        discarded = :discarded
    WHERE name = :name
)
-- What happened has happened.
UPDATE tally SET scheduled = 0, available = 0, running = 0, retryable = 0, completed = 0,
    cancelled = 0, discarded = 0
WHERE queue = :name

-- name: insert_job
WITH fresh AS MATERIALIZED (SELECT nextval('job_seq') AS seq),
added AS (
    INSERT INTO body (seq, priority, enqueued_at, expires_at, checksum, key_kept, id, task, options,
        args)
    SELECT seq, :priority, :enqueued_at, :expires_at, :checksum, :key_kept, :id, :task, :options,
        :args
    FROM fresh
),
keyed AS (
    INSERT INTO held_key (key, seq) SELECT :unique_key, seq FROM fresh
    WHERE :unique_key IS NOT NULL
),
made_ready AS (
    INSERT INTO ready (lane, rank, run_at, seq, expires_at, size, id, frees_key)
    SELECT :lane, ~:priority, :run_at, seq, :expires_at, length(:args) + length(:options), :id,
        :unique_key IS NOT NULL AND NOT :key_kept
    FROM fresh WHERE :state = 'available'
)
INSERT INTO later (lane, rank, run_at, seq, expires_at, size, id, frees_key, state)
SELECT :lane, ~:priority, :run_at, seq, :expires_at, length(:args) + length(:options), :id,
    :unique_key IS NOT NULL AND NOT :key_kept, :state
FROM fresh WHERE :state <> 'available'

-- name: insert_job_all
WITH fresh AS MATERIALIZED (
    SELECT nextval('job_seq') AS seq, * FROM (
        SELECT * FROM unnest(:id_all, :lane_all, :task_all, :args_all, :options_all,
            :checksum_all, :state_all, :priority_all, :run_at_all, :enqueued_at_all,
            :expires_at_all, :unique_key_all, :key_kept_all)
            WITH ORDINALITY AS given (id, lane, task, args, options, checksum, state, priority,
                run_at, enqueued_at, expires_at, unique_key, key_kept, number)
        ORDER BY number
    ) AS ordered
),
added AS (
    INSERT INTO body (seq, priority, enqueued_at, expires_at, checksum, key_kept, id, task, options,
        args)
    SELECT seq, priority, enqueued_at, expires_at, checksum, key_kept, id, task, options, args
    FROM fresh
),
keyed AS (
    INSERT INTO held_key (key, seq)
    SELECT unique_key, seq FROM fresh WHERE unique_key IS NOT NULL
),
made_ready AS (
    INSERT INTO ready (lane, rank, run_at, seq, expires_at, size, id, frees_key)
    SELECT lane, ~priority, run_at, seq, expires_at, length(args) + length(options), id,
        unique_key IS NOT NULL AND NOT key_kept
    FROM fresh WHERE state = 'available'
)
INSERT INTO later (lane, rank, run_at, seq, expires_at, size, id, frees_key, state)
SELECT lane, ~priority, run_at, seq, expires_at, length(args) + length(options), id,
    unique_key IS NOT NULL AND NOT key_kept, state
FROM fresh WHERE state <> 'available'

-- name: insert_unbounded
-- All of an enqueue in one round trip, if the queue has no bound; answers whether it has none.
WITH unbounded AS MATERIALIZED (SELECT name FROM queue WHERE name = :name AND capacity IS NULL),
fresh AS MATERIALIZED (
    SELECT nextval('job_seq') AS seq, * FROM (
        SELECT * FROM unbounded CROSS JOIN unnest(:id_all, :lane_all, :task_all, :args_all,
            :options_all, :checksum_all, :state_all, :priority_all, :run_at_all, :expires_at_all)
            WITH ORDINALITY AS given (id, lane, task, args, options, checksum, state, priority,
                run_at, expires_at, number)
        ORDER BY number
    ) AS ordered
),
added AS (
    INSERT INTO body (seq, priority, enqueued_at, expires_at, checksum, id, task, options, args)
    SELECT seq, priority, :now, expires_at, checksum, id, task, options, args FROM fresh
),
made_ready AS (
    INSERT INTO ready (lane, rank, run_at, seq, expires_at, size, id)
    SELECT lane, ~priority, run_at, seq, expires_at, length(args) + length(options), id FROM fresh
    WHERE state = 'available'
),
put_off AS (
    INSERT INTO later (lane, rank, run_at, seq, expires_at, size, id, state)
    SELECT lane, ~priority, run_at, seq, expires_at, length(args) + length(options), id, state
    FROM fresh
    WHERE state <> 'available'
),
tallied AS (
    INSERT INTO tally (queue, scheduled, available, running, retryable, completed, cancelled,
        discarded, minute, happened)
    SELECT name, :scheduled, :available, 0, 0, 0, 0, 0, floor(:now / 60)::BIGINT,
        ARRAY[64 * (:scheduled + :available)]
    FROM unbounded
)
SELECT 1 FROM unbounded

-- name: insert_one_unbounded
-- The same for one job. A client writes single values several times as fast as arrays.
WITH unbounded AS MATERIALIZED (
    SELECT name, nextval('job_seq') AS seq FROM queue WHERE name = :name AND capacity IS NULL
),
added AS (
    INSERT INTO body (seq, priority, enqueued_at, expires_at, checksum, id, task, options, args)
    SELECT seq, :priority, :now, :expires_at, :checksum, :id, :task, :options, :args
    FROM unbounded
),
made_ready AS (
    INSERT INTO ready (lane, rank, run_at, seq, expires_at, size, id)
    SELECT :lane, ~:priority, :run_at, seq, :expires_at, length(:args) + length(:options), :id
    FROM unbounded
    WHERE :state = 'available'
),
put_off AS (
    INSERT INTO later (lane, rank, run_at, seq, expires_at, size, id, state)
    SELECT :lane, ~:priority, :run_at, seq, :expires_at, length(:args) + length(:options), :id,
        :state
    FROM unbounded
    WHERE :state <> 'available'
),
tallied AS (
    INSERT INTO tally (queue, scheduled, available, running, retryable, completed, cancelled,
        discarded, minute, happened)
    SELECT name, :scheduled, :available, 0, 0, 0, 0, 0, floor(:now / 60)::BIGINT,
        ARRAY[64 * (:scheduled + :available)]
    FROM unbounded
)
SELECT 1 FROM unbounded

-- name: key_holder
SELECT found.id FROM (SELECT seq FROM held_key WHERE key = :unique_key) AS held,
    LATERAL (SELECT id FROM body WHERE body.seq = held.seq LIMIT 1) AS found

-- name: is_there
SELECT seq FROM body WHERE id = :id

-- name: is_in_queue
SELECT 1 FROM job WHERE id = :id AND lane IN (SELECT lane.id FROM lane WHERE queue = :queue)

-- name: beat
-- By the server's clock unless a time is given: a transaction of its own, which asks for none.
INSERT INTO worker (id, beat_at, info)
VALUES (:id, coalesce(:beat_at, extract(epoch FROM clock_timestamp())), :info)
ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at, info = excluded.info
RETURNING quiet

-- name: heads
-- Here and below, LATERAL with a LIMIT: each row looks for its job by the key, in every plan.
SELECT {job} FROM (
    SELECT seq AS head FROM ready WHERE lane = :lane ORDER BY rank, run_at, seq LIMIT :limit
    FOR UPDATE SKIP LOCKED
) AS heads, LATERAL (SELECT * FROM job WHERE seq = head LIMIT 1) AS found
ORDER BY priority DESC, run_at, seq

-- name: next_of_lane
SELECT {job} FROM (
    SELECT seq AS head FROM ready WHERE lane = :lane ORDER BY rank, run_at, seq LIMIT 1
) AS heads, LATERAL (SELECT * FROM job WHERE seq = head LIMIT 1) AS found

-- name: oldest
SELECT {job} FROM (
    SELECT seq AS head FROM ready WHERE lane IN (SELECT id FROM lane WHERE queue = :queue)
    ORDER BY run_at, seq LIMIT :limit FOR UPDATE SKIP LOCKED
) AS heads, LATERAL (SELECT * FROM job WHERE seq = head LIMIT 1) AS found
ORDER BY run_at, seq

-- name: set_options
UPDATE body SET options = :options, checksum = :checksum
WHERE seq = :seq AND EXISTS (
    SELECT 1 FROM ready WHERE ready.seq = :seq AND ready.lease = :lease
)

-- name: lease
WITH taken AS (DELETE FROM ready WHERE seq = :seq AND lease = :lease RETURNING *)
INSERT INTO running (lane, run_at, seq, attempt, lease, crashes, lease_until, started_at, id,
    frees_key, cancel_forced, unsupported_since, cancel_requested_at, worker, cancel_reason, error,
    progress)
SELECT lane, run_at, seq, attempt + 1, taken.lease + 1, crashes, :lease_until, :started_at, id,
    frees_key, cancel_forced, unsupported_since, cancel_requested_at, :worker, cancel_reason,
    error, progress
FROM taken

-- name: lease_all
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(:worker_all, :lease_until_all, :started_at_all, :seq_all, :lease_all)
        AS each (worker, lease_until, started_at, seq, lease)
),
held AS MATERIALIZED (
    SELECT found.place, given.seq, given.worker, given.lease_until, given.started_at
    FROM given, LATERAL (
        SELECT ready.ctid AS place FROM ready
        WHERE ready.seq = given.seq AND ready.lease = given.lease FOR UPDATE
    ) AS found
),
taken AS (DELETE FROM ready WHERE ctid = ANY (ARRAY(SELECT place FROM held)) RETURNING *)
INSERT INTO running (lane, run_at, seq, attempt, lease, crashes, lease_until, started_at, id,
    frees_key, cancel_forced, unsupported_since, cancel_requested_at, worker, cancel_reason, error,
    progress)
SELECT lane, run_at, taken.seq, attempt + 1, taken.lease + 1, crashes, held.lease_until,
    held.started_at, id, frees_key, cancel_forced, unsupported_since, cancel_requested_at,
    held.worker, cancel_reason, error, progress
FROM taken JOIN held ON held.seq = taken.seq

-- name: succeed
WITH run AS (DELETE FROM running WHERE id = :id AND lease = :lease RETURNING *),
settled AS (
    INSERT INTO final (lane, run_at, seq, attempt, lease, crashes, final_at, started_at,
        result_checksum, state, cancel_forced, unsupported_since, cancel_requested_at, worker,
        cancel_reason, error, progress, stopping, result)
    SELECT run.lane, run.run_at, run.seq, run.attempt, run.lease, run.crashes, :final_at,
        run.started_at, :result_checksum, 'completed', run.cancel_forced, run.unsupported_since,
        run.cancel_requested_at, run.worker, run.cancel_reason, run.error, run.progress,
        run.stopping, :result
    FROM run
),
freed AS (DELETE FROM held_key WHERE seq = ANY (ARRAY(SELECT seq FROM run WHERE frees_key)))
SELECT id, lane, started_at, seq FROM run

-- name: succeed_all
-- The jobs are locked by then.
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(:result_all, :result_checksum_all, :final_at_all, :id_all, :lease_all)
        AS each (result, checksum, final_at, id, lease)
),
held AS MATERIALIZED (
    SELECT DISTINCT ON (found.id) found.id, given.result, given.checksum, given.final_at
    FROM given, LATERAL (
        SELECT running.id FROM running
        WHERE running.id = given.id AND running.lease = given.lease FOR UPDATE
    ) AS found
    ORDER BY found.id
),
run AS (
    DELETE FROM running WHERE id = ANY (ARRAY(SELECT id FROM held)) RETURNING *
),
settled AS (
    INSERT INTO final (lane, run_at, seq, attempt, lease, crashes, final_at, started_at,
        result_checksum, state, cancel_forced, unsupported_since, cancel_requested_at, worker,
        cancel_reason, error, progress, stopping, result)
    SELECT run.lane, run.run_at, run.seq, run.attempt, run.lease, run.crashes, held.final_at,
        run.started_at, held.checksum, 'completed', run.cancel_forced, run.unsupported_since,
        run.cancel_requested_at, run.worker, run.cancel_reason, run.error, run.progress,
        run.stopping, held.result
    FROM run JOIN held ON held.id = run.id
),
freed AS (DELETE FROM held_key WHERE seq = ANY (ARRAY(SELECT seq FROM run WHERE frees_key)))
SELECT id, lane, started_at, seq FROM run

-- name: extend
UPDATE running SET lease_until = :lease_until, started_at = coalesce(started_at, :now)
WHERE id = :id AND lease = :lease
RETURNING id, lease, cancel_requested_at, cancel_reason, cancel_forced

-- name: extend_all
-- The jobs are locked by then.
UPDATE running SET lease_until = given.lease_until,
    started_at = coalesce(running.started_at, given.now)
FROM (
    SELECT each.* FROM unnest(:lease_until_all, :now_all, :id_all, :lease_all)
        AS each (lease_until, now, id, lease), LATERAL (
        SELECT 1 FROM running AS run WHERE run.id = each.id AND run.lease = each.lease FOR UPDATE
    ) AS found
) AS given
WHERE running.id = given.id
RETURNING running.id, running.lease, cancel_requested_at, cancel_reason, cancel_forced

-- name: extend_worker
UPDATE running SET lease_until = :lease_until
WHERE worker = :worker AND started_at IS NOT NULL
RETURNING seq

-- name: held
SELECT seq, cancel_requested_at, cancel_reason, cancel_forced FROM running
WHERE id = :id AND lease = :lease

-- name: set_progress
UPDATE running SET progress = :progress WHERE id = :id AND lease = :lease
RETURNING cancel_requested_at, cancel_reason, cancel_forced

-- name: set_stopping
UPDATE running SET stopping = :stopping WHERE id = :id AND lease = :lease
RETURNING cancel_requested_at, cancel_reason, cancel_forced

-- name: request_cancel
UPDATE running SET cancel_requested_at = coalesce(cancel_requested_at, :now),
    cancel_reason = coalesce(cancel_reason, :reason), cancel_forced = cancel_forced OR :forced
WHERE id = (SELECT id FROM body WHERE seq = :seq) AND lease = :lease

-- name: ahead
SELECT count(*) FROM ready
WHERE lane IN (SELECT id FROM lane WHERE queue = :queue)
    AND (rank, run_at, seq) < (~:priority, :run_at, :seq)

-- name: find_sizes_among
SELECT {sizes} FROM (
    SELECT {seen} FROM {numbers} AS picked, LATERAL (
        SELECT * FROM job WHERE seq = picked.value LIMIT 1
    ) AS job
) AS found WHERE {matching} ORDER BY seq

-- name: count_among
SELECT state, lane, count(*) FROM (
    SELECT {seen} FROM {numbers} AS picked, LATERAL (
        SELECT * FROM job WHERE seq = picked.value LIMIT 1
    ) AS job
) AS found WHERE {matching} GROUP BY state, lane

-- name: looked_at
SELECT min(seq), max(seq), count(*) FROM (
    SELECT seq FROM body WHERE seq < :before AND seq > :after ORDER BY seq DESC LIMIT :rows
) AS found

-- name: looked_at_oldest
SELECT min(seq), max(seq), count(*) FROM (
    SELECT seq FROM body WHERE seq < :before AND seq > :after ORDER BY seq LIMIT :rows
) AS found

-- name: some_available
SELECT seq FROM ready LIMIT :limit

-- name: some_later
SELECT seq FROM later LIMIT :limit

-- name: some_running
SELECT seq FROM running LIMIT :limit

-- name: some_final
SELECT seq FROM final WHERE state = :state LIMIT :limit

-- name: find
SELECT {listed_job} FROM {numbers} AS picked, LATERAL (
    SELECT * FROM job WHERE seq = picked.value LIMIT 1
) AS found ORDER BY seq

-- name: ids_of
SELECT found.id FROM {numbers} AS picked, LATERAL (
    SELECT id FROM body WHERE seq = picked.value LIMIT 1
) AS found ORDER BY picked.value DESC

-- name: newest_failures
SELECT entry.seq, entry.fingerprint, found.id, found.task, at.lane, entry.at, entry.became
FROM (
    SELECT seq, fingerprint, at, job, became FROM attempt_error
    WHERE fingerprint IS NOT NULL ORDER BY seq DESC LIMIT :limit
) AS entry, LATERAL (
    SELECT id, task FROM body WHERE body.seq = entry.job LIMIT 1
) AS found, LATERAL (
    SELECT lane FROM final WHERE final.seq = entry.job
    UNION ALL SELECT lane FROM later WHERE later.seq = entry.job
    UNION ALL SELECT lane FROM ready WHERE ready.seq = entry.job
    UNION ALL SELECT lane FROM running WHERE running.id = found.id
    LIMIT 1
) AS at
ORDER BY entry.seq DESC

-- name: seq_bounds
SELECT min(seq), max(seq) FROM body

-- name: strays
-- Every state is that of a table; only the lane of a damaged row can be unknown.
SELECT {job} FROM (
    SELECT seq AS head FROM (
        SELECT seq, lane FROM ready WHERE seq >= :first ORDER BY seq LIMIT :rows
    ) AS searched
    WHERE lane NOT IN (SELECT id FROM lane) ORDER BY seq LIMIT 100
) AS heads, LATERAL (SELECT * FROM job WHERE seq = head LIMIT 1) AS found
ORDER BY seq

-- name: count_unfinished
SELECT lane.queue, state, sum(number)::BIGINT FROM (
    SELECT lane, 'available' AS state, count(*) AS number FROM ready GROUP BY lane
    UNION ALL
    SELECT lane, state, count(*) FROM later GROUP BY lane, state
    UNION ALL
    SELECT lane, 'running', count(*) FROM running GROUP BY lane
) AS counted JOIN lane ON lane.id = counted.lane GROUP BY lane.queue, state

-- name: count_queue
WITH own AS MATERIALIZED (SELECT id FROM lane WHERE queue = :queue)
SELECT 'available', count(*) FROM ready WHERE lane IN (SELECT id FROM own)
UNION ALL
SELECT state, count(*) FROM later WHERE lane IN (SELECT id FROM own) GROUP BY state
UNION ALL
SELECT 'running', count(*) FROM running WHERE lane IN (SELECT id FROM own)
UNION ALL
SELECT state, count(*) FROM final WHERE lane IN (SELECT id FROM own)
    AND state IN ('completed', 'cancelled', 'discarded') GROUP BY state

-- name: count_states
SELECT lane.queue, state, sum(number)::BIGINT FROM (
    SELECT lane, 'available' AS state, count(*) AS number FROM ready GROUP BY lane
    UNION ALL
    SELECT lane, state, count(*) FROM later GROUP BY lane, state
    UNION ALL
    SELECT lane, 'running', count(*) FROM running GROUP BY lane
    UNION ALL
    SELECT lane, state, count(*) FROM final GROUP BY lane, state
) AS counted JOIN lane ON lane.id = counted.lane GROUP BY lane.queue, state

-- name: add_input
INSERT INTO file (job, kind, name, digest, size, executable)
SELECT seq, :kind, :name, :digest, :size, :executable FROM body WHERE id = :id

-- name: upkeep, reads
SELECT EXISTS (SELECT 1 FROM later WHERE run_at <= :now)
    OR EXISTS (SELECT 1 FROM ready WHERE expires_at IS NOT NULL AND expires_at <= :now)
    OR EXISTS (SELECT 1 FROM later WHERE expires_at IS NOT NULL AND expires_at <= :now)
    OR EXISTS (SELECT 1 FROM offer),
    (SELECT run_at FROM later ORDER BY run_at LIMIT 1)

-- name: any_lapsed, reads
-- Planning `lapsed` takes longer than this.
SELECT 1 FROM running WHERE lease_until IS NULL OR lease_until < :now LIMIT 1

-- name: add_callback
INSERT INTO callback (job, called_on, run, id, lane, task, priority, args, options, checksum)
SELECT seq, :called_on, :run, :callback, :lane, :task, :priority, :args, :options, :checksum
FROM body WHERE id = :id

-- name: due
SELECT seq, lane, state FROM later WHERE run_at <= :now ORDER BY run_at LIMIT :limit
FOR UPDATE SKIP LOCKED

-- name: next_due
SELECT run_at FROM later ORDER BY run_at LIMIT 1

-- name: make_available
WITH taken AS (DELETE FROM later WHERE seq = :seq AND run_at <= :now RETURNING *)
INSERT INTO ready SELECT lane, rank, run_at, seq, expires_at, size, attempt, lease, crashes, id,
    frees_key, cancel_forced, started_at, unsupported_since, cancel_requested_at, worker,
    cancel_reason, error, progress, stopping FROM taken

-- name: make_available_all
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(:seq_all, :now_all) AS each (seq, now)
),
held AS MATERIALIZED (
    SELECT given.seq FROM given, LATERAL (
        SELECT 1 FROM later WHERE later.seq = given.seq AND later.run_at <= given.now FOR UPDATE
    ) AS found
),
taken AS (DELETE FROM later WHERE seq = ANY (ARRAY(SELECT seq FROM held)) RETURNING *)
INSERT INTO ready SELECT lane, rank, run_at, seq, expires_at, size, attempt, lease, crashes, id,
    frees_key, cancel_forced, started_at, unsupported_since, cancel_requested_at, worker,
    cancel_reason, error, progress, stopping FROM taken

-- name: expired
SELECT {job} FROM (
    SELECT seq AS head FROM ready WHERE expires_at IS NOT NULL AND expires_at <= :now
    ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
) AS heads, LATERAL (SELECT * FROM job WHERE seq = head LIMIT 1) AS found
UNION ALL
SELECT {job} FROM (
    SELECT seq AS head FROM later WHERE expires_at IS NOT NULL AND expires_at <= :now
    ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
) AS heads, LATERAL (SELECT * FROM job WHERE seq = head LIMIT 1) AS found
LIMIT :limit

-- name: lapsed
SELECT {job} FROM (
    SELECT id AS head FROM running WHERE lease_until < :now ORDER BY lease_until LIMIT :limit
    FOR UPDATE SKIP LOCKED
) AS heads, LATERAL (SELECT * FROM job WHERE id = head LIMIT 1) AS found

-- name: leaseless
SELECT {job} FROM (
    SELECT id AS head FROM running WHERE lease_until IS NULL LIMIT :limit
    FOR UPDATE SKIP LOCKED
) AS heads, LATERAL (SELECT * FROM job WHERE id = head LIMIT 1) AS found

-- name: of_worker
SELECT {job} FROM (
    SELECT id AS head FROM running WHERE running.worker = :worker LIMIT :limit
    FOR UPDATE SKIP LOCKED
) AS heads, LATERAL (SELECT * FROM job WHERE id = head LIMIT 1) AS found

-- name: old
SELECT seq, lane FROM final WHERE state = :state AND final_at IS NOT NULL AND final_at < :before
ORDER BY final_at LIMIT :limit FOR UPDATE SKIP LOCKED

-- name: try_to_prune
-- One process at a time, or a hundred workers would delete at once.
SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema() || ' prune', 0))

-- name: prune_old
WITH old AS MATERIALIZED (
    SELECT seq FROM final
    WHERE state = :state AND final_at >= :since AND final_at < :before
    ORDER BY final_at LIMIT :limit FOR UPDATE SKIP LOCKED
),
gone AS (
    DELETE FROM final WHERE seq = ANY (ARRAY(SELECT seq FROM old)) RETURNING lane, final_at
),
bodies AS (DELETE FROM body WHERE seq = ANY (ARRAY(SELECT seq FROM old))),
keys AS (DELETE FROM held_key WHERE seq = ANY (ARRAY(SELECT seq FROM old))),
outputs AS (DELETE FROM output WHERE job = ANY (ARRAY(SELECT seq FROM old))),
errors AS (DELETE FROM attempt_error WHERE job = ANY (ARRAY(SELECT seq FROM old))),
attached AS (DELETE FROM file WHERE job = ANY (ARRAY(SELECT seq FROM old))),
uncalled AS (DELETE FROM callback WHERE job = ANY (ARRAY(SELECT seq FROM old)))
SELECT lane, count(*), max(final_at) FROM gone GROUP BY lane

-- name: count_held
SELECT count(*) FROM running WHERE worker = :worker

-- name: used_lanes
SELECT id, queue, requires FROM lane
WHERE queue IS NOT NULL AND (
    id = ANY (ARRAY(SELECT lane FROM running))
    OR EXISTS (SELECT 1 FROM ready WHERE ready.lane = lane.id)
)
ORDER BY queue, requires <> '[]', id

-- name: running_in_queue
SELECT lane, count(*) FROM running
WHERE lane IN (SELECT id FROM lane WHERE queue = :queue) GROUP BY lane

-- name: running_by_lane
SELECT lane, count(*) FROM running GROUP BY lane

-- name: count_lane
SELECT count(*) FROM ready WHERE lane = :lane

-- name: oldest_by_priority
SELECT (
    SELECT run_at FROM ready WHERE ready.lane = :lane AND ready.rank = each.rank
    ORDER BY run_at LIMIT 1
)
FROM (
    -- One index lookup for each priority, from the highest to the lowest.
    WITH RECURSIVE each (rank) AS (
        SELECT (SELECT min(rank) FROM ready WHERE lane = :lane)
        UNION ALL
        SELECT (SELECT min(ready.rank) FROM ready WHERE lane = :lane AND ready.rank > each.rank)
        FROM each WHERE each.rank IS NOT NULL
    )
    SELECT rank FROM each WHERE rank IS NOT NULL LIMIT :limit
) AS each

-- name: oldest_in_lane
SELECT min(run_at) FROM ready WHERE lane = :lane

-- name: longest_running
SELECT {listed_job} FROM (
    SELECT id AS head, CASE WHEN :stopping IS NULL THEN started_at ELSE cancel_requested_at END
        AS since
    FROM running WHERE :stopping IS NULL OR cancel_requested_at IS NOT NULL
    ORDER BY since NULLS FIRST, seq LIMIT :limit
) AS heads, LATERAL (SELECT * FROM job WHERE id = head LIMIT 1) AS found
ORDER BY since NULLS FIRST, seq

-- name: exchange_plain
SELECT * FROM exchange_plain(:mark, :worker, :at, :id_all, :lease_all, :result_all, :checksum_all,
    :queue_all, :known_all, :limit_all, :first_all, :last_all, :lane_all, :rank_all, :run_at_all,
    :seq_all, :until_rank_all, :limit, :size, :lasting, :starts)

-- name: recalled, reads
SELECT coalesce(lost, '{}') FROM commit_mark WHERE id = :mark

-- name: recalled_jobs, reads
-- Those that are still held under the lease of that claim.
SELECT {job}
FROM (SELECT claimed, leases FROM commit_mark WHERE id = :mark) AS marked,
    unnest(claimed, leases) AS known (held, under),
    LATERAL (SELECT * FROM job WHERE seq = held AND lease = under AND state = 'running' LIMIT 1) AS run
ORDER BY priority DESC, run_at, seq

-- name: tables_to_vacuum, reads
-- A vacuum by another process counts, too. With their schema: VACUUM runs in no transaction, and
-- behind a pooler the search path is that of a transaction.
SELECT format('%I.%I', current_schema(), relname) FROM pg_class
WHERE oid IN ('ready'::REGCLASS, 'running'::REGCLASS, 'tally'::REGCLASS, 'commit_mark'::REGCLASS)
    AND pg_stat_get_dead_tuples(oid) > 1000 AND pg_has_role(relowner, 'USAGE')
    AND coalesce(greatest(pg_stat_get_last_vacuum_time(oid),
        pg_stat_get_last_autovacuum_time(oid)), '-infinity')
        < clock_timestamp() - INTERVAL '3 seconds'

-- name: put_minute
INSERT INTO history (queue, minute, counts) VALUES (:queue, :minute, :happened)
ON CONFLICT (queue, minute) DO UPDATE SET counts = add_counts(history.counts || excluded.counts)

-- name: tallied_queues, reads
SELECT DISTINCT queue FROM tally

-- name: add_up
-- One queue at a time: whoever holds several queues takes them in the order of their names. It
-- fails if another transaction holds it for long, as one of an application may.
WITH waiting AS MATERIALIZED (SELECT set_config('lock_timeout', :patience, TRUE) AS given),
changed AS (
    DELETE FROM tally
    WHERE tally.queue = (SELECT :queue FROM waiting WHERE given IS NOT NULL) RETURNING *
),
summed AS (
    SELECT sum(scheduled) AS scheduled, sum(available) AS available, sum(running) AS running,
        sum(retryable) AS retryable, sum(completed) AS completed, sum(cancelled) AS cancelled,
        sum(discarded) AS discarded
    FROM changed HAVING count(*) > 0
),
counted AS (
    SELECT minute, add_counts(array_agg(code)) AS counts
    FROM changed, unnest(changed.happened) AS code GROUP BY minute
),
kept AS (
    INSERT INTO history (queue, minute, counts) SELECT :queue, minute, counts FROM counted
    ON CONFLICT (queue, minute) DO UPDATE SET counts = add_counts(history.counts || excluded.counts)
)
UPDATE queue SET scheduled = queue.scheduled + summed.scheduled,
    available = queue.available + summed.available, running = queue.running + summed.running,
    retryable = queue.retryable + summed.retryable,
    completed = queue.completed + summed.completed,
    cancelled = queue.cancelled + summed.cancelled,
    discarded = queue.discarded + summed.discarded
FROM summed WHERE queue.name = :queue

-- name: add_up_past
WITH changed AS (
    DELETE FROM past_tally WHERE queue = :queue
        AND (SELECT count(*) FROM past_tally AS each WHERE each.queue = :queue) > 1
    RETURNING *
)
INSERT INTO past_tally (queue, completed, cancelled, discarded, deleted, retried)
SELECT queue, sum(completed), sum(cancelled), sum(discarded), sum(deleted), sum(retried)
FROM changed GROUP BY queue

-- name: lock_job
-- Only a running job is changed by several at once. Whoever takes a job that waits, or is final, out
-- of its table is told if it is no longer there.
SELECT 1 FROM running WHERE id = ANY(:keys) ORDER BY id FOR UPDATE

-- name: lock_queue
SELECT 1 FROM queue WHERE name = ANY(:keys) ORDER BY name FOR UPDATE

-- name: try_lock_queue
SELECT 1 FROM queue WHERE name = :name FOR UPDATE SKIP LOCKED

-- name: lock_queue_soon
-- Waits for each lock of this transaction for so long; then it fails.
SELECT 1 FROM (SELECT set_config('lock_timeout', :patience, TRUE) OFFSET 0) AS waiting, LATERAL (
    SELECT name FROM queue WHERE name = :name FOR UPDATE
) AS found

-- name: limit_waits
SELECT set_config('lock_timeout', :patience, TRUE)

-- name: queue_holders
-- Every lock of a row is also one of its table. Whoever waits for one holds up nobody here. A
-- prepared transaction has no session.
SELECT DISTINCT held.pid, application_name, state,
    extract(epoch FROM clock_timestamp() - xact_start)::INT8 AS seconds
FROM pg_locks AS held LEFT JOIN pg_stat_activity AS session ON session.pid = held.pid
WHERE locktype = 'relation' AND relation = 'queue'::REGCLASS
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND mode IN ('RowShareLock', 'RowExclusiveLock')
    AND held.pid IS DISTINCT FROM pg_backend_pid()
    AND NOT EXISTS (SELECT 1 FROM pg_locks AS waits WHERE waits.pid = held.pid AND NOT granted)
ORDER BY seconds DESC NULLS LAST LIMIT 3

-- name: lock_worker
-- A worker's row may not exist, and reading a lock in a row would write that row.
SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' worker ' || key, 0))
FROM unnest(:keys) AS key

-- name: share_worker
SELECT pg_advisory_xact_lock_shared(hashtextextended(current_schema() || ' worker ' || key, 0))
FROM unnest(:keys) AS key

-- name: deny_mark
-- Waits for the transaction of this mark if that is still running, and keeps it from a late commit.
INSERT INTO commit_mark (id, is_committed) VALUES (:id, FALSE) ON CONFLICT DO NOTHING

-- name: mark, reads
SELECT is_committed FROM commit_mark WHERE id = :id

-- name: forget_marks
-- Those of more than ten minutes ago: a mark begins with the time in milliseconds.
DELETE FROM commit_mark WHERE id IN (
    SELECT id FROM commit_mark
    WHERE id < lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::BIGINT - 600000), 12, '0')
    ORDER BY id LIMIT 10000 FOR UPDATE SKIP LOCKED
)

-- name: held, reads
-- Also what a job has written that its application has completed meanwhile.
SELECT seq, cancel_requested_at, {cancel_reason}, cancel_forced FROM job
WHERE id = :id AND lease = :lease AND (state = 'running' OR EXISTS (
    SELECT 1 FROM completion
    WHERE completion.job = :id AND completion.lease = :lease AND settled_at IS NOT NULL
))

-- name: forget_completions
DELETE FROM completion WHERE settled_at < extract(epoch FROM clock_timestamp()) - 600

-- name: ring
-- NOTIFY writes to the log, but a hint is worth no wait for the disk.
SELECT pg_notify(channel, payload), set_config('synchronous_commit', 'off', TRUE)
FROM unnest(:channels, :payloads) AS hint (channel, payload)

-- name: use_content
UPDATE content SET used_at = :now WHERE digest = :digest RETURNING size, whole

-- name: add_content
INSERT INTO content (digest, size, whole, used_at) VALUES (:digest, 0, FALSE, :now)
ON CONFLICT (digest) DO NOTHING

-- name: lock_content
SELECT size, whole FROM content WHERE digest = :digest FOR UPDATE

-- name: add_piece
INSERT INTO content_piece (digest, position, data) VALUES (:digest, :position, :data)

-- name: grow_content
UPDATE content SET size = :size, whole = :whole, used_at = :now WHERE digest = :digest

-- name: piece_positions, reads
SELECT position FROM content_piece WHERE digest = :digest ORDER BY position

-- name: piece, reads
SELECT data FROM content_piece WHERE digest = :digest AND position = :position

-- name: read_content, reads
SELECT position, substring(data FROM greatest(:offset - position, 0)::INT + 1
    FOR (:stop - greatest(:offset, position))::INT)
FROM content_piece
WHERE digest = :digest AND position < :stop AND position + length(data) > :offset
    AND position >= coalesce((
    SELECT max(position) FROM content_piece WHERE digest = :digest AND position <= :offset
), 0)
ORDER BY position

-- name: whole_content, reads
SELECT 1 FROM content WHERE digest = :digest AND whole

-- name: delete_content
DELETE FROM content WHERE digest = :digest

-- name: unused_contents, reads
SELECT digest FROM content WHERE used_at < :before ORDER BY digest LIMIT 100000

-- name: remove_content
DELETE FROM content WHERE digest = :digest AND used_at < :before RETURNING digest
