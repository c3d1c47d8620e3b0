-- Statements of the PostgreSQL store: those that replace one of sql/statements.sql, then its own.

-- name: tally
INSERT INTO tally (scheduled, available, running, retryable, completed, cancelled, discarded, queue)
VALUES (:scheduled, :available, :running, :retryable, :completed, :cancelled, :discarded, :name)

-- name: set_counts
WITH corrected AS (
    UPDATE queue SET scheduled = :scheduled, available = :available, running = :running,
        retryable = :retryable, completed = :completed, cancelled = :cancelled,
        discarded = :discarded
    WHERE name = :name
)
DELETE FROM tally WHERE queue = :name

-- name: insert_unbounded
-- All of an enqueue in one round trip, if the queue has no bound; answers whether it has none.
WITH unbounded AS MATERIALIZED (SELECT name FROM queue WHERE name = :name AND capacity IS NULL),
added AS (
    INSERT INTO job (id, lane, task, args, options, checksum, state, priority, run_at, enqueued_at,
        expires_at)
    SELECT id, lane, task, args, options, checksum, state, priority, run_at, :now, expires_at
    FROM unbounded CROSS JOIN unnest(:id_all, :lane_all, :task_all, :args_all, :options_all,
        :checksum_all, :state_all, :priority_all, :run_at_all, :expires_at_all)
        WITH ORDINALITY AS given (id, lane, task, args, options, checksum, state, priority, run_at,
            expires_at, number)
    ORDER BY number
),
tallied AS (
    INSERT INTO tally (queue, scheduled, available, running, retryable, completed, cancelled,
        discarded)
    SELECT name, :scheduled, :available, 0, 0, 0, 0, 0 FROM unbounded
)
SELECT 1 FROM unbounded

-- name: insert_one_unbounded
-- The same for one job. A client writes single values several times as fast as arrays.
WITH unbounded AS MATERIALIZED (SELECT name FROM queue WHERE name = :name AND capacity IS NULL),
added AS (
    INSERT INTO job (id, lane, task, args, options, checksum, state, priority, run_at, enqueued_at,
        expires_at)
    SELECT :id, :lane, :task, :args, :options, :checksum, :state, :priority, :run_at, :now,
        :expires_at
    FROM unbounded
),
tallied AS (
    INSERT INTO tally (queue, scheduled, available, running, retryable, completed, cancelled,
        discarded)
    SELECT name, :scheduled, :available, 0, 0, 0, 0, 0 FROM unbounded
)
SELECT 1 FROM unbounded

-- name: settle_plain
SELECT id
FROM settle_plain(:worker, :id_all, :lease_all, :result_all, :checksum_all, :final_at) AS id

-- name: claim_plain
SELECT {job}
FROM claim_plain(:worker, :queue, :lane_all, :known, :limit, :lease_until, :started_at)

-- name: tallied_queues, reads
SELECT DISTINCT queue FROM tally

-- name: add_up
-- One queue at a time: whoever holds several queues takes them in the order of their names.
WITH changed AS (DELETE FROM tally WHERE tally.queue = :queue RETURNING *),
summed AS (
    SELECT sum(scheduled) AS scheduled, sum(available) AS available, sum(running) AS running,
        sum(retryable) AS retryable, sum(completed) AS completed, sum(cancelled) AS cancelled,
        sum(discarded) AS discarded
    FROM changed HAVING count(*) > 0
)
UPDATE queue SET scheduled = queue.scheduled + summed.scheduled,
    available = queue.available + summed.available, running = queue.running + summed.running,
    retryable = queue.retryable + summed.retryable,
    completed = queue.completed + summed.completed,
    cancelled = queue.cancelled + summed.cancelled,
    discarded = queue.discarded + summed.discarded
FROM summed WHERE queue.name = :queue

-- name: lock_job
SELECT 1 FROM job WHERE id = ANY(:keys) ORDER BY id FOR UPDATE

-- name: lock_queue
SELECT 1 FROM queue WHERE name = ANY(:keys) ORDER BY name FOR UPDATE

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

-- name: ring
SELECT pg_notify(channel, payload) FROM unnest(:channels, :payloads) AS hint (channel, payload)

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
