-- compatible with 1
-- Dumps of what running jobs do: at most 1,000, for an hour. They are requested by operators.

CREATE TABLE stack_dump (
    job TEXT COLLATE "C" PRIMARY KEY,
    lease BIGINT NOT NULL,
    worker TEXT COLLATE "C" NOT NULL,
    asked_at DOUBLE PRECISION NOT NULL,
    taken_at DOUBLE PRECISION,
    dump BYTEA
);
