-- What happens in each queue, minute by minute, and marks in that history. `counts` is JSON: see
-- core/history.py. The row of a queue has its present minute, because every change of its counts
-- writes that row anyway; the first change in another minute moves it into `history`.
ALTER TABLE queue ADD COLUMN minute INTEGER;
ALTER TABLE queue ADD COLUMN recent TEXT;

CREATE TABLE history (
    queue TEXT NOT NULL,
    -- Unix seconds / 60
    minute INTEGER NOT NULL,
    counts TEXT NOT NULL,
    PRIMARY KEY (queue, minute)
) STRICT, WITHOUT ROWID;
CREATE INDEX history_minute ON history (minute);

-- Deploys and what people note. `scope`: the queues of the worker that a release was first seen on
-- (JSON), because several applications may share a store.
CREATE TABLE mark (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    who TEXT NOT NULL,
    scope TEXT NOT NULL
) STRICT;
CREATE INDEX mark_scope ON mark (scope, seq) WHERE kind = 'release';
