"""Chancy with its executor for coroutines, 100 at once, and eager polling."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import jobs
from chancy import Chancy, Queue, job

WORKER = [
    *(str(Path(sys.executable).with_name("chancy")), "-a", "with_chancy.chancy"),
    *("worker", "start"),
]
DRAINED = 0.5

log = logging.getLogger("chancy")
log.setLevel(logging.ERROR)
chancy = Chancy(jobs.SERVER, log=log)


@job(queue="default")
async def mark() -> None:
    jobs.mark()


@job(queue="default")
async def stamp(*, enqueued_at: int) -> None:
    jobs.stamp(enqueued_at)


async def setup() -> None:
    async with chancy:
        await chancy.migrate()
        queue = Queue(
            name="default",
            concurrency=100,
            executor="chancy.executors.asyncex.AsyncExecutor",
            eager_polling=True,
        )
        await chancy.declare(queue, upsert=True)


async def start() -> None:
    await chancy.__aenter__()


async def send() -> None:
    await chancy.push(mark.job)


async def send_many(count: int) -> None:
    async for _ in chancy.push_many([mark.job] * count):
        pass


async def probe(enqueued_at: int) -> None:
    await chancy.push(stamp.job.with_kwargs(enqueued_at=enqueued_at))


async def close() -> None:
    await chancy.__aexit__(None, None, None)
