"""Workers on PostgreSQL are killed with SIGKILL, again and again; every job must come through."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import postgres_kills
import psycopg
import pytest
from postgres_kills import QUEUE

from conveyor import Conveyor, QueueFullError, State
from conveyor.core.job import JobRecord
from conveyor.core.pending import run_sync
from conveyor.store.call_style import BlockingCalls
from conveyor.store.messages import Filter
from conveyor.store.page_walk import read_jobs
from postgres_schema import Schemas

Until = Callable[..., None]

EVERY = 10_000_000


def objections(
    records: list[JobRecord], accepted: set[str], ran: set[tuple[str, int]]
) -> list[str]:
    """Say which accepted jobs were lost or stuck, and which results are of no run that was."""
    known = {each.id for each in records}
    return [
        *(f"{job} was lost" for job in accepted - known),
        *(f"{job} was invented" for job in known - accepted),
        *(f"{job.id} is {job.state}" for job in records if job.state is not State.COMPLETED),
        # A result is the lease of the run that returned it.
        *(
            f"{job.id} has the result {job.result!r} under lease {job.lease}"
            for job in records
            if (job.id, job.lease) not in ran or job.result != str(job.lease).encode()
        ),
    ]


def counts(belt: Conveyor) -> dict[State, int]:
    """Return the counts, which change with each result that the store accepts."""
    [queue] = belt.store.counts().result(60)
    return {state: count for state, count in queue.counts.items() if count}


@contextmanager
def killing(kind: str, url: str, runs: Path, kills: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, postgres_kills.__file__, kind, url, str(runs), str(kills)]
    # Each fork reads the settings, of which this folder has none.
    with subprocess.Popen(command, cwd=runs.parent) as process:
        try:
            yield process
        finally:
            process.kill()


def check(url: str, runs: Path, kills: int, until: Until) -> None:
    """Enqueue while workers are killed, then let one finish what is left, and judge."""
    belt = postgres_kills.app(url, str(runs))
    coroutine, thread = belt.functions["coroutine"], belt.functions["thread"]
    accepted = {coroutine.enqueue().id}
    with killing("conveyor", url, runs, kills) as process:
        while process.poll() is None:
            with suppress(QueueFullError):
                accepted |= {job.id for job in coroutine.using(wait=1).enqueue_many([()] * 20)}
                accepted |= {job.id for job in thread.using(wait=1).enqueue_many([()] * 5)}
        assert process.returncode == 0, runs.with_suffix(".err").read_text()
    belt.start(queues=[QUEUE], slots=50)
    until(lambda: counts(belt) == {State.COMPLETED: len(accepted)})
    belt.stop()
    found = run_sync(read_jobs(BlockingCalls(), belt.store, Filter(), limit=EVERY))
    lines = (line.split() for line in runs.read_text().splitlines())
    ran = {(job, int(lease)) for job, lease in lines}
    assert objections(found, accepted, ran) == []
    assert counts(belt) == {State.COMPLETED: len(accepted)}
    assert belt.store.check().result(60) == []
    belt.close()
    again = sum(job.lease > 1 for job in found)
    assert again > kills / 2, "the kills did not hit running jobs"
    print(f"{kills} kills, {len(found)} jobs, {again} of them after a crash")
    assert "Traceback" not in runs.with_suffix(".err").read_text()


@pytest.fixture
def url(schemas: Schemas) -> Iterator[str]:
    with schemas.one() as lent:
        yield f"{lent}&connections=2"


def test_three_hundred_kills_lose_nothing_and_repeat_no_result(
    url: str, tmp_path: Path, until: Until
) -> None:
    check(url, tmp_path / "runs", 300, until)


@pytest.mark.slow
def test_five_thousand_kills_lose_nothing_and_repeat_no_result(
    url: str, tmp_path: Path, until: Until
) -> None:
    check(url, tmp_path / "runs", 5000, until)


def test_the_same_kills_catch_a_queue_on_postgres_that_deletes_on_fetch(
    url: str, schemas: Schemas, tmp_path: Path
) -> None:
    with psycopg.connect(schemas.server, autocommit=True) as db:
        db.execute("CREATE TABLE naive (id INTEGER PRIMARY KEY); CREATE TABLE done (id INTEGER)")
        try:
            db.execute("INSERT INTO naive SELECT generate_series(1, 20000)")
            with killing("delete-on-fetch", url, tmp_path / "runs", 50) as process:
                assert process.wait(60) == 0
            done = Counter(job for (job,) in db.execute("SELECT id FROM done").fetchall())
            left = {job for (job,) in db.execute("SELECT id FROM naive").fetchall()}
        finally:
            db.execute("DROP TABLE naive, done")
    assert set(range(1, 20_001)) - done.keys() - left
