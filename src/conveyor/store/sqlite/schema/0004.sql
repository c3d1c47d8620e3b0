-- The files of jobs. Their contents lie beside the database, each under its SHA-256.
CREATE TABLE file (
    job INTEGER NOT NULL,
    -- 'input' or 'artifact'
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    executable INTEGER NOT NULL,
    -- Under which lease an artifact was left; 0 for an input.
    lease INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX file_digest ON file (digest);
