-- compatible with 2
-- The jobs that are enqueued when another one ends.

-- A row has the job as it is enqueued after a success; after another end its arguments say so. Not
-- in the options of the job that ends: it is called although the row of that one is damaged.
CREATE TABLE callback (
    job BIGINT NOT NULL,
    -- 'discarded' or 'finished'
    called_on TEXT COLLATE "C" NOT NULL,
    -- Counts the runs of the job: a manual retry begins another one.
    run BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    lane BIGINT NOT NULL,
    task TEXT COLLATE "C" NOT NULL,
    priority BIGINT NOT NULL,
    args BYTEA NOT NULL,
    options BYTEA NOT NULL,
    checksum BIGINT NOT NULL,
    PRIMARY KEY (job, called_on)
);

-- As the other tables from which old jobs are deleted.
ALTER TABLE callback SET (autovacuum_vacuum_scale_factor = 0.03, autovacuum_vacuum_threshold = 10000);
ALTER TABLE file SET (autovacuum_vacuum_scale_factor = 0.03, autovacuum_vacuum_threshold = 10000);

-- Enqueues the callbacks of jobs that succeeded, whichever statement has settled them: one round
-- trip for many, or the commit of a transaction of the application. Other ends are called by the
-- shared operations, which know the error. Every writer of `final` has the search path.
CREATE FUNCTION call_finished() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    stocked TEXT[];
    each TEXT;
BEGIN
    IF NOT EXISTS (SELECT FROM callback) THEN
        RETURN NULL;
    END IF;
    -- A lateral subquery with a limit is never made a part of the join: each row walks the key.
    WITH called AS MATERIALIZED (
        SELECT nextval('job_seq') AS seq, ended.final_at AS moment, found.*
        FROM ended, LATERAL (
            SELECT callback.id, callback.lane, callback.task, callback.priority, callback.args,
                callback.options, callback.checksum
            FROM callback
            WHERE callback.job = ended.seq AND callback.called_on = 'finished' LIMIT 1
        ) AS found
        -- A row that is being repaired has no time.
        WHERE ended.state = 'completed' AND ended.final_at IS NOT NULL
            AND NOT EXISTS (SELECT FROM body WHERE body.id = found.id)
    ),
    described AS (
        INSERT INTO body (seq, priority, enqueued_at, checksum, id, task, options, args)
        SELECT seq, priority, moment, checksum, id, task, options, args FROM called
    ),
    waiting AS (
        INSERT INTO ready (lane, rank, run_at, seq, size, id)
        SELECT lane, ~priority, moment, seq, length(args) + length(options), id FROM called
    ),
    counted AS MATERIALIZED (
        SELECT of_lane.queue, sum(number.jobs) AS jobs
        FROM (SELECT lane, count(*) AS jobs FROM called GROUP BY lane) AS number, LATERAL (
            SELECT lane.queue FROM lane WHERE lane.id = number.lane LIMIT 1
        ) AS of_lane
        GROUP BY of_lane.queue
    ),
    tallied AS (
        INSERT INTO tally (queue, scheduled, available, running, retryable, completed, cancelled,
            discarded, minute, happened)
        SELECT queue, 0, jobs, 0, 0, 0, 0, 0, (
            SELECT floor(min(moment) / 60)::BIGINT FROM called
        ), ARRAY[64 * jobs::BIGINT] FROM counted
    )
    SELECT array_agg(queue) INTO stocked FROM counted;
    FOREACH each IN ARRAY coalesce(stocked, '{}') LOOP
        PERFORM pg_notify(current_schema() || '.work', replace(each, E'\x1a', E'\x1a1'));
    END LOOP;
    RETURN NULL;
END $$;

CREATE TRIGGER call_finished AFTER INSERT ON final REFERENCING NEW TABLE AS ended
FOR EACH STATEMENT EXECUTE FUNCTION call_finished();
