"""What a database itself writes down about the states of jobs, whoever changes them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from conveyor import State
from other_process import sql

# In a file: the path of the database. In PostgreSQL: the URL of the store.
Place = Path | str

WATCH = """
CREATE TABLE change (id TEXT, state TEXT, lease INTEGER, at REAL);
CREATE TRIGGER changing AFTER UPDATE OF state ON job BEGIN
    INSERT INTO change VALUES (new.id, new.state, new.lease, unixepoch('subsec'));
END;
"""
# A job's state is the table in which its narrow row is. One that was just enqueued has no lease.
WATCH_POSTGRES = """
SET search_path = {schema};
CREATE TABLE state_change (seq BIGINT GENERATED ALWAYS AS IDENTITY, id TEXT, state TEXT,
    lease BIGINT, at FLOAT8);
CREATE FUNCTION note_change() RETURNS TRIGGER LANGUAGE plpgsql SET search_path = {schema} AS $$
BEGIN
    IF NEW.lease > 0 THEN
        INSERT INTO state_change (id, state, lease, at)
        SELECT id, coalesce(to_jsonb(NEW) ->> 'state', TG_ARGV[0]), NEW.lease,
            extract(epoch FROM clock_timestamp())
        FROM body WHERE body.seq = NEW.seq;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER changing AFTER INSERT ON ready FOR EACH ROW
EXECUTE FUNCTION note_change('available');
CREATE TRIGGER changing AFTER INSERT ON running FOR EACH ROW
EXECUTE FUNCTION note_change('running');
CREATE TRIGGER changing AFTER INSERT ON later FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE TRIGGER changing AFTER INSERT ON final FOR EACH ROW EXECUTE FUNCTION note_change();
"""


class Change(NamedTuple):
    """A job has a new state."""

    job: str
    state: State
    lease: int
    at: float


def watch(place: Place) -> None:
    """Have the database write down changes from now on."""
    if "://" not in str(place):
        sql(Path(place), WATCH)
        return
    from postgres_schema import Admin

    with Admin(str(place)) as admin:
        admin.run(WATCH_POSTGRES.format(schema=admin.schema))


def changes(place: Place) -> list[Change]:
    """Return the changes in their order."""
    if "://" not in str(place):
        rows = sql(Path(place), "SELECT id, state, lease, at FROM change ORDER BY rowid")
    else:
        from postgres_schema import Admin

        with Admin(str(place)) as admin:
            rows = admin.run(
                f"SELECT id, state, lease, at FROM {admin.schema}.state_change ORDER BY seq"
            )
    return [Change(job, State(state), lease, at) for job, state, lease, at in rows]
