"""Workers are killed while they run programs: every job comes through, and no program is left."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import command_worker_kills
import pytest
import recording_jobs
from evidence import Lines
from recording_jobs import LINES
from worker_processes import served

from conveyor import Conveyor, State
from state_changes import changes, watch

pytestmark = pytest.mark.alone

Until = Callable[..., None]

# Processes and programs are what this is about; the others are there to be lost among them.
MIX = ("coroutine", "thread", "process", "process", "command", "command", "command")
WAITING = 12
GONE = 1.0
# What is left after so many seconds is left for good.
PATIENCE = 10.0


@contextmanager
def killing(
    kind: str, folder: Path, kills: int, patience: float = PATIENCE
) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, command_worker_kills.__file__, kind, str(kills), str(patience)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with (folder / "told").open("w") as told:
        process = subprocess.Popen(argv, cwd=folder, env=env, stdout=told, text=True)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def objections(folder: Path) -> list[str]:
    """Say what was left of workers that had been killed."""
    kills = [json.loads(line) for line in (folder / "told").read_text().splitlines()]
    found: list[str] = []
    for number, told in enumerate(kills):
        if not told["killed"]:
            found.append(f"worker {number} ended by itself")
        if told.get("jobs", PATIENCE) > GONE:
            found.append(f"worker {number}: a job's process lived on: {told}")
        if "all" not in told:
            found.append(f"worker {number}: a process of its own lived on: {told}")
    for name in ("jobs", "all"):
        seconds = sorted(told.get(name, PATIENCE) for told in kills)
        late = seconds[int(0.99 * len(seconds))]
        print(f"{name:4} gone after p50 {seconds[len(seconds) // 2]:.3f} s, p99 {late:.3f} s")
    print(f"{len(kills)} kills, {sum(told['started'] for told in kills)} processes at that time")
    return found


def feed(belt: Conveyor, draw: random.Random) -> set[str]:
    """Keep so many jobs waiting; return the new ones."""
    depth = belt.queue(recording_jobs.QUEUE).depth
    kinds = draw.choices(MIX, k=max(0, WAITING - depth))
    return {recording_jobs.enqueue(belt, kind, draw.choice((0.0, 0.1))).id for kind in kinds}


def check(folder: Path, until: Until, kills: int) -> None:
    draw = random.Random(4711)
    with served(folder, until) as here:
        accepted = feed(here.belt, draw)
        watch(folder / "jobs.db")
        with killing("conveyor", folder, kills) as process:
            while process.poll() is None:
                accepted |= feed(here.belt, draw)
                until(lambda: process.poll() is not None or here.belt.queue("drill").depth < 6, 60)
        assert process.returncode == 0
        last = here.worker("-c", "8")
        until(lambda: not unfinished(here.belt), 60)
        here.stop(last)
        assert last.wait(30) == 0
    lines = Lines(folder / LINES)
    lines.look()
    completed = [x for x in changes(folder / "jobs.db") if x.state is State.COMPLETED]
    times = Counter(change.job for change in completed)
    assert times.keys() == accepted
    assert [job for job, count in times.items() if count > 1] == []
    ended = {(x.job, x.lease) for x in lines.all if x.word == "end"}
    assert {(x.job, x.lease) for x in completed} <= ended, "accepted without a run"
    again = sum(change.lease > 1 for change in completed)
    assert again > kills / 2, "the kills did not hit running jobs"
    print(f"\n{len(accepted)} jobs, {again} of them ran again")
    assert objections(folder) == []
    assert [x for x in lines.all if x.word in ("begin", "child") and x.alive] == []
    assert "Traceback" not in (folder / "errors").read_text()


def unfinished(belt: Conveyor) -> int:
    [queue] = belt.store.counts().result(10)
    return sum(count for state, count in queue.counts.items() if state is not State.COMPLETED)


def test_a_dozen_kills_lose_no_job_and_leave_no_process(tmp_path: Path, until: Until) -> None:
    check(tmp_path, until, 12)


@pytest.mark.slow
def test_five_hundred_kills_lose_no_job_and_leave_no_process(tmp_path: Path, until: Until) -> None:
    check(tmp_path, until, 500)


def test_the_same_kills_catch_workers_that_run_programs_by_subprocess_alone(
    tmp_path: Path,
) -> None:
    with killing("plain-subprocess", tmp_path, 2, 1.5) as process:
        assert process.wait(60) == 0
    found = objections(tmp_path)
    assert any("a job's process lived on" in each for each in found)
    lines = Lines(tmp_path / LINES)
    lines.look()
    assert not [line for line in lines.all if line.alive]
