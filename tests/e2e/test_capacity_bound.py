"""Eight processes enqueue into one bounded queue, and what waits never exceeds the bound."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import apsw
import producers

from conveyor import Conveyor, State
from other_process import sql

PROCESSES, JOBS, CAPACITY = 8, 60, 5

# The database itself notes the highest number of waiting jobs that any transaction left behind.
WATCH = """
CREATE TABLE highest (depth INTEGER);
INSERT INTO highest VALUES (0);
CREATE TRIGGER watching AFTER INSERT ON job BEGIN
    UPDATE highest SET depth = max(depth, (SELECT count(*) FROM job
        WHERE state IN ('available', 'scheduled', 'retryable')));
END;
"""


def start(kind: str, database: Path) -> list[subprocess.Popen[str]]:
    """Start the producers and let them go at the same moment."""
    command = [sys.executable, producers.__file__, kind, str(database), str(JOBS), str(CAPACITY)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return started


def finish(started: list[subprocess.Popen[str]]) -> list[dict[str, list[str]]]:
    """Wait for the producers and return what each printed."""
    answers: list[dict[str, list[str]]] = []
    for process in started:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        answers.append(json.loads(out))
    return answers


def test_eight_processes_never_exceed_the_bound(tmp_path: Path) -> None:
    database = tmp_path / "jobs.db"
    belt = Conveyor(f"{database}?durability=normal")
    queue = belt.queue("bounded", capacity=CAPACITY)

    @queue.task(name="noop")
    async def noop() -> None: ...

    first = noop.enqueue().id
    sql(database, WATCH)
    started = start("conveyor", database)
    while any(process.poll() is None for process in started):
        belt.work(queues=["bounded"], slots=2, until_idle=True, timeout=30, keep=False)
    answers = finish(started)
    belt.work(queues=["bounded"], timeout=30, keep=False)
    accepted = {job for each in answers for job in each["accepted"]} | {first}
    refusals = [text for each in answers for text in each["refused"]]
    ended = {job.id for job in belt.jobs(queue="bounded", states=[State.COMPLETED], limit=1000)}
    belt.close()
    assert accepted == ended
    assert len(accepted) + len(refusals) == PROCESSES * JOBS + 1
    assert refusals, "the queue was never full, so this has shown nothing"
    assert all(f"/{CAPACITY}), cannot add " in text for text in refusals), refusals[0]
    assert sql(database, "SELECT depth FROM highest") == [[CAPACITY]]


def test_the_same_drill_catches_a_queue_that_checks_and_then_inserts(tmp_path: Path) -> None:
    database = tmp_path / "naive.db"
    db = apsw.Connection(str(database))
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE job (id INTEGER PRIMARY KEY, state TEXT);" + WATCH)
    db.close()
    drained = "DELETE FROM job"
    for _ in range(50):  # a race has to be lost only once
        started = start("check-then-insert", database)
        finish(started)
        if sql(database, "SELECT depth FROM highest")[0][0] > CAPACITY:
            return
        sql(database, drained)
    raise AssertionError("the drill did not see the naive queue break its bound")
