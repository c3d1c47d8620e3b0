"""A user's own triggers on the job table change nothing about what the store does."""

from __future__ import annotations

from pathlib import Path

from calls import claim, new, put, settle, state

from conveyor.core.job import ErrorInfo, State
from conveyor.core.lifecycle import Failed, Succeeded
from conveyor.store.sqlite.store import SqliteStore
from other_process import sql

WATCH = (
    "CREATE TABLE seen (state TEXT)",
    "CREATE TRIGGER watch AFTER UPDATE ON job BEGIN INSERT INTO seen VALUES (new.state); END",
)


def test_jobs_are_claimed_settled_and_retried_though_a_trigger_writes_rows_of_its_own(
    tmp_path: Path,
) -> None:
    path = tmp_path / "jobs.db"
    store = SqliteStore(path)
    ids = put(store, *(new(retries=0) for _ in range(3)))
    for statement in WATCH:
        sql(path, statement)
    for job in claim(store, limit=3):
        outcome = Failed(ErrorInfo("E", "no")) if job.id == ids[2] else Succeeded()
        assert settle(store, job, outcome)
    assert [state(store, each) for each in ids[1:]] == [State.COMPLETED, State.DISCARDED]
    store.retry(ids[2]).result()
    assert state(store, ids[2]) is State.AVAILABLE
    store.close()
    assert ["running"] in sql(path, "SELECT DISTINCT state FROM seen")
