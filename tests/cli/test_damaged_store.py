"""Every command on a store with damaged rows: one damaged thing each, and no traceback."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from shell import Command

from conveyor import Conveyor

NOT_UTF8 = "CAST(x'41ff42' AS TEXT)"
DAMAGES = {
    "arguments": "args = x'7b22'",
    "task": f"task = {NOT_UTF8}",
    "progress": "progress = x'7b'",
    "due time": "run_at = 9e999",
    "state": "state = 'weird'",
    "lane": "lane = 4711",
    "options": "options = x'7b'",
}
# A table reads neither arguments nor options, so it cannot check what was enqueued.
UNREAD = {"arguments", "task", "options"}
REMOVALS = {
    "worker": "workers remove w",
    "schedule": "schedules remove nightly",
    "token": "token revoke abcdefgh",
}
FAR = "run_at = 1e300, enqueued_at = -1e300, started_at = 1e300, final_at = 1e300"


@pytest.fixture
def ids(folder: Path, belt: Conveyor) -> list[str]:
    """Jobs of which all but the last are damaged."""
    tiny = belt.functions["send"]
    jobs = [tiny.enqueue("ann").id for _ in range(len(DAMAGES) + 2)]
    belt.store.put_schedule(belt.schedules[0].info).result()
    belt.close()
    with sqlite3.connect(folder / "jobs.db") as db:
        for job_id, values in zip(jobs, [*DAMAGES.values(), FAR], strict=False):
            db.execute(f"UPDATE job SET {values} WHERE id = ?", [job_id])
        db.execute("INSERT INTO worker (id, beat_at, info) VALUES ('w', 9e999, x'7b')")
        db.execute("INSERT INTO leader VALUES ('scaler', 'h', 9e999, 9e999, 1, 'not JSON')")
        db.execute("UPDATE schedule SET next_at = 9e999, last_at = 1e300")
        db.execute("INSERT INTO token VALUES ('abcdefgh', 'n', 'd', '[', '[]', 1e300, 9e999, NULL)")
        db.execute(
            "INSERT INTO audit (at, who, place, what, subject, detail) "
            f"VALUES (1e300, 'w', 'p', 'w', {NOT_UTF8}, '')"
        )
    db.close()
    return jobs


LISTS: Sequence[Sequence[str]] = [
    ["ps"],
    ["ps", "--queue", "mail"],
    ["queues"],
    ["workers"],
    ["agents"],
    ["schedules"],
    ["token", "list"],
    ["audit"],
]


def test_lists_show_damaged_rows_beside_the_others(conveyor: Command, ids: list[str]) -> None:
    for command in LISTS:
        for options in ([], ["--json"]):
            ran = conveyor(*command, *options)
            assert (ran.code, ran.err) == (0, ""), (command, ran)
    listed = conveyor("ps").out
    assert all(job_id in listed for job_id in ids)
    assert listed.count("(damaged)") == len(DAMAGES.keys() - UNREAD)
    whole = json.loads(conveyor("ps", "--json").out)
    assert sum(bool(job["damage"]) for job in whole) == len(DAMAGES)
    assert "1e+300 Unix seconds" in conveyor("schedules").out
    assert "(damaged)" in conveyor("schedules").out


def test_each_damaged_job_is_shown_explained_cancelled_and_listed(
    conveyor: Command, ids: list[str]
) -> None:
    for job_id in ids:
        for command in ("show", "why", "logs", "artifacts"):
            for options in ([], ["--json"]):
                ran = conveyor(command, job_id, *options)
                assert (ran.code, ran.err) == (0, ""), (command, job_id, ran)
    for name, job_id in zip(DAMAGES, ids, strict=False):
        assert "damage:" in conveyor("show", job_id).out, name
        if name != "state":  # which counts as discarded
            assert "Its row is damaged" in conveyor("why", job_id).out
        assert conveyor("cancel", job_id).code == 0, name
    assert "Unix seconds" in conveyor("show", ids[-2]).out
    assert conveyor("wait", *ids[: len(DAMAGES)], "--timeout", "5").code == 1
    assert conveyor("ps", "--state", "cancelled", "--json").data
    retried = conveyor("retry", *ids[: len(DAMAGES)])
    assert "Traceback" not in retried.err
    assert "enqueue it again from its source" in retried.err


def test_doctor_lists_what_is_damaged(conveyor: Command, ids: list[str]) -> None:
    ran = conveyor("doctor")
    assert ran.code == 1
    assert f"the row of job {ids[0]} is damaged" in ran.out
    for table, command in REMOVALS.items():
        assert f"`conveyor {command}" in ran.out, table
        removed = conveyor(*command.split())
        assert removed.code == 0, (table, removed)
    again = conveyor("doctor").out
    assert "the row of job" in again
    assert "the row of worker" not in again
    assert "the row of schedule" not in again
    assert "Traceback" not in ran.err


def test_a_worker_discards_the_damaged_jobs_and_runs_the_others(
    conveyor: Command, ids: list[str]
) -> None:
    belt = Conveyor("jobs.db")

    @belt.queue("mail").task(name="send")
    async def send(to: str) -> None: ...

    belt.work(queues=["mail"], timeout=30, keep=False)
    states = {job.id: str(job.state) for job in belt.jobs()}
    belt.close()
    assert states[ids[-1]] == "completed"
    for name, job_id in zip(DAMAGES, ids, strict=False):
        # Nothing claims a job whose lane is unknown: an operator cancels it.
        assert states[job_id] == ("available" if name == "lane" else "discarded"), name
