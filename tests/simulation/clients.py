"""Programs that use the store over wires of their own: they enqueue, look and cancel."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import jobs
import msgspec
from wire import Wire

from conveyor.client.job_handle import Job
from conveyor.core.codec import ResultCodec
from conveyor.core.job import NewJob, Options, State
from conveyor.core.retry import Fixed
from conveyor.errors import NotFoundError, UnavailableError
from conveyor.store.hint_waiters import HintWaiters

if TYPE_CHECKING:
    from world import World

JOBS = 7
# Longer than any simulation: how long to stay is decided in virtual time around the call.
FOR_EVER = 1e9


class Client:
    """One program. It remembers what it was promised."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._wire = Wire(world, name)
        self._hint_waiters = HintWaiters(self._wire)
        self._accepted: list[str] = []
        self._cancelled: list[str] = []

    async def run(self) -> None:
        """Enqueue jobs for a while; afterwards, look after some of them."""
        rng = self._world.rng
        looking: list[asyncio.Task[None]] = []
        for _ in range(JOBS):
            await asyncio.sleep(rng.expovariate(0.4))
            for _ in range(rng.choice((1, 1, 1, 1, 6))):
                job_id = await self._enqueue()
                if rng.random() < 0.45:
                    looking.append(self._world.loop.create_task(self._cancel(job_id)))
        if looking:
            await asyncio.wait(looking)

    def judge(self) -> None:
        """Say which promises were broken, now that all is over."""
        known = self._world.witness.job
        for job_id in self._accepted:
            if known(job_id) is None:
                self._world.broken("lost", f"{job_id} was accepted, and is not there")
        for job_id in self._cancelled:
            job = known(job_id)
            if job is None or job.state is not State.CANCELLED:
                state = job and job.state
                self._world.broken("cancel", f"{job_id} was said to be cancelled, and is {state}")

    async def _enqueue(self) -> str:
        world = self._world
        new = self._make()
        world.note("enqueues", self._wire.name, new.id, new.task, new.args.decode())
        with suppress(UnavailableError):
            await self._wire.insert([new])
            self._accepted.append(new.id)
        return new.id

    def _make(self) -> NewJob:
        world, rng = self._world, self._world.rng
        script = jobs.Script(
            seconds=rng.choice((0.0, 0.01, 0.1, 1.0, 3.0, 9.0, 20.0)),
            stubborn=rng.choice((0.0, 0.0, 0.0, 0.5, 3.0, 30.0)),
            fails=rng.choice((0, 0, 0, 1, 2)),
            snoozes=rng.choice((0, 0, 0, 0, 1)),
        )
        options = Options(
            retries=rng.choice((0, 1, 3)),
            backoff=Fixed(rng.choice((0.1, 1.0))),
            timeout=rng.choice((None, None, None, 0.5, 2.0)),
            grace=rng.choice((0.2, jobs.LONGEST_GRACE)),
            on_shutdown=rng.choice(("release", "release", "cancel")),
            crash_limit=rng.choice((2, 3)),
            expires_at=rng.choice((None, None, None, world.clock.now() + 20.0)),
        )
        return NewJob(
            id=world.new_id(),
            task=rng.choice(("work", "work", "toil")),
            queue=rng.choice(("urgent", "default")),
            args=msgspec.json.encode(script),
            priority=rng.choice((0, 0, 1)),
            delay=rng.choice((0.0, 0.0, 0.0, 2.0)),
            options=options,
        )

    async def _cancel(self, job_id: str) -> None:
        world, rng = self._world, self._world.rng
        await asyncio.sleep(rng.choice((0.0, 0.02, 0.2, 2.0, 6.0)) * rng.random())
        job: Job[None] = Job(
            job_id, store=self._wire, hint_waiters=self._hint_waiters, results=ResultCodec(_nothing)
        )
        stay = rng.choice((None, 0.5, 5.0))
        with suppress(UnavailableError, NotFoundError, TimeoutError):
            async with asyncio.timeout(60.0 if stay is None else stay):
                world.note("cancels", self._wire.name, job_id)
                if await job.acancel(None if stay is None else FOR_EVER):
                    world.note("was told it is cancelled", self._wire.name, job_id)
                    self._cancelled.append(job_id)
                    for run in world.runs.of(job_id):
                        world.runs.beside(run, f"{job_id} was called cancelled")


def _nothing() -> None:
    """Stand for what a job returns."""
