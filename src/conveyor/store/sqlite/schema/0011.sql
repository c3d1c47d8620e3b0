-- What operators are shown: when an attempt that did not succeed was due and started, under which
-- lease, and which failures are alike; by whom and why a queue or a schedule was paused; the reason
-- of an action and how many jobs it changed.
ALTER TABLE attempt_error ADD COLUMN started_at REAL;
ALTER TABLE attempt_error ADD COLUMN due_at REAL;
ALTER TABLE attempt_error ADD COLUMN lease INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempt_error ADD COLUMN fingerprint TEXT;
-- The newest failures without their errors, and the jobs of one kind of failure in their order.
CREATE INDEX attempt_error_newest ON attempt_error (seq, fingerprint, at, job, became)
    WHERE fingerprint IS NOT NULL;
CREATE INDEX attempt_error_alike ON attempt_error (fingerprint, job)
    WHERE fingerprint IS NOT NULL;

ALTER TABLE queue ADD COLUMN paused_at REAL;
ALTER TABLE queue ADD COLUMN paused_by TEXT NOT NULL DEFAULT '';
ALTER TABLE queue ADD COLUMN pause_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE schedule ADD COLUMN paused_at REAL;
ALTER TABLE schedule ADD COLUMN paused_by TEXT NOT NULL DEFAULT '';
ALTER TABLE schedule ADD COLUMN pause_reason TEXT NOT NULL DEFAULT '';
-- The ids of the jobs of its last ticks, the newest first (JSON).
ALTER TABLE schedule ADD COLUMN recent TEXT NOT NULL DEFAULT '[]';
ALTER TABLE audit ADD COLUMN reason TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN count INTEGER;
