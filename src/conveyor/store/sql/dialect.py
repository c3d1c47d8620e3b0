"""What differs between databases in the text of statements.sql."""

from __future__ import annotations

from dataclasses import dataclass

from ..move_mark import FROZEN, MARK

# What a move takes along.
_MOVED = ("offer", "attempt_error", "output", "file", "schedule", "task", "token", "audit", "mark")
# Where PostgreSQL keeps the jobs.
_JOBS = ("body", "final", "held_key", "later", "ready", "running")
_CHANGES = ("INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The text for each {placeholder} of statements.sql, in one database's SQL."""

    # Follows a SELECT of rows to change: hold them, and skip those that another transaction holds.
    skip_locked: str
    # A subquery with the texts of the JSON array in the parameter :states.
    state_list: str
    # A table with the texts of the JSON array in the parameter :names, as its column `value`.
    names: str
    # A table with the whole numbers of the JSON array in the parameter :numbers, as above.
    numbers: str
    # Whether the bytes in the parameter :sought are part of the arguments of a job of `found`.
    has_text: str
    # The reason of a cancel as bytes, because in a damaged row they may not be characters.
    cancel_reason: str
    # The queues with their counts of jobs by state: a table, or what adds them up.
    counted_queue: str
    # The present minute of a queue and what happened in it, where the queue's row has them.
    recent: str
    # What happened from minute :first to :last, of :queue if given, and is not in `history` yet.
    recent_minutes: str
    # Checks the database's own structures; one row for each finding, or the row "ok".
    integrity_check: str
    # Makes the database refuse every change of jobs and of what is moved with them.
    freeze: str
    # Allows changes again, and removes the mark of the move.
    thaw: str


SQLITE = Dialect(
    # One transaction writes at a time, so no row is ever held by another.
    skip_locked="",
    state_list="SELECT value FROM json_each(:states)",
    names="json_each(:names)",
    numbers="json_each(:numbers)",
    has_text="instr(found.short_args, :sought) > 0",
    cancel_reason="CAST(cancel_reason AS BLOB)",
    counted_queue="queue",
    recent="minute, recent",
    recent_minutes="""SELECT name, minute, recent FROM queue
WHERE minute BETWEEN :first AND :last AND (:queue IS NULL OR name = :queue)""",
    integrity_check="PRAGMA integrity_check(20)",
    freeze="\n".join(
        f"CREATE TRIGGER IF NOT EXISTS frozen_{table}_{change} BEFORE {change} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{FROZEN}'); END;"
        for table in ("job", *_MOVED)
        for change in _CHANGES
    ),
    thaw=f"DELETE FROM leader WHERE name = '{MARK}';\n"  # noqa: S608 - no text from outside
    + "\n".join(
        f"DROP TRIGGER IF EXISTS frozen_{table}_{change};"
        for table in ("job", *_MOVED)
        for change in _CHANGES
    ),
)

POSTGRES = Dialect(
    skip_locked="FOR UPDATE SKIP LOCKED",
    state_list="SELECT json_array_elements_text(:states)",
    names="(SELECT json_array_elements_text(:names) AS value)",
    numbers="(SELECT json_array_elements_text(:numbers)::BIGINT AS value)",
    has_text="position(:sought IN found.short_args) > 0",
    # PostgreSQL keeps nothing but characters.
    cancel_reason="cancel_reason",
    counted_queue="counted_queue",
    recent="NULL::BIGINT, NULL::TEXT",
    recent_minutes="""SELECT queue, minute, happened FROM tally
WHERE minute BETWEEN :first AND :last AND (:queue IS NULL OR queue = :queue)""",
    # Checksums of its own pages are the server's business; its operators have pg_amcheck.
    integrity_check="SELECT 'ok'",
    freeze="\n".join(
        [
            "DO $do$ BEGIN",
            f"""CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION '{FROZEN}' USING ERRCODE = '55000'; END $$;""",
            *(
                f"CREATE TRIGGER refuse_change BEFORE INSERT OR UPDATE OR DELETE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();"
                for table in (*_JOBS, *_MOVED)
            ),
            "END $do$",
        ]
    ),
    thaw=f"""DO $do$ BEGIN
    DELETE FROM leader WHERE name = '{MARK}';
    DROP FUNCTION IF EXISTS refuse_change() CASCADE;
END $do$""",  # noqa: S608 - no text from outside
)
