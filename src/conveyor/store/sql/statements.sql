-- All statements of the SQL stores. A header names a statement, and "reads" marks one that changes
-- nothing; a test checks this with SQLite. Parameters are bound in the order in which they first
-- appear. A {placeholder} is what differs between databases (dialect.py), or the columns of a record.
--
-- An UPDATE of a job names the state and the lease that its operation has read. If another
-- transaction was faster, it changes no row, and the operation detects that by the row count.

-- name: queue, reads
SELECT capacity, paused, scheduled, available, running, retryable, completed, cancelled, discarded
FROM {counted_queue} WHERE name = :name

-- name: queue_state, reads
SELECT capacity, paused, {recent}, scheduled, available, running, retryable, completed, cancelled,
    discarded
FROM {counted_queue} WHERE name = :name

-- name: queues, reads
SELECT name, capacity, paused,
    scheduled, available, running, retryable, completed, cancelled, discarded
FROM {counted_queue} ORDER BY name

-- name: queue_with_past, reads
-- In one statement: between two, a job may be deleted, and a total would go back.
SELECT {queue_with_past} FROM {counted_queue} AS queue LEFT JOIN queue_past AS past
    ON past.queue = queue.name
WHERE queue.name = :name

-- name: queues_after, reads
SELECT {queue_with_past} FROM {counted_queue} AS queue LEFT JOIN queue_past AS past
    ON past.queue = queue.name
WHERE :after IS NULL OR queue.name > :after ORDER BY queue.name LIMIT :limit

-- name: stocked_queues, reads
-- Those of the named queues that a claim could serve: with an available job, or with an offer. The
-- names come first in the join, so that each costs one lookup.
SELECT name, capacity, paused, {recent}, scheduled, available, running, retryable, completed,
    cancelled, discarded
FROM {names} AS wanted CROSS JOIN {counted_queue} AS queue
WHERE queue.name = wanted.value AND NOT paused
    AND (available > 0 OR (capacity IS NOT NULL AND EXISTS (
        SELECT 1 FROM offer WHERE offer.queue = queue.name AND answer IS NULL
    )))

-- name: add_queue
INSERT INTO queue (name) VALUES (:name) ON CONFLICT (name) DO NOTHING

-- name: set_capacity
UPDATE queue SET capacity = :capacity WHERE name = :name

-- name: set_paused
UPDATE queue SET paused = :paused, paused_at = :paused_at, paused_by = :paused_by,
    pause_reason = :pause_reason
WHERE name = :name

-- name: pause, reads
SELECT paused_at, paused_by, pause_reason FROM queue WHERE name = :name AND paused

-- name: tally
UPDATE queue SET
    scheduled = scheduled + :scheduled, available = available + :available,
    running = running + :running, retryable = retryable + :retryable,
    completed = completed + :completed, cancelled = cancelled + :cancelled,
    discarded = discarded + :discarded,
    minute = coalesce(:minute, minute), recent = coalesce(:happened, recent)
WHERE name = :name

-- name: set_counts
UPDATE queue SET scheduled = :scheduled, available = :available, running = :running,
    retryable = :retryable, completed = :completed, cancelled = :cancelled, discarded = :discarded
WHERE name = :name

-- name: note_past
INSERT INTO queue_past (queue, completed, cancelled, discarded, deleted, retried)
VALUES (:queue, :completed, :cancelled, :discarded, :deleted, :retried)
ON CONFLICT (queue) DO UPDATE SET completed = queue_past.completed + excluded.completed,
    cancelled = queue_past.cancelled + excluded.cancelled,
    discarded = queue_past.discarded + excluded.discarded,
    deleted = queue_past.deleted + excluded.deleted,
    retried = queue_past.retried + excluded.retried

-- name: lanes, reads
SELECT id, requires FROM lane WHERE queue = :queue

-- name: lane_queue, reads
SELECT queue FROM lane WHERE id = :id

-- name: lane, reads
SELECT id FROM lane WHERE queue = :queue AND requires = :requires

-- name: add_lane
INSERT INTO lane (queue, requires) VALUES (:queue, :requires) RETURNING id

-- name: insert_job
INSERT INTO job (id, lane, task, args, options, checksum, state, priority, run_at, enqueued_at,
    expires_at, unique_key, key_kept)
VALUES (:id, :lane, :task, :args, :options, :checksum, :state, :priority, :run_at, :enqueued_at,
    :expires_at, :unique_key, :key_kept)

-- name: key_holder, reads
SELECT id FROM job WHERE unique_key = :unique_key

-- name: rewrite
UPDATE job SET lane = :lane, args = :args, options = :options, checksum = :checksum,
    state = :state, priority = :priority, run_at = :run_at, expires_at = :expires_at,
    key_kept = :key_kept
WHERE seq = :seq AND state = :state_before AND lease = :lease

-- name: pass_key
UPDATE job SET unique_key = NULL WHERE seq = :seq AND state = 'running' AND lease = :lease

-- name: is_there, reads
SELECT seq FROM job WHERE id = :id

-- name: is_in_queue, reads
SELECT 1 FROM job JOIN lane ON lane.id = job.lane WHERE job.id = :id AND lane.queue = :queue

-- name: add_callback
INSERT INTO callback (job, called_on, run, id, lane, task, priority, args, options, checksum)
SELECT job.seq, :called_on, :run, :callback, :lane, :task, :priority, :args, :options, :checksum
FROM job WHERE job.id = :id

-- name: any_callback, reads
SELECT 1 FROM callback LIMIT 1

-- name: callbacks, reads
SELECT called_on, run, id, lane, task, priority, args, options, checksum
FROM callback WHERE job = :job ORDER BY called_on

-- name: call
-- Not again if this end was called before.
INSERT INTO job (id, lane, task, args, options, checksum, state, priority, run_at, enqueued_at)
SELECT :id, :lane, :task, :args, :options, :checksum, 'available', :priority, :run_at, :run_at
WHERE NOT EXISTS (SELECT 1 FROM job AS known WHERE known.id = :id)
RETURNING lane

-- name: renumber_callback
UPDATE callback SET run = :run, id = :callback, checksum = :checksum
WHERE job = :job AND called_on = :called_on

-- name: delete_callbacks
DELETE FROM callback WHERE job = :job

-- name: offer_of, reads
SELECT offer.seq, offer.answer FROM offered_job JOIN offer ON offer.seq = offered_job.offer
WHERE offered_job.id = :id AND offer.queue = :queue AND offer.until >= :now LIMIT 1

-- name: add_offer
INSERT INTO offer (queue, until, request) VALUES (:queue, :until, :request) RETURNING seq

-- name: add_offered_job
INSERT INTO offered_job (id, offer) VALUES (:id, :offer) ON CONFLICT DO NOTHING

-- name: add_offered_file
INSERT INTO offered_file (digest, offer) VALUES (:digest, :offer) ON CONFLICT DO NOTHING

-- name: offer, reads
SELECT queue, until, answer FROM offer WHERE seq = :seq

-- name: all_offers, reads
SELECT seq, queue, until, request, answer FROM offer ORDER BY seq LIMIT 10000

-- name: offers, reads
SELECT seq, until, request FROM offer WHERE queue = :queue AND answer IS NULL AND seq > :after
ORDER BY seq LIMIT :limit

-- name: count_offers, reads
SELECT count(*) FROM offer WHERE queue = :queue AND answer IS NULL AND until >= :now

-- name: any_offer, reads
SELECT 1 FROM offer WHERE queue = :queue AND answer IS NULL LIMIT 1

-- name: offering_queues, reads
SELECT DISTINCT queue FROM offer WHERE answer IS NULL AND queue IS NOT NULL ORDER BY queue

-- name: keep_offer
UPDATE offer SET until = :until WHERE seq = :seq AND answer IS NULL

-- name: answer_offer
UPDATE offer SET answer = :answer, until = :until WHERE seq = :seq AND answer IS NULL

-- name: delete_offer
DELETE FROM offer WHERE seq = :seq

-- name: delete_old_offers
-- No producer keeps an offer beyond :latest; text is greater than any number.
DELETE FROM offer WHERE until < :now OR until > :latest OR until IS NULL RETURNING seq

-- name: delete_offered_jobs
DELETE FROM offered_job WHERE offer = :offer

-- name: delete_offered_files
DELETE FROM offered_file WHERE offer = :offer

-- name: heads, reads
SELECT {job} FROM job WHERE lane = :lane AND state = 'available'
ORDER BY priority DESC, run_at, seq LIMIT :limit {skip_locked}

-- name: next_of_lane, reads
SELECT {job} FROM job WHERE lane = :lane AND state = 'available'
ORDER BY priority DESC, run_at, seq LIMIT 1

-- name: oldest, reads
SELECT {job} FROM job WHERE lane IN (SELECT id FROM lane WHERE queue = :queue)
    AND state = 'available'
ORDER BY run_at, seq LIMIT :limit {skip_locked}

-- name: set_options
UPDATE job SET options = :options, checksum = :checksum
WHERE seq = :seq AND state = 'available' AND lease = :lease

-- name: lease
UPDATE job SET state = 'running', attempt = attempt + 1, lease = lease + 1, worker = :worker,
    lease_until = :lease_until, started_at = :started_at, stopping = NULL
WHERE seq = :seq AND state = 'available' AND lease = :lease

-- name: succeed
UPDATE job SET state = 'completed', result = :result, result_checksum = :result_checksum,
    final_at = :final_at, lease_until = NULL,
    unique_key = CASE WHEN key_kept THEN unique_key END
WHERE id = :id AND lease = :lease AND state = 'running'
RETURNING id, lane, started_at, seq

-- name: move
UPDATE job SET state = :state, attempt = :attempt, crashes = :crashes, run_at = :run_at,
    error = :error, result = :result, result_checksum = :result_checksum, worker = :worker,
    lease_until = NULL, final_at = :final_at, unsupported_since = :unsupported_since,
    unique_key = CASE WHEN :final_at IS NULL OR key_kept THEN unique_key END
WHERE seq = :seq AND state = :state_before AND lease = :lease

-- name: note
INSERT INTO attempt_error (job, attempt, at, worker, became, error, started_at, due_at, lease,
    fingerprint)
VALUES (:job, :attempt, :at, :worker, :became, :error, :started_at, :due_at, :lease, :fingerprint)

-- name: extend
-- A running job without started_at belongs to a provisional claim, which this confirms.
UPDATE job SET lease_until = :lease_until, started_at = coalesce(started_at, :now)
WHERE id = :id AND lease = :lease AND state = 'running'
RETURNING id, lease, cancel_requested_at, {cancel_reason}, cancel_forced

-- name: extend_worker
UPDATE job SET lease_until = :lease_until
WHERE state = 'running' AND worker = :worker AND started_at IS NOT NULL
RETURNING seq

-- name: held, reads
SELECT seq, cancel_requested_at, {cancel_reason}, cancel_forced FROM job
WHERE id = :id AND lease = :lease AND state = 'running'

-- name: write_output
INSERT INTO output (job, lease, position, stream, at, data)
VALUES (:job, :lease, :position, :stream, :at, :data)
ON CONFLICT (job, lease, position) DO NOTHING

-- name: set_progress
UPDATE job SET progress = :progress WHERE id = :id AND lease = :lease AND state = 'running'
RETURNING cancel_requested_at, {cancel_reason}, cancel_forced

-- name: set_stopping
UPDATE job SET stopping = :stopping WHERE id = :id AND lease = :lease AND state = 'running'
RETURNING cancel_requested_at, {cancel_reason}, cancel_forced

-- name: get, reads
SELECT {job} FROM job WHERE id = :id

-- name: find_sizes, reads
-- Where a page of jobs ends is decided by sizes, which are known without reading the values.
-- At most :rows jobs are looked at.
SELECT {sizes} FROM (
    SELECT {seen} FROM job WHERE seq < :before AND seq > :after ORDER BY seq DESC LIMIT :rows
) AS found WHERE {matching} ORDER BY seq DESC LIMIT :limit

-- name: find_sizes_oldest, reads
SELECT {sizes} FROM (
    SELECT {seen} FROM job WHERE seq < :before AND seq > :after ORDER BY seq LIMIT :rows
) AS found WHERE {matching} ORDER BY seq LIMIT :limit

-- name: find_sizes_among, reads
SELECT {sizes} FROM (
    SELECT {seen} FROM {numbers} AS picked CROSS JOIN job WHERE job.seq = picked.value
) AS found WHERE {matching} ORDER BY seq

-- name: looked_at, reads
SELECT min(seq), max(seq), count(*) FROM (
    SELECT seq FROM job WHERE seq < :before AND seq > :after ORDER BY seq DESC LIMIT :rows
) AS found

-- name: looked_at_oldest, reads
SELECT min(seq), max(seq), count(*) FROM (
    SELECT seq FROM job WHERE seq < :before AND seq > :after ORDER BY seq LIMIT :rows
) AS found

-- name: count_matching, reads
SELECT state, lane, count(*) FROM (
    SELECT {seen} FROM job WHERE seq < :before AND seq > :after ORDER BY seq DESC LIMIT :rows
) AS found WHERE {matching} GROUP BY state, lane

-- name: count_among, reads
SELECT state, lane, count(*) FROM (
    SELECT {seen} FROM {numbers} AS picked CROSS JOIN job WHERE job.seq = picked.value
) AS found WHERE {matching} GROUP BY state, lane

-- name: failed_alike, reads
SELECT DISTINCT job FROM attempt_error
WHERE fingerprint = :error AND job < :before AND job > :after ORDER BY job DESC LIMIT :limit

-- name: failed_alike_oldest, reads
SELECT DISTINCT job FROM attempt_error
WHERE fingerprint = :error AND job < :before AND job > :after ORDER BY job LIMIT :limit

-- name: some_available, reads
SELECT seq FROM job WHERE state = 'available' LIMIT :limit

-- name: some_later, reads
SELECT seq FROM job WHERE state IN ('scheduled', 'retryable') LIMIT :limit

-- name: some_running, reads
SELECT seq FROM job WHERE state = 'running' LIMIT :limit

-- name: some_final, reads
SELECT seq FROM job WHERE state = :state AND final_at IS NOT NULL LIMIT :limit

-- name: find, reads
SELECT {listed_job} FROM job WHERE seq IN (SELECT value FROM {numbers} AS picked) ORDER BY seq

-- name: ids_of, reads
SELECT job.id FROM {numbers} AS picked CROSS JOIN job WHERE job.seq = picked.value
ORDER BY job.seq DESC

-- name: history_sizes, reads
SELECT seq, size FROM (
    SELECT seq, length(error) AS size, became FROM attempt_error WHERE job = :job
    ORDER BY seq DESC LIMIT 1000
) AS newest WHERE seq > :after AND (:all_of_them OR became <> 'completed')
ORDER BY seq LIMIT :limit

-- name: history, reads
SELECT seq, attempt, at, worker, became, error, started_at, due_at, lease, fingerprint
FROM attempt_error
WHERE job = :job AND seq BETWEEN :first AND :last AND (:all_of_them OR became <> 'completed')
ORDER BY seq

-- name: newest_failures, reads
-- The index has all of these columns but two, which are read of the attempts that are shown.
SELECT entry.seq, entry.fingerprint, job.id, job.task, job.lane, entry.at, entry.became
FROM (
    SELECT seq, fingerprint, at, job, became FROM attempt_error
    WHERE fingerprint IS NOT NULL ORDER BY seq DESC LIMIT :limit
) AS entry CROSS JOIN job WHERE job.seq = entry.job
ORDER BY entry.seq DESC

-- name: attempt, reads
SELECT seq, attempt, at, worker, became, error, started_at, due_at, lease, fingerprint
FROM attempt_error WHERE seq = :seq

-- name: output_sizes, reads
SELECT seq, length(data) FROM output WHERE job = :job AND seq > :after ORDER BY seq LIMIT :limit

-- name: output_sizes_before, reads
SELECT seq, length(data) FROM output WHERE job = :job AND seq < :before
ORDER BY seq DESC LIMIT :limit

-- name: output, reads
SELECT seq, lease, position, stream, at, data FROM output
WHERE job = :job AND seq BETWEEN :first AND :last ORDER BY seq

-- name: ahead, reads
SELECT count(*) FROM job
WHERE state = 'available' AND lane IN (SELECT id FROM lane WHERE queue = :queue)
    AND (priority > :priority OR (priority = :priority
        AND (run_at < :run_at OR (run_at = :run_at AND seq < :seq))))

-- name: offered, reads
SELECT offer.queue FROM offered_job JOIN offer ON offer.seq = offered_job.offer
WHERE offered_job.id = :id AND offer.answer IS NULL AND offer.until >= :now LIMIT 1

-- name: request_cancel
UPDATE job SET cancel_requested_at = coalesce(cancel_requested_at, :now),
    cancel_reason = coalesce(cancel_reason, :reason), cancel_forced = cancel_forced OR :forced
WHERE seq = :seq AND state = 'running' AND lease = :lease

-- name: renew
UPDATE job SET state = :state, attempt = 0, crashes = 0, run_at = :run_at, final_at = NULL,
    result = NULL, result_checksum = NULL, cancel_requested_at = NULL, cancel_reason = NULL,
    cancel_forced = FALSE, stopping = NULL, unsupported_since = NULL, unique_key = :unique_key
WHERE seq = :seq AND state = :state_before AND lease = :lease

-- name: adopt
-- Nothing finds a job whose state is unknown, in a damaged row.
UPDATE job SET state = :state, final_at = :final_at
WHERE seq = :seq AND state NOT IN ('scheduled', 'available', 'running', 'retryable', 'completed',
    'cancelled', 'discarded')
RETURNING seq

-- name: seq_bounds, reads
SELECT (SELECT min(seq) FROM job), (SELECT max(seq) FROM job)

-- name: strays, reads
-- Jobs that no other statement finds, in damaged rows: their state or their lane is unknown. A row
-- is read as far as its state, past its arguments, so their size is limited as well as the number.
SELECT {job} FROM job WHERE seq IN (
    SELECT seq FROM (
        SELECT seq, bytes, sum(bytes) OVER (ORDER BY seq) AS total FROM (
            SELECT seq, length(args) AS bytes FROM job
            WHERE seq >= :first ORDER BY seq LIMIT :rows
        ) AS sized
    ) AS summed WHERE total - bytes <= 16000000
) AND (
    state NOT IN ('scheduled', 'available', 'running', 'retryable', 'completed', 'cancelled',
        'discarded')
    OR (state = 'available' AND lane NOT IN (SELECT id FROM lane))
)
ORDER BY seq LIMIT 1000

-- name: count_unfinished, reads
-- In parts, so that each part walks the index of its states.
SELECT lane.queue, state, count(*) FROM job JOIN lane ON lane.id = job.lane
WHERE state = 'available' GROUP BY lane.queue, state
UNION ALL
SELECT lane.queue, state, count(*) FROM job JOIN lane ON lane.id = job.lane
WHERE state IN ('scheduled', 'retryable') GROUP BY lane.queue, state
UNION ALL
SELECT lane.queue, state, count(*) FROM job JOIN lane ON lane.id = job.lane
WHERE state = 'running' GROUP BY lane.queue, state

-- name: count_queue, reads
SELECT state, count(*) FROM job WHERE lane IN (SELECT id FROM lane WHERE queue = :queue)
    AND state IN ('scheduled', 'available', 'running', 'retryable', 'completed', 'cancelled',
        'discarded')
GROUP BY state

-- name: repair
-- What a run leaves on a job, of which something is damaged.
UPDATE job SET priority = :priority, enqueued_at = :enqueued_at, expires_at = :expires_at,
    lease = :lease, run_at = 0, attempt = 0, crashes = 0, worker = NULL, lease_until = NULL,
    started_at = NULL, final_at = NULL, cancel_requested_at = NULL, cancel_reason = NULL,
    cancel_forced = FALSE, result = NULL, result_checksum = NULL, error = NULL, progress = NULL,
    stopping = NULL, unsupported_since = NULL
WHERE seq = :seq

-- name: delete_job
DELETE FROM job WHERE seq = :seq AND state = :state

-- name: delete_history
DELETE FROM attempt_error WHERE job = :job

-- name: delete_output
DELETE FROM output WHERE job = :job

-- name: add_input
INSERT INTO file (job, kind, name, digest, size, executable)
SELECT seq, :kind, :name, :digest, :size, :executable FROM job WHERE id = :id

-- name: attach
INSERT INTO file (job, kind, name, digest, size, executable, lease)
VALUES (:job, 'artifact', :name, :digest, :size, :executable, :lease)
ON CONFLICT (job, kind, name) DO UPDATE SET digest = excluded.digest, size = excluded.size,
    executable = excluded.executable, lease = excluded.lease

-- name: count_others, reads
SELECT count(*) FROM file WHERE job = :job AND kind = 'artifact' AND name <> :name

-- name: files, reads
SELECT name, digest, size, kind, executable, lease FROM file
WHERE job = :job ORDER BY kind DESC, name

-- name: refers, reads
SELECT 1 FROM file WHERE digest = :digest
UNION ALL
SELECT 1 FROM offered_file JOIN offer ON offer.seq = offered_file.offer
WHERE offered_file.digest = :digest AND offer.answer IS NULL
LIMIT 1

-- name: delete_inputs
DELETE FROM file WHERE job = :job AND kind <> 'artifact'

-- name: delete_files
DELETE FROM file WHERE job = :job

-- name: upkeep, reads
-- Whether a round of upkeep has anything to do, and when the next job is due: most rounds end here.
SELECT EXISTS (
        SELECT 1 FROM job WHERE state IN ('scheduled', 'retryable') AND run_at <= :now
    ) OR EXISTS (
        SELECT 1 FROM job
        WHERE expires_at IS NOT NULL AND state IN ('scheduled', 'available', 'retryable')
            AND expires_at <= :now
    ) OR EXISTS (SELECT 1 FROM offer),
    (SELECT run_at FROM job WHERE state IN ('scheduled', 'retryable') ORDER BY run_at LIMIT 1)

-- name: any_lapsed, reads
-- Whether there are jobs for `leaseless` or `lapsed`.
SELECT 1
WHERE EXISTS (SELECT 1 FROM job WHERE state = 'running' AND lease_until IS NULL)
    OR EXISTS (SELECT 1 FROM job WHERE state = 'running' AND lease_until < :now)

-- name: due, reads
SELECT seq, lane, state FROM job
WHERE state IN ('scheduled', 'retryable') AND run_at <= :now ORDER BY run_at LIMIT :limit
{skip_locked}

-- name: next_due, reads
SELECT run_at FROM job WHERE state IN ('scheduled', 'retryable') ORDER BY run_at LIMIT 1

-- name: make_available
UPDATE job SET state = 'available'
WHERE seq = :seq AND state IN ('scheduled', 'retryable') AND run_at <= :now

-- name: expired, reads
SELECT {job} FROM job
WHERE expires_at IS NOT NULL AND state IN ('scheduled', 'available', 'retryable')
    AND expires_at <= :now
ORDER BY expires_at LIMIT :limit {skip_locked}

-- name: lapsed, reads
SELECT {job} FROM job WHERE state = 'running' AND lease_until < :now
ORDER BY lease_until LIMIT :limit {skip_locked}

-- name: leaseless, reads
-- Only a damaged row runs without a lease.
SELECT {job} FROM job WHERE state = 'running' AND lease_until IS NULL LIMIT :limit {skip_locked}

-- name: of_worker, reads
SELECT {job} FROM job WHERE state = 'running' AND worker = :worker LIMIT :limit
{skip_locked}

-- name: old, reads
SELECT seq, lane FROM job WHERE state = :state AND final_at IS NOT NULL AND final_at < :before
ORDER BY final_at LIMIT :limit {skip_locked}

-- name: beat
INSERT INTO worker (id, beat_at, info) VALUES (:id, :beat_at, :info)
ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at, info = excluded.info
RETURNING quiet

-- name: is_held_back, reads
SELECT 1 FROM worker WHERE id = :id AND quiet IN (1, 2)

-- name: standing, reads
SELECT beat_at, quiet FROM worker WHERE id = :id

-- name: count_held, reads
SELECT count(*) FROM job WHERE state = 'running' AND worker = :worker

-- name: order
-- 0 is "work", 1 is "quiet" and 2 is "drain"; the column is older than the third order.
UPDATE worker SET quiet = :number WHERE id = :id

-- name: leave
DELETE FROM worker WHERE id = :id

-- name: workers, reads
SELECT id, beat_at, info, quiet FROM worker WHERE :after IS NULL OR id > :after
ORDER BY id LIMIT :limit

-- name: worker_sizes, reads
SELECT length(info) FROM worker WHERE :after IS NULL OR id > :after ORDER BY id LIMIT :limit

-- name: used_lanes, reads
-- The lane without labels is the first of its queue, because it is likely to be the longest.
SELECT id, queue, requires FROM lane
WHERE queue IS NOT NULL AND (
    id IN (SELECT lane FROM job WHERE state = 'running')
    OR EXISTS (SELECT 1 FROM job WHERE job.lane = lane.id AND state = 'available')
)
ORDER BY queue, requires <> '[]', id

-- name: running_in_queue, reads
-- Walks all running jobs, which are as many as there are slots.
SELECT lane, count(*) FROM job
WHERE state = 'running' AND lane IN (SELECT id FROM lane WHERE queue = :queue) GROUP BY lane

-- name: running_by_lane, reads
SELECT lane, count(*) FROM job WHERE state = 'running' GROUP BY lane

-- name: count_lane, reads
SELECT count(*) FROM job WHERE lane = :lane AND state = 'available'

-- name: oldest_by_priority, reads
SELECT (
    SELECT run_at FROM job
    WHERE job.lane = :lane AND state = 'available' AND job.priority = each.priority
    ORDER BY run_at LIMIT 1
)
FROM (
    -- One index lookup for each priority, from the highest to the lowest.
    WITH RECURSIVE each (priority) AS (
        SELECT (SELECT max(priority) FROM job WHERE lane = :lane AND state = 'available')
        UNION ALL
        SELECT (
            SELECT max(job.priority) FROM job
            WHERE lane = :lane AND state = 'available' AND job.priority < each.priority
        )
        FROM each WHERE each.priority IS NOT NULL
    )
    SELECT priority FROM each WHERE priority IS NOT NULL LIMIT :limit
) AS each

-- name: oldest_in_lane, reads
SELECT min(run_at) FROM job WHERE lane = :lane AND state = 'available'

-- name: leader, reads
SELECT {leader} FROM leader WHERE name = :name

-- name: leaders, reads
SELECT name, until, since, term FROM leader ORDER BY name LIMIT 1000

-- name: put_leader
INSERT INTO leader ({leader})
VALUES (:name, :holder, :until, :since, :term, :note)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until,
    since = excluded.since, term = excluded.term, note = excluded.note
-- A damaged row, whose end may be text, which is greater than any number, does not protect itself.
WHERE leader.term = :term_before AND leader.until = :until_before
    OR leader.term IS NULL OR leader.until IS NULL OR leader.until > 1e15

-- name: put_task
INSERT INTO task (name, defaults) VALUES (:name, :defaults)
ON CONFLICT (name) DO UPDATE SET defaults = excluded.defaults

-- name: tasks, reads
SELECT name, defaults FROM task ORDER BY name LIMIT 10000

-- name: task, reads
SELECT defaults FROM task WHERE name = :name

-- name: schedule, reads
SELECT {schedule} FROM schedule WHERE name = :name

-- name: schedules, reads
SELECT {schedule} FROM schedule WHERE :after IS NULL OR name > :after
ORDER BY name LIMIT :limit

-- name: recent_jobs, reads
SELECT recent FROM schedule WHERE name = :name

-- name: put_schedule
INSERT INTO schedule (name, cron, timezone, missed, next_at)
VALUES (:name, :cron, :timezone, :missed, :next_at)
ON CONFLICT (name) DO UPDATE SET cron = excluded.cron, timezone = excluded.timezone,
    missed = excluded.missed, next_at = excluded.next_at

-- name: pause_schedule
UPDATE schedule SET paused = :paused, paused_at = :paused_at, paused_by = :paused_by,
    pause_reason = :pause_reason
WHERE name = :name RETURNING name

-- name: make_schedule_due
UPDATE schedule SET next_at = :next_at WHERE name = :name AND NOT paused RETURNING name

-- name: remove_schedule
DELETE FROM schedule WHERE name = :name RETURNING name

-- name: tick
UPDATE schedule SET next_at = :next_at, last_at = :due_at, recent = :recent
WHERE name = :name AND next_at = :due_at AND NOT paused
RETURNING name

-- name: add_token
INSERT INTO token ({token})
VALUES (:id, :name, :digest, :scopes, :queues, :created_at, :expires_at, :revoked_at)
ON CONFLICT (id) DO NOTHING
RETURNING id

-- name: token, reads
SELECT {token} FROM token
WHERE id = :id

-- name: tokens, reads
SELECT {token} FROM token
WHERE id > :after ORDER BY id LIMIT :limit

-- name: revoke_token
UPDATE token SET revoked_at = coalesce(revoked_at, :now) WHERE id = :id

-- name: delete_old_tokens
DELETE FROM token WHERE id IN (
    SELECT id FROM token WHERE revoked_at < :before OR expires_at < :before LIMIT :limit
)

-- name: request_stack
INSERT INTO stack_dump (job, lease, worker, asked_at)
VALUES (:id, :lease, :worker, :now)
ON CONFLICT (job) DO UPDATE SET lease = excluded.lease, worker = excluded.worker,
    asked_at = excluded.asked_at, taken_at = NULL, dump = NULL

-- name: delete_surplus_stacks
DELETE FROM stack_dump WHERE job IN (
    SELECT job FROM stack_dump ORDER BY asked_at DESC LIMIT 1000 OFFSET :offset
)

-- name: stack_requests, reads
SELECT job, lease FROM stack_dump WHERE worker = :worker AND taken_at IS NULL
ORDER BY asked_at LIMIT :limit

-- name: put_stack
UPDATE stack_dump SET taken_at = :now, dump = :dump
WHERE job = :id AND lease = :lease AND taken_at IS NULL AND EXISTS (
    SELECT 1 FROM job WHERE id = stack_dump.job AND lease = stack_dump.lease AND state = 'running'
)
RETURNING job

-- name: stack, reads
SELECT asked_at, taken_at, dump FROM stack_dump WHERE job = :id AND asked_at >= :since

-- name: delete_old_stacks
DELETE FROM stack_dump WHERE job IN (
    SELECT job FROM stack_dump WHERE asked_at < :before LIMIT :limit
)

-- name: note_action
INSERT INTO audit (at, who, place, what, subject, detail, reason, count)
VALUES (:at, :who, :place, :what, :subject, :detail, :reason, :count)

-- name: actions, reads
-- At most :rows entries are looked at.
SELECT seq, at, who, place, what, subject, detail, reason, count FROM (
    SELECT * FROM audit WHERE seq < :before ORDER BY seq DESC LIMIT :rows
) AS found
WHERE (:who IS NULL OR who = :who) AND (:what IS NULL OR what = :what)
    AND (:subject IS NULL OR subject = :subject)
    AND (:since IS NULL OR at >= :since) AND (:until IS NULL OR at < :until)
ORDER BY seq DESC LIMIT :limit

-- name: oldest_action, reads
SELECT min(seq), count(*) FROM (
    SELECT seq FROM audit WHERE seq < :before ORDER BY seq DESC LIMIT :rows
) AS found

-- name: delete_old_actions
DELETE FROM audit WHERE seq IN (
    SELECT seq FROM audit WHERE at < :before ORDER BY at LIMIT :limit
)

-- name: minute, reads
SELECT counts FROM history WHERE queue = :queue AND minute = :minute

-- name: put_minute
INSERT INTO history (queue, minute, counts) VALUES (:queue, :minute, :happened)
ON CONFLICT (queue, minute) DO UPDATE SET counts = excluded.counts

-- name: minutes, reads
SELECT queue, minute, counts FROM history
WHERE minute <= :last AND (minute, queue) > (:first, :after) ORDER BY minute, queue LIMIT :limit

-- name: minutes_of, reads
SELECT queue, minute, counts FROM history
WHERE queue = :queue AND minute <= :last AND minute > :first ORDER BY minute LIMIT :limit

-- name: recent_minutes, reads
-- What is not in `history` yet.
{recent_minutes}

-- name: delete_old_minutes
DELETE FROM history WHERE (queue, minute) IN (
    SELECT queue, minute FROM history WHERE minute < :before ORDER BY minute, queue LIMIT :limit
)

-- name: count_queues, reads
SELECT count(*) FROM queue

-- name: minute_behind, reads
-- The newest minute that has more than so many rows after it.
SELECT minute FROM history ORDER BY minute DESC LIMIT 1 OFFSET :offset

-- name: add_mark
INSERT INTO mark (at, kind, text, who, scope) VALUES (:at, :kind, :text, :who, :scope)
RETURNING seq

-- name: newest_release, reads
SELECT text FROM mark WHERE scope = :scope AND kind = 'release' ORDER BY seq DESC LIMIT 1

-- name: marks, reads
SELECT seq, at, kind, text, who, scope FROM mark
WHERE seq < :before ORDER BY seq DESC LIMIT :limit

-- name: delete_old_marks
DELETE FROM mark WHERE seq IN (
    SELECT seq FROM mark WHERE at < :before OR seq <= (SELECT max(seq) FROM mark) - :most
    ORDER BY seq LIMIT :limit
)

-- name: longest_running, reads
-- Walks all running jobs, which are as many as there are slots.
SELECT {listed_job} FROM job
WHERE state = 'running' AND (:stopping IS NULL OR cancel_requested_at IS NOT NULL)
ORDER BY CASE WHEN :stopping IS NULL THEN started_at ELSE cancel_requested_at END, seq LIMIT :limit

-- name: end_damaged
UPDATE job SET state = :state, final_at = :final_at, error = :error, lease_until = NULL,
    unique_key = NULL
WHERE seq = :seq AND state = :state_before

-- name: integrity, reads
{integrity_check}

-- name: scan, reads
SELECT {job} FROM job WHERE seq > :after ORDER BY seq LIMIT 32

-- name: count_states, reads
SELECT lane.queue, job.state, count(*) FROM job JOIN lane ON lane.id = job.lane
GROUP BY lane.queue, job.state

-- Statements of a move to another store. In the source they walk tables by their keys; which bytes
-- a page has is known before its values are read.

-- name: freeze
{freeze}

-- name: thaw
{thaw}

-- name: copy_leader
INSERT INTO leader ({leader})
VALUES (:name, :holder, :until, :since, :term, :note)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until,
    since = excluded.since, term = excluded.term, note = excluded.note

-- name: advance_mark
UPDATE leader SET note = :note WHERE name = :name AND note = :note_before RETURNING name

-- name: remove_mark
DELETE FROM leader WHERE name = :name

-- name: content_of_store, reads
-- What there is of each kind, as far as it matters whether there is any.
SELECT 'jobs', count(*) FROM (SELECT 1 FROM job LIMIT 1) AS found
UNION ALL SELECT 'schedules', count(*) FROM (SELECT 1 FROM schedule LIMIT 1) AS found
UNION ALL SELECT 'tasks', count(*) FROM (SELECT 1 FROM task LIMIT 1) AS found
UNION ALL SELECT 'tokens', count(*) FROM (SELECT 1 FROM token LIMIT 1) AS found
UNION ALL SELECT 'an audit log', count(*) FROM (SELECT 1 FROM audit LIMIT 1) AS found
UNION ALL SELECT 'queues', count(*) FROM (SELECT 1 FROM queue LIMIT 1) AS found

-- name: count_leased, reads
SELECT count(*), max(lease_until) FROM job WHERE state = 'running' AND lease_until >= :now

-- name: count_waiting_offers, reads
SELECT count(*) FROM offer WHERE answer IS NULL AND until >= :now

-- name: current_leaders, reads
SELECT name, holder FROM leader WHERE until >= :now ORDER BY name LIMIT 100

-- name: moved_queues, reads
SELECT name, capacity, paused, paused_at, paused_by, pause_reason FROM queue
WHERE name > :name ORDER BY name LIMIT :limit

-- name: moved_past, reads
SELECT queue, completed, cancelled, discarded, deleted, retried FROM queue_past
WHERE queue > :name ORDER BY queue LIMIT :limit

-- name: moved_job_sizes, reads
SELECT seq, length(args) + length(options) + coalesce(length(result), 0)
    + coalesce(length(progress), 0) + coalesce(length(stopping), 0)
FROM job WHERE seq > :after ORDER BY seq LIMIT :limit

-- name: moved_jobs, reads
SELECT (SELECT queue FROM lane WHERE lane.id = job.lane),
    (SELECT requires FROM lane WHERE lane.id = job.lane), {moved_job}
FROM job WHERE seq BETWEEN :first AND :last ORDER BY seq

-- name: add_moved_job
INSERT INTO job (lane, {moved_job})
VALUES (:lane, {moved_job_values})

-- name: job_numbers, reads
SELECT job.id, job.seq FROM {names} AS wanted CROSS JOIN job WHERE job.id = wanted.value

-- name: moved_error_sizes, reads
SELECT seq, length(error) FROM attempt_error WHERE seq > :after ORDER BY seq LIMIT :limit

-- name: moved_errors, reads
SELECT job.id, entry.attempt, entry.at, entry.worker, entry.became, entry.error,
    entry.started_at, entry.due_at, entry.lease, entry.fingerprint
FROM attempt_error AS entry JOIN job ON job.seq = entry.job
WHERE entry.seq BETWEEN :first AND :last ORDER BY entry.seq

-- name: moved_output_sizes, reads
SELECT seq, length(data) FROM output WHERE seq > :after ORDER BY seq LIMIT :limit

-- name: moved_output, reads
SELECT job.id, entry.lease, entry.position, entry.stream, entry.at, entry.data
FROM output AS entry JOIN job ON job.seq = entry.job
WHERE entry.seq BETWEEN :first AND :last ORDER BY entry.seq

-- name: moved_files, reads
SELECT file.job, job.id, file.kind, file.name, file.digest, file.size, file.executable, file.lease
FROM file JOIN job ON job.seq = file.job
WHERE (file.job, file.kind, file.name) > (:job, :kind, :name)
ORDER BY file.job, file.kind, file.name LIMIT :limit

-- name: add_moved_file
INSERT INTO file (job, kind, name, digest, size, executable, lease)
VALUES (:job, :kind, :name, :digest, :size, :executable, :lease)

-- name: moved_callbacks, reads
SELECT callback.job, job.id, callback.called_on, callback.run, callback.id,
    (SELECT queue FROM lane WHERE lane.id = callback.lane),
    (SELECT requires FROM lane WHERE lane.id = callback.lane),
    callback.task, callback.priority, callback.args, callback.options, callback.checksum
FROM callback JOIN job ON job.seq = callback.job
WHERE (callback.job, callback.called_on) > (:job, :called_on)
ORDER BY callback.job, callback.called_on LIMIT :limit

-- name: add_moved_callback
INSERT INTO callback (job, called_on, run, id, lane, task, priority, args, options, checksum)
VALUES (:job, :called_on, :run, :callback, :lane, :task, :priority, :args, :options, :checksum)

-- name: moved_digests, reads
SELECT digest, max(size) FROM file WHERE digest > :digest GROUP BY digest
ORDER BY digest LIMIT :limit

-- name: moved_schedules, reads
SELECT {schedule}, recent FROM schedule WHERE name > :name ORDER BY name LIMIT :limit

-- name: add_moved_schedule
INSERT INTO schedule ({schedule}, recent)
VALUES (:name, :cron, :timezone, :missed, :next_at, :last_at, :paused, :paused_at, :paused_by,
    :pause_reason, :recent)

-- name: moved_tasks, reads
SELECT name, defaults FROM task WHERE name > :name ORDER BY name LIMIT :limit

-- name: moved_actions, reads
SELECT seq, at, who, place, what, subject, detail, reason, count FROM audit
WHERE seq > :after ORDER BY seq LIMIT :limit

-- name: moved_marks, reads
SELECT seq, at, kind, text, who, scope FROM mark WHERE seq > :after ORDER BY seq LIMIT :limit

-- name: moved_leaders, reads
SELECT {leader} FROM leader WHERE name > :name AND name <> :mark ORDER BY name LIMIT :limit
