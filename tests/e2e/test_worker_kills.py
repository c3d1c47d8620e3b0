"""Workers are killed with SIGKILL, a hundred times or two thousand; every job must come through."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw
import pytest
import worker_kills

from conveyor import QueueFullError, State
from other_process import sql

VICTIMS = str(Path(worker_kills.__file__))


class Verdict:
    """What became of the accepted jobs."""

    def __init__(self, accepted: set[str], completed: Counter[str], left: set[str]) -> None:
        self.lost = accepted - completed.keys() - left
        self.stuck = left
        self.twice = {job for job, count in completed.items() if count > 1}
        self.invented = completed.keys() - accepted


@contextmanager
def killing(kind: str, database: Path, runs: Path, kills: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, VICTIMS, kind, str(database), str(runs), str(kills)]
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.kill()


def torture(folder: Path, kills: int) -> tuple[Verdict, set[tuple[str, int]]]:
    """Enqueue while workers are killed; return the verdict and the accepted (job, lease) pairs."""
    database, runs = folder / "jobs.db", folder / "runs"
    belt = worker_kills.app(str(database), str(runs))
    coroutine, thread = belt.functions["coroutine"], belt.functions["thread"]
    accepted = {coroutine.enqueue().id}
    watch_completions(database)
    with killing("conveyor", database, runs, kills) as process:
        while process.poll() is None:
            with suppress(QueueFullError):
                accepted |= {job.id for job in coroutine.using(wait=1).enqueue_many([()] * 20)}
                accepted |= {job.id for job in thread.using(wait=1).enqueue_many([()] * 5)}
        assert process.returncode == 0, runs.with_suffix(".err").read_text()
    belt.work(queues=["torture"], slots=50, timeout=60)
    belt.close()
    return judge(database, accepted)


def watch_completions(database: Path) -> None:
    """Have the database itself write down each completion, whoever makes it."""
    sql(
        database,
        "CREATE TABLE completion (id TEXT, lease INTEGER);"
        "CREATE TRIGGER completing AFTER UPDATE OF state ON job WHEN new.state = 'completed'"
        " BEGIN INSERT INTO completion VALUES (new.id, new.lease); END;",
    )


def judge(database: Path, accepted: set[str]) -> tuple[Verdict, set[tuple[str, int]]]:
    rows = sql(database, "SELECT id, state FROM job")
    pairs = sql(database, "SELECT id, lease FROM completion")
    left = {job for job, state in rows if state != State.COMPLETED}
    return Verdict(accepted, Counter(job for job, _ in pairs), left), {
        (job, lease) for job, lease in pairs
    }


def ran(runs: Path) -> set[tuple[str, int]]:
    noted = [line.split() for line in runs.read_text().splitlines()]
    return {(each[0], int(each[1])) for each in noted if len(each) == 2}


def check(folder: Path, kills: int) -> None:
    verdict, completed = torture(folder, kills)
    assert not verdict.lost
    assert not verdict.stuck
    assert not verdict.twice
    assert not verdict.invented
    assert completed <= ran(folder / "runs"), "a result was accepted of a run that never was"
    again = [job for job, lease in completed if lease > 1]
    assert len(again) > kills, "the kills did not hit running jobs"
    print(f"{kills} kills, {len(completed)} jobs, {len(again)} of them after a crash")
    assert "Traceback" not in (folder / "runs.err").read_text()


def test_a_hundred_kills_lose_nothing_and_repeat_no_result(tmp_path: Path) -> None:
    check(tmp_path, 100)


@pytest.mark.slow
def test_two_thousand_kills_lose_nothing_and_repeat_no_result(tmp_path: Path) -> None:
    check(tmp_path, 2000)


def test_the_same_kills_catch_a_queue_that_deletes_on_fetch(tmp_path: Path) -> None:
    database, runs = tmp_path / "naive.db", tmp_path / "runs"
    db = apsw.Connection(str(database))
    db.execute("CREATE TABLE naive (id INTEGER PRIMARY KEY); CREATE TABLE done (id INTEGER)")
    db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
        " INSERT INTO naive SELECT i FROM n"
    )
    db.close()
    with killing("delete-on-fetch", database, runs, 100) as process:
        assert process.wait(60) == 0
    done = Counter(str(job) for (job,) in sql(database, "SELECT id FROM done"))
    left = {str(job) for (job,) in sql(database, "SELECT id FROM naive")}
    assert Verdict({str(number) for number in range(1, 100_001)}, done, left).lost
