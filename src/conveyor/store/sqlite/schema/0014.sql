-- Dumps of what running jobs do: at most 1,000, for an hour. They are requested by operators.
CREATE TABLE stack_dump (
    job TEXT PRIMARY KEY,
    lease INTEGER NOT NULL,
    worker TEXT NOT NULL,
    asked_at REAL NOT NULL,
    taken_at REAL,
    dump BLOB
) STRICT, WITHOUT ROWID;
