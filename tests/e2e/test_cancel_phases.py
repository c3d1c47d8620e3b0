"""Jobs of each kind, cancelled in each phase of their lives by everybody who can: nothing lies."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest
import recording_jobs
import tree
from cancel_callers import Answer, Asker, CommandLine, OtherProcess, SameProcess
from cancel_phases import Cell, Observer, Scene, latency, objections, observed
from evidence import Lines
from recording_jobs import DEAF, KINDS, LINES, QUEUE

from conveyor import State
from conveyor.client.job_handle import Job
from conveyor.core.job import FINAL
from conveyor.store.messages import Filter
from state_changes import WATCH, Change, changes, watch

pytestmark = pytest.mark.alone

TIMES = 20
PROMISED = 1.0
# So many jobs start at once: a cancel is what is timed, not forty interpreters on two cores.
TOGETHER = 20
PHASES = ("queued", "starting", "running", "finishing")
SLOTS = (len(KINDS) + len(DEAF)) * TIMES


class Matrix:
    """All that was asked, and all that came of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.belt = recording_jobs.declared(folder / "jobs.db")
        self.lines = Lines(folder / LINES)
        self.cells: dict[str, Cell] = {}
        self.answers: dict[str, Answer] = {}
        self.survivors: list[str] = []

    async def play(self, rounds: int) -> None:
        host = await SameProcess.start(self.folder, SLOTS)
        async with asyncio.timeout(30):
            while not await self.belt.store.workers():  # noqa: ASYNC110 - they are outside
                await asyncio.sleep(0.01)
        askers = {"same": host, "other": OtherProcess(), "cli": CommandLine(self.folder)}
        for number in range(rounds):
            for name, asker in askers.items():
                for phase in PHASES:
                    await self._scene(phase, name, asker, number, host.process.pid)
        await host.stop()

    async def _scene(self, phase: str, name: str, asker: Asker, number: int, worker: int) -> None:
        kinds = [*KINDS, *DEAF] if phase == "running" else KINDS
        draw = random.Random(f"{phase} {name} {number}")
        mixed = draw.sample([*kinds] * TIMES, len(kinds) * TIMES)

        async def finals() -> Mapping[str, State]:
            which = Filter(queue=QUEUE, states=FINAL)
            return {x.id: x.state for x in await self.belt.store.find(which, limit=len(mixed))}

        go = self.folder / f"go-{phase}-{name}-{number}"
        scene = Scene(self.belt, asker, self.lines, go, draw)
        observer = Observer(self.lines, finals, worker)
        step = TOGETHER if phase == "starting" else len(mixed)
        async with asyncio.timeout(120):
            with observed(observer):
                jobs: list[Job[Any]] = []
                for start in range(0, len(mixed), step):
                    jobs += await getattr(scene, phase)(mixed[start : start + step])
        await observer.look()
        self.cells |= {j.id: Cell(k, phase, name) for j, k in zip(jobs, mixed, strict=True)}
        self.answers |= scene.answers
        self.survivors += observer.survivors


def check(folder: Path, rounds: int) -> None:
    matrix = Matrix(folder)
    assert matrix.belt.store.counts().result(10) == []
    watch(folder / "jobs.db")
    asyncio.run(matrix.play(rounds))
    matrix.belt.close()
    matrix.lines.look()
    made = changes(folder / "jobs.db")
    assert objections(matrix.cells, matrix.lines, made, matrix.answers) == []
    assert matrix.survivors == []
    assert [x for x in matrix.lines.all if x.word in ("begin", "child") and x.alive] == []
    report(matrix, {x.job: x for x in made if x.state in FINAL})


def report(matrix: Matrix, ended: Mapping[str, Change]) -> None:
    """Print the matrix, and object to what took too long."""
    took: dict[Cell, list[float]] = defaultdict(list)
    counts: dict[Cell, Counter[State]] = defaultdict(Counter)
    for job, cell in matrix.cells.items():
        counts[cell][ended[job].state] += 1
        seconds = latency(matrix.answers[job], ended[job])
        if seconds is not None:
            took[cell].append(seconds)
    slow: list[str] = []
    print("\nkind          phase      asker  cancelled  completed     p50     p99")
    for cell in sorted(counts):
        p50, p99 = percentile(took[cell], 0.5), percentile(took[cell], 0.99)
        done = [counts[cell][state] for state in (State.CANCELLED, State.COMPLETED)]
        line = f"{cell.kind:13} {cell.phase:10} {cell.asker:6} {done[0]:9} {done[1]:10}"
        print(line, f"{p50:7.3f} {p99:7.3f}")
        if p99 > PROMISED + (recording_jobs.GRACE if cell.kind in DEAF else 0.0):
            slow.append(line)
    assert slow == []
    missed = [cell for cell in counts if cell.phase == "starting" and not took[cell]]
    assert missed == [], "every cancel came too early, so this shows little"
    met = Counter((cell.phase, state) for cell in counts for state in counts[cell])
    assert met["finishing", State.CANCELLED], "every cancel came too late, so this shows little"
    assert met["finishing", State.COMPLETED], "no cancel came too late, so this shows little"


def percentile(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else 0.0


def test_each_kind_is_cancelled_in_each_phase_by_each_caller_twenty_times(tmp_path: Path) -> None:
    check(tmp_path, 1)


@pytest.mark.slow
def test_each_kind_is_cancelled_in_each_phase_by_each_caller_two_hundred_times(
    tmp_path: Path,
) -> None:
    check(tmp_path, 10)


class Naive:
    """The known-bad one: it says `cancelled` at once, and sends a signal to the program then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = apsw.Connection(str(folder / "naive.db"))
        self.db.execute("CREATE TABLE job (id TEXT, state TEXT, lease INTEGER);" + WATCH)
        self.programs: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, job: str) -> None:
        argv = [sys.executable, "-I", "-S", tree.__file__, LINES, "100", "", "listening"]
        env = {"CONVEYOR_JOB_ID": job, "CONVEYOR_LEASE": "1"}
        self.programs[job] = subprocess.Popen(argv, cwd=self.folder, env=env)
        self.db.execute("INSERT INTO job VALUES (?, 'running', 1)", (job,))

    async def cancel(self, job: str) -> None:
        self.db.execute("UPDATE job SET state = 'cancelled' WHERE id = ?", (job,))
        await asyncio.sleep(0.1)
        self.programs[job].terminate()
        self.programs[job].wait()

    async def finals(self) -> Mapping[str, State]:
        found = self.db.execute("SELECT id, state FROM job WHERE state <> 'running'")
        return {str(job): State(str(state)) for job, state in found}


def test_the_same_harness_rejects_a_queue_that_reports_cancelled_at_once(tmp_path: Path) -> None:
    naive, lines = Naive(tmp_path), Lines(tmp_path / LINES)
    jobs = [f"job-{number}" for number in range(3)]

    async def play() -> Observer:
        observer = Observer(lines, naive.finals, os.getpid())
        for job in jobs:
            naive.start(job)
        async with asyncio.timeout(30):
            while not lines.has("begin", jobs):  # noqa: ASYNC110 - they are outside
                await asyncio.sleep(0.01)
            with observed(observer):
                await asyncio.gather(*map(naive.cancel, jobs))
        return observer

    observer = asyncio.run(play())
    naive.db.close()
    lines.look()
    cells = {job: Cell("command", "running", "same") for job in jobs}
    answers = {job: Answer(0.0, cancelled=True) for job in jobs}
    left = [line for line in lines.all if line.word == "child" and line.alive]
    for line in left:
        os.kill(line.pid, signal.SIGKILL)
    found = objections(cells, lines, changes(tmp_path / "naive.db"), answers)
    assert len([each for each in found if "ran on for" in each]) == len(jobs)
    assert len(left) == len(jobs)
    assert {each.split()[0] for each in observer.survivors} == set(jobs)
