-- What stopping well needs: a cancel without grace, what was done to stop a job (JSON), and workers
-- that are to claim no more.
ALTER TABLE job ADD COLUMN cancel_forced INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN stopping BLOB;
ALTER TABLE worker ADD COLUMN quiet INTEGER NOT NULL DEFAULT 0;
