"""A worker as PID 1 is shut down at a random moment, 50 times or 1,000; all must be in order."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from namespace import First, Process
from pid1_jobs import COMMAND_RESULT, RESULTS, declare, enqueue

from conveyor import State
from conveyor.core.job import JobRecord

pytestmark = pytest.mark.alone

HERE = Path(__file__).parent
AT_ONCE = 3
LOOK = 0.03
# An init reaps at once; who is a zombie for so long is not being reaped.
LINGERING = 0.5
# The drain, what a job gets when it is told to stop, and leaving; on a machine that is busy.
IN_TIME = 15.0
DRAIN = "0.4"
LONGEST = 0.9
EARLY, LONG = 0.2, 0.5

WORKER = ["-m", "conveyor"]
# Two that are known to be bad: a worker that knows nothing of being PID 1, and one that reaps
# whatever ends.
PLAIN = ["-c", "import sys; from conveyor.cli.main import run; sys.exit(run())"]
THIEF = [
    "-c",
    """
import os, sys, threading, time
from conveyor.cli.main import run
def reap():
    while True:
        try: os.waitpid(-1, 0)
        except ChildProcessError: time.sleep(0.001)
threading.Thread(target=reap, daemon=True).start()
sys.exit(run())
""",
]


class Shutdown(NamedTuple):
    """What was seen of one worker's life."""

    code: int
    said: str
    seconds: float
    lingering: int
    accepted: set[str]
    jobs: Sequence[JobRecord]


class Watch:
    """Counts the zombies that stay."""

    def __init__(self, first: First) -> None:
        self._first = first
        self._since: dict[tuple[int, int], float] = {}
        self.lingering: set[tuple[int, int]] = set()

    def look(self) -> None:
        now = time.monotonic()
        zombies = {_name(each) for each in self._first.processes() if each.state == "Z"}
        self._since = {name: self._since.get(name, now) for name in zombies}
        self.lingering |= {name for name, at in self._since.items() if now - at > LINGERING}

    def until(self, deadline: float) -> None:
        while time.monotonic() < deadline and self._first.outer.poll() is None:
            self.look()
            time.sleep(LOOK)


def _name(process: Process) -> tuple[int, int]:
    return process.pid, process.started


class Plan(NamedTuple):
    """When a worker is stopped, in seconds after it began to work, and what it has to do.

    An early stop counts from when PID 1 is an init, which is long before there is a worker.
    """

    delay: float
    early: bool = False
    long: bool = False


def shut_down(folder: Path, program: Sequence[str], plan: Plan) -> Shutdown:
    """Let a worker work for some time, stop it, and look at it all the while."""
    folder.mkdir()
    url = str(folder / "jobs.db")
    belt = declare(url)
    accepted = enqueue(belt, long=plan.long)
    command = [sys.executable, *program, "worker", "pid1_jobs:belt", "-c", "4", "--drain", DRAIN]
    env = {"CONVEYOR_URL": url, "PYTHONPATH": f"{HERE}:{HERE.parents[1] / 'src'}"}
    with First(command, cwd=folder, env=env) as first:
        deadline = time.monotonic() + 2 * IN_TIME
        while not (first.minds(signal.SIGTERM) if plan.early else first.said.startswith("worker ")):
            assert time.monotonic() < deadline, first.said
            time.sleep(0.001)
        watch = Watch(first)
        watch.until(time.monotonic() + plan.delay)
        first.send(signal.SIGTERM)
        started = time.monotonic()
        watch.until(started + 2 * IN_TIME)
        code = first.wait(IN_TIME)
        seconds = time.monotonic() - started
        said = first.said
    jobs = belt.jobs(limit=1000)
    belt.close()
    return Shutdown(code, said, seconds, len(watch.lingering), accepted, jobs)


def judge(run: Shutdown) -> list[str]:
    """Return what was not in order."""
    wrong: list[str] = []
    heard = "SIGTERM: stopping" in run.said
    released = ", 0 returned to the queue" not in run.said
    expected = (75 if released else 0) if heard else 143
    if run.code != expected:
        wrong.append(f"exit code {run.code}, not {expected}")
    if run.seconds > IN_TIME:
        wrong.append(f"it took {run.seconds:.1f} s")
    if run.lingering:
        wrong.append(f"{run.lingering} zombies")
    if "forced exit" in run.said:
        wrong.append("it had to be forced, though no job keeps it")
    if "Traceback" in run.said:
        wrong.append("a traceback")
    if {job.id for job in run.jobs} != run.accepted:
        wrong.append("jobs came or went")
    return wrong + [text for job in run.jobs for text in judge_job(job)]


def judge_job(job: JobRecord) -> list[str]:
    match job.state:
        case State.COMPLETED:
            result = RESULTS.get(job.task, COMMAND_RESULT)
            return [] if job.result == result else [f"{job.task} saw {job.result!r}"]
        case State.AVAILABLE if job.attempt == 0:
            return []
        case _:
            return [f"{job.task} is {job.state} after {job.attempt} attempts: {job.error}"]


def drill(folder: Path, shutdowns: int) -> None:
    draw = random.Random(4711)
    plans = [
        Plan(draw.uniform(0, LONGEST), draw.random() < EARLY, draw.random() < LONG)
        for _ in range(shutdowns)
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        folders = [folder / str(number) for number in range(shutdowns)]
        runs = list(pool.map(shut_down, folders, [WORKER] * shutdowns, plans))
    wrong = [(number, *found) for number, run in enumerate(runs) if (found := judge(run))]
    assert wrong == [], "\n".join(runs[number].said for number, *_ in wrong[:3])
    codes = Counter(run.code for run in runs)
    ended = Counter(job.task for run in runs for job in run.jobs if job.state is State.COMPLETED)
    print(f"exit codes {dict(codes)}, completed {dict(ended)}")
    assert codes[0], "none was in time to finish its jobs"
    assert codes[75], "none had a job to release"
    assert codes[143] < shutdowns / 2, "most did not live to be a worker"
    assert min(ended.values()) > shutdowns / 4
    assert len(ended) == 4, "some kind of job was never run"


def test_fifty_shutdowns_as_pid_1_are_in_order(tmp_path: Path) -> None:
    drill(tmp_path, 50)


@pytest.mark.slow
def test_a_thousand_shutdowns_as_pid_1_are_in_order(tmp_path: Path) -> None:
    drill(tmp_path, 1000)


def test_the_drill_catches_a_worker_that_is_pid_1_and_no_init(tmp_path: Path) -> None:
    assert any("zombies" in text for text in judge(shut_down(tmp_path / "run", PLAIN, Plan(3.0))))


def test_the_drill_catches_a_reaper_that_steals_exit_codes(tmp_path: Path) -> None:
    wrong = judge(shut_down(tmp_path / "run", THIEF, Plan(3.0)))
    assert any(text.startswith("thread saw") for text in wrong), wrong
