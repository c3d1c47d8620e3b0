"""pgqueuer with asyncpg, and batches of 100."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import jobs
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

WORKER = [sys.executable, "pgqueuer_worker.py", "100"]
DRAINED = 3


@asynccontextmanager
async def main() -> AsyncIterator[PgQueuer]:
    connection = await asyncpg.connect(jobs.SERVER)
    queuer = PgQueuer(AsyncpgDriver(connection))

    @queuer.entrypoint("mark")
    async def mark(_job: Job) -> None:
        jobs.mark()

    @queuer.entrypoint("stamp")
    async def stamp(job: Job) -> None:
        jobs.stamp(int(job.payload))

    yield queuer
    await connection.close()


async def setup() -> None:
    await start()
    await queries.install()


async def start() -> None:
    # A pool, so that several coroutines can enqueue at once; each call takes one connection.
    global pool, queries  # noqa: PLW0603 - a program
    pool = await asyncpg.create_pool(jobs.SERVER, min_size=1, max_size=8)
    queries = Queries(AsyncpgPoolDriver(pool))


async def send() -> None:
    await queries.enqueue("mark", b"")


async def send_many(count: int) -> None:
    await queries.enqueue(["mark"] * count, [None] * count, [0] * count)


async def probe(enqueued_at: int) -> None:
    await queries.enqueue("stamp", str(enqueued_at).encode())


async def close() -> None:
    await pool.close()
