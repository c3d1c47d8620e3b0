"""The phases in which jobs are cancelled, an observer of all of it, and its objections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import recording_jobs
from cancel_callers import Answer, Asker
from evidence import Line, Lines, run_on

from conveyor import Conveyor, State
from conveyor.client.job_handle import Job
from conveyor.core.job import FINAL
from state_changes import Change

FAR = 100.0
LOOK = 0.01
PATIENCE = 60.0
# Within this time of its enqueueing a job is being claimed, or its process is being started.
SOON = {"coroutine": 0.01, "thread": 0.01, "process": 0.15, "command": 0.1}
# How far from the time of the request a job becomes due that is to meet with it at its start.
DUE = -0.25, 0.05
# How far from a job's own end it is asked to stop.
ABOUT = -0.03, 0.06


class Cell(NamedTuple):
    """A part of the matrix."""

    kind: str
    phase: str
    asker: str


class Observer:
    """Looks from outside, often: which jobs are final, and which processes of theirs live then.

    `finals` says which are final. `worker` is the process that coroutines and threads share.
    """

    def __init__(
        self, lines: Lines, finals: Callable[[], Awaitable[Mapping[str, State]]], worker: int
    ) -> None:
        self._lines = lines
        self._finals = finals
        self._worker = worker
        self.seen: dict[str, State] = {}
        self.survivors: list[str] = []

    async def look(self) -> None:
        news = {job: s for job, s in (await self._finals()).items() if job not in self.seen}
        self.seen |= news
        self._lines.look()
        for job, state in news.items():
            for line in self._lines.of[job]:
                if line.word in ("begin", "child") and self._is_left(line, state):
                    self.survivors.append(f"{job} is {state}, and {line.pid} lives")

    def _is_left(self, line: Line, state: State) -> bool:
        # A child process that has done its job is there for the next one.
        stays = line.pid == self._worker or (line.word == "begin" and state is State.COMPLETED)
        return line.alive and not stays

    async def watch(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK)


class Scene:
    """One phase and one asker: some jobs of each kind that meet with a cancel."""

    def __init__(
        self, belt: Conveyor, asker: Asker, lines: Lines, go: Path, draw: random.Random
    ) -> None:
        self._belt = belt
        self._asker = asker
        self._lines = lines
        self._go = go
        self._draw = draw
        self.answers: dict[str, Answer] = {}

    async def queued(self, kinds: Sequence[str]) -> list[Job[Any]]:
        queue = self._belt.queue(recording_jobs.QUEUE)
        await asyncio.to_thread(queue.pause)
        jobs = [await self._enqueue(kind, delay=self._draw.choice((0, FAR))) for kind in kinds]
        await self._ask(dict.fromkeys(jobs, 0.0))
        await asyncio.to_thread(queue.resume)
        return jobs

    async def starting(self, kinds: Sequence[str]) -> list[Job[Any]]:
        if self._asker.together:
            delays = [self._asker.lead + self._draw.uniform(*DUE) for _ in kinds]
            due = [max(0.0, delay) for delay in delays]
            jobs = [await self._enqueue(k, delay=d) for k, d in zip(kinds, due, strict=True)]
            await self._ask(dict.fromkeys(jobs, 0.0))
            return jobs
        return await asyncio.gather(*map(self._meet_at_the_start, kinds))

    async def running(self, kinds: Sequence[str]) -> list[Job[Any]]:
        jobs = [await self._enqueue(kind) for kind in kinds]
        await self._until_begun(jobs)
        await self._ask({job: self._draw.uniform(0, 0.3) for job in jobs})
        return jobs

    async def finishing(self, kinds: Sequence[str]) -> list[Job[Any]]:
        span = 2 * self._asker.lead or 0.5
        ends = [self._draw.uniform(0, span) for _ in kinds]
        jobs = [
            await self._enqueue(kind, seconds, str(self._go))
            for kind, seconds in zip(kinds, ends, strict=True)
        ]
        await self._until_begun(jobs)
        self._go.touch()
        about = [max(0.0, end + self._draw.uniform(*ABOUT)) for end in ends]
        await self._ask(dict(zip(jobs, about, strict=True)))
        return jobs

    async def _meet_at_the_start(self, kind: str) -> Job[Any]:
        await asyncio.sleep(self._draw.uniform(0, 0.5))
        job = await self._enqueue(kind)
        await self._ask({job: self._draw.uniform(0, SOON[kind])})
        return job

    async def _enqueue(
        self, kind: str, seconds: float = FAR, go: str = "", **options: Any
    ) -> Job[Any]:
        grace = recording_jobs.GRACE if kind in recording_jobs.DEAF else 10.0
        return await asyncio.to_thread(
            recording_jobs.enqueue, self._belt, kind, seconds, go, grace=grace, **options
        )

    async def _until_begun(self, jobs: Sequence[Job[Any]]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not self._lines.has("begin", [job.id for job in jobs]):  # noqa: ASYNC110 - they are outside
                await asyncio.sleep(LOOK)

    async def _ask(self, delays: Mapping[Job[Any], float]) -> None:
        if self._asker.together:
            await self._hear(list(delays))
        else:
            await asyncio.gather(*(self._hear([job], wait) for job, wait in delays.items()))

    async def _hear(self, jobs: list[Job[Any]], wait: float = 0.0) -> None:
        await asyncio.sleep(wait)
        answers = await self._asker.ask(jobs)
        self.answers |= {job.id: answer for job, answer in zip(jobs, answers, strict=True)}


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Have an observer look all the time."""
    watching = asyncio.create_task(observer.watch())
    try:
        yield
    finally:
        watching.cancel()


def objections(
    cells: Mapping[str, Cell],
    lines: Lines,
    changes: Sequence[Change],
    answers: Mapping[str, Answer],
) -> list[str]:
    """Say what of all that happened was a lie."""
    found: list[str] = []
    ended = {change.job: change for change in changes if change.state in FINAL}
    for job, cell in cells.items():
        states = [change.state for change in changes if change.job == job]
        words = {line.word for line in lines.of[job]}
        final = [state for state in states if state in FINAL]
        match final:
            case [State.CANCELLED] if cell.phase == "queued" and words:
                found.append(f"{job} {cell} ran, although it was cancelled before")
            case [State.COMPLETED] if "end" not in words:
                found.append(f"{job} {cell} is completed, and did not reach its end")
            case [State.CANCELLED | State.COMPLETED]:
                pass
            case _:
                found.append(f"{job} {cell} went through {states}")
        if answers[job].cancelled is not (final == [State.CANCELLED]):
            found.append(f"{job} {cell} is {final}, and its caller heard {answers[job]}")
    return found + run_on(lines, ended)


def latency(answer: Answer, ended: Change) -> float | None:
    """Return how long a job took to end from the request on; None if it had ended before."""
    if answer.asked_at is None or ended.at < answer.asked_at:
        return None
    return ended.at - answer.asked_at
