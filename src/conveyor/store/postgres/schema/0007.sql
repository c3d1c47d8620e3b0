-- compatible with 2
-- What the counts of a queue show no more, for its totals: how many jobs have left each final state
-- (deleted, or retried by hand), how many were deleted, and how many attempts failed and were
-- followed by a retry. Changes are rows of their own, which are added up like those of `tally`.
CREATE TABLE past_tally (
    queue TEXT COLLATE "C" NOT NULL,
    completed BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    discarded BIGINT NOT NULL,
    deleted BIGINT NOT NULL,
    retried BIGINT NOT NULL
);
CREATE INDEX past_tally_queue ON past_tally (queue);

CREATE VIEW queue_past AS
SELECT queue, sum(completed)::BIGINT AS completed, sum(cancelled)::BIGINT AS cancelled,
    sum(discarded)::BIGINT AS discarded, sum(deleted)::BIGINT AS deleted,
    sum(retried)::BIGINT AS retried
FROM past_tally GROUP BY queue;
