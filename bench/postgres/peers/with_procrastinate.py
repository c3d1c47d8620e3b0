"""Procrastinate with psycopg, and 20 jobs at once, with which it is fastest."""

from __future__ import annotations

import sys

import jobs
import procrastinate

WORKER = [
    *(sys.executable, "-m", "procrastinate", "--app", "with_procrastinate.app", "worker"),
    *("--concurrency", "20"),
]
DRAINED = 0.5

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=jobs.SERVER))


@app.task(name="mark")
async def mark() -> None:
    jobs.mark()


@app.task(name="stamp")
async def stamp(enqueued_at: int) -> None:
    jobs.stamp(enqueued_at)


async def setup() -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def start() -> None:
    await app.open_async()


async def send() -> None:
    await mark.defer_async()


async def send_many(count: int) -> None:
    await mark.batch_defer_async(*[{} for _ in range(count)])


async def probe(enqueued_at: int) -> None:
    await stamp.defer_async(enqueued_at=enqueued_at)


async def close() -> None:
    await app.close_async()
