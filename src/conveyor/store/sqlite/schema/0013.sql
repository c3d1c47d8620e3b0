-- What the counts of a queue show no more, for its totals: how many jobs have left each final state
-- (deleted, or retried by hand), how many were deleted, and how many attempts failed and were
-- followed by a retry. Written by whoever deletes or retries, and not while jobs succeed.
CREATE TABLE queue_past (
    queue TEXT PRIMARY KEY,
    completed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    discarded INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    retried INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
