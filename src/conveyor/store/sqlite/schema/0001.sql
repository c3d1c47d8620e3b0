-- The first schema. Times are Unix seconds, booleans 0 or 1.

-- How many jobs of each state a queue has is kept beside it, in the transaction that changes it,
-- so that a bound can be checked and a table of queues be drawn without counting rows.
CREATE TABLE queue (
    name TEXT PRIMARY KEY,
    capacity INTEGER,
    paused INTEGER NOT NULL DEFAULT 0,
    scheduled INTEGER NOT NULL DEFAULT 0,
    available INTEGER NOT NULL DEFAULT 0,
    running INTEGER NOT NULL DEFAULT 0,
    retryable INTEGER NOT NULL DEFAULT 0,
    completed INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    discarded INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- A lane is a queue and the labels its jobs require (JSON, sorted): a claim walks one index.
CREATE TABLE lane (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    requires TEXT NOT NULL,
    UNIQUE (queue, requires)
) STRICT;

CREATE TABLE job (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    lane INTEGER NOT NULL,
    task TEXT NOT NULL,
    args BLOB NOT NULL,
    options BLOB NOT NULL,
    -- CRC-32 of id, task, args and options: what was accepted is what is run.
    checksum INTEGER NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL,
    run_at REAL NOT NULL,
    enqueued_at REAL NOT NULL,
    expires_at REAL,
    unique_key TEXT,
    -- 1: the key is held until the job is pruned, not only until it is final.
    key_kept INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    lease INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    lease_until REAL,
    cancel_requested_at REAL,
    cancel_reason TEXT,
    started_at REAL,
    final_at REAL,
    result BLOB,
    result_checksum INTEGER,
    error TEXT,
    progress BLOB
) STRICT;

-- The states are literals, so that each index holds only the jobs it is for: ten million finished
-- jobs are in none of the first three.
CREATE INDEX job_available ON job (lane, priority DESC, run_at, seq) WHERE state = 'available';
CREATE INDEX job_due ON job (run_at) WHERE state IN ('scheduled', 'retryable');
CREATE INDEX job_running ON job (lease_until) WHERE state = 'running';
CREATE INDEX job_final ON job (state, final_at) WHERE final_at IS NOT NULL;
CREATE INDEX job_expiring ON job (expires_at)
    WHERE expires_at IS NOT NULL AND state IN ('scheduled', 'available', 'retryable');
CREATE UNIQUE INDEX job_unique ON job (unique_key) WHERE unique_key IS NOT NULL;

-- A request that waits for room; `answer` is set by whoever made some.
CREATE TABLE offer (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    until REAL NOT NULL,
    request BLOB NOT NULL,
    answer BLOB
) STRICT;
CREATE INDEX offer_waiting ON offer (queue, seq) WHERE answer IS NULL;

-- Why attempts did not succeed.
CREATE TABLE attempt_error (
    seq INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at REAL NOT NULL,
    worker TEXT,
    became TEXT NOT NULL,
    error BLOB NOT NULL
) STRICT;
CREATE INDEX attempt_error_job ON attempt_error (job, seq);

-- What jobs wrote. A chunk sent twice has the same place and is kept once.
CREATE TABLE output (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    job INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    position INTEGER NOT NULL,
    stream TEXT NOT NULL,
    at REAL NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (job, lease, position)
) STRICT;
CREATE INDEX output_job ON output (job, seq);

CREATE TABLE worker (
    id TEXT PRIMARY KEY,
    beat_at REAL NOT NULL,
    info BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE schedule (
    name TEXT PRIMARY KEY,
    cron TEXT NOT NULL,
    timezone TEXT NOT NULL,
    missed TEXT NOT NULL,
    next_at REAL NOT NULL,
    last_at REAL,
    paused INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
