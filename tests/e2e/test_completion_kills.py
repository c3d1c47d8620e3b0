"""A worker is killed between every two statements of a job that completes with its own writes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from conveyor import Conveyor, State
from conveyor.store.messages import Filter
from conveyor.store.postgres.address import parse_address
from postgres_schema import Schemas

pytestmark = pytest.mark.alone

APP = """
import os, random, signal, threading
import psycopg
from conveyor import Conveyor, current_job

belt = Conveyor({url!r})


def write(point: str, *, completes: bool) -> None:
    job = current_job()

    def die(reached: str) -> None:
        # Once for each job.
        if reached == point and not os.path.exists({folder!r} + "/" + job.id):
            open({folder!r} + "/" + job.id, "x").close()
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Timer(random.random() * 0.02, die, ["any time"]).start()
    with psycopg.connect({server!r}) as session:
        die("connected")
        session.execute("INSERT INTO {effects} VALUES (%s)", (job.id,))
        die("written")
        if completes:
            job.complete_in(session)
        die("completing")
    die("committed")


@belt.task(name="once")
def once(point: str) -> None:
    write(point, completes=True)


@belt.task(name="control")
def control(point: str) -> None:
    write(point, completes=False)


if __name__ == "__main__":
    belt.work(slots=1, keep=False, timeout=60)
"""
POINTS = ("connected", "written", "completing", "committed")
# How often a worker is started at most for each job; nearly every job kills one.
STARTS = 3


class Killed:
    """An application whose workers die, and its table of effects."""

    def __init__(self, url: str, folder: Path) -> None:
        self.belt = Conveyor(url)
        self.server = parse_address(url).server
        self.effects_table = f"effects_of_{parse_address(url).schema}"
        self._app = folder / "app.py"
        places = {"url": url, "server": self.server, "folder": str(folder)}
        self._app.write_text(APP.format(effects=self.effects_table, **places))
        self.kills = 0

    def run(self, task: str, points: list[str]) -> Counter[str]:
        """Run one job for each point; return how often each has had its effect."""
        jobs = [self.belt.send(task, {"point": point}, crash_limit=1000).id for point in points]
        for _ in range(STARTS * len(points)):
            ended = subprocess.run([sys.executable, self._app], check=False, timeout=120)
            if ended.returncode != -signal.SIGKILL:
                assert ended.returncode == 0
                break
            self.kills += 1
            self._return_jobs()
        assert [self.belt.job(each).state for each in jobs] == [State.COMPLETED] * len(jobs)
        with psycopg.connect(self.server) as session:
            rows = session.execute(f"SELECT job FROM {self.effects_table}").fetchall()
        counted = Counter(job for (job,) in rows)
        return Counter({each: counted[each] for each in jobs})

    def _return_jobs(self) -> None:
        """Return what the dead worker had, as its sidecar or another worker does."""
        store = self.belt.store
        running = store.find(Filter(states=frozenset({State.RUNNING})), limit=10).result()
        dead = [str(job.worker) for job in running]
        store.rescue(dead=dead, limit=10).result()


@pytest.fixture
def killed(schemas: Schemas, tmp_path: Path) -> Iterator[Killed]:
    with schemas.one() as url:
        killed = Killed(url, tmp_path)
        with psycopg.connect(killed.server, autocommit=True) as session:
            session.execute(f"CREATE TABLE {killed.effects_table} (job TEXT)")
            yield killed
            killed.belt.close()
            session.execute(f"DROP TABLE {killed.effects_table}")


def test_a_worker_killed_between_any_two_statements_leaves_each_effect_once(
    killed: Killed,
) -> None:
    effects = killed.run("once", [*POINTS])
    assert killed.kills == len(POINTS)
    assert set(effects.values()) == {1}


def test_without_completion_in_the_transaction_a_kill_doubles_an_effect(killed: Killed) -> None:
    effects = killed.run("control", ["committed"])
    assert [*effects.values()] == [2]


@pytest.mark.slow
def test_a_thousand_kills_leave_each_effect_once(killed: Killed) -> None:
    while killed.kills < 1000:
        effects = killed.run("once", [*POINTS, "any time"] * 10)
        assert set(effects.values()) == {1}
