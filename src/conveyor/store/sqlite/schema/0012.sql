-- The jobs that are enqueued when another one ends. Not in the options of that job: they are called
-- although its row is damaged. A row has the job as it is enqueued after a success; after another
-- end its arguments say so.
CREATE TABLE callback (
    job INTEGER NOT NULL,
    -- 'discarded' or 'finished'
    called_on TEXT NOT NULL,
    -- Counts the runs of the job: a manual retry begins another one.
    run INTEGER NOT NULL,
    id TEXT NOT NULL,
    lane INTEGER NOT NULL,
    task TEXT NOT NULL,
    priority INTEGER NOT NULL,
    args BLOB NOT NULL,
    options BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (job, called_on)
) STRICT, WITHOUT ROWID;
