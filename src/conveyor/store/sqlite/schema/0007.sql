-- Since when a job waits for a worker whose code can run it.
ALTER TABLE job ADD COLUMN unsupported_since REAL;
