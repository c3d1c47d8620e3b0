-- compatible with 1
-- Completing a job in the application's own transaction.

-- What is to be completed at the commit of the transaction that has written this. The job itself is
-- not locked before: a transaction that stays open must not keep the worker from renewing leases.
CREATE TABLE completion (
    job TEXT COLLATE "C" NOT NULL,
    lease BIGINT NOT NULL,
    result BYTEA,
    result_checksum BIGINT,
    -- Set at the commit. The row stays for ten minutes, in which the worker may add what the job has
    -- written.
    settled_at DOUBLE PRECISION,
    PRIMARY KEY (job, lease)
);
CREATE INDEX completion_settled ON completion (settled_at) WHERE settled_at IS NOT NULL;

-- Completes a running job at the commit, in the transaction that calls this; FALSE if its lease is
-- lost. Unlike the statements of Conveyor's own connections, it does not rely on the search path.
CREATE FUNCTION complete_job(
    wanted TEXT, held BIGINT, given_result BYTEA, given_checksum BIGINT
) RETURNS BOOLEAN LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM job WHERE id = wanted AND lease = held AND state LIKE 'running'
    ) THEN
        RETURN FALSE;
    END IF;
    INSERT INTO completion (job, lease, result, result_checksum)
    VALUES (wanted, held, given_result, given_checksum)
    ON CONFLICT (job, lease) DO UPDATE SET result = excluded.result,
        result_checksum = excluded.result_checksum
        -- Another transaction has completed the job while this one waited for its row.
        WHERE completion.settled_at IS NULL;
    RETURN FOUND;
END $$;

-- As "succeed" of sql/statements.sql. What it has read of the job may have changed meanwhile, by a
-- renewal of its lease, so it looks again before it fails the transaction.
CREATE FUNCTION settle_completion() RETURNS TRIGGER LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
DECLARE
    given completion;
    settled BIGINT;
BEGIN
    SELECT * INTO given FROM completion
    WHERE completion.job = NEW.job AND completion.lease = NEW.lease;
    FOR tries IN 1..20 LOOP
        UPDATE job SET state = 'completed', result = given.result,
            result_checksum = given.result_checksum,
            final_at = extract(epoch FROM clock_timestamp()), lease_until = NULL,
            unique_key = CASE WHEN key_kept THEN unique_key END
        WHERE id = given.job AND lease = given.lease AND state LIKE 'running'
        RETURNING lane INTO settled;
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
        discarded)
    SELECT lane.queue, 0, 0, -1, 0, 1, 0, 0 FROM lane WHERE lane.id = settled;
    PERFORM pg_notify(current_schema() || '.final', replace(given.job, E'\x1a', E'\x1a1'));
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER settle_completion AFTER INSERT ON completion
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION settle_completion();
