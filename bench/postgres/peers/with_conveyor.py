"""Conveyor: blocking calls for one at a time, coroutines otherwise."""

from __future__ import annotations

import asyncio
import sys

import jobs

from conveyor import Conveyor
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.migrate import Migration

WORKER = [sys.executable, "-m", "conveyor", "worker", "with_conveyor:belt", "--concurrency", "200"]
DRAINED = 5
NAP = 0.01

belt = Conveyor(jobs.SERVER)


@belt.task(name="mark")
async def mark() -> None:
    jobs.mark()


@belt.task(name="nap")
async def nap() -> None:
    await asyncio.sleep(NAP)
    jobs.mark()


@belt.task(name="stamp")
async def stamp(enqueued_at: int) -> None:
    jobs.stamp(enqueued_at)


async def setup() -> None:
    Migration(parse_address(jobs.SERVER)).run()


async def start() -> None: ...


def send_blocking() -> None:
    mark.enqueue()


async def send() -> None:
    await mark.aenqueue()


async def send_many(count: int) -> None:
    await mark.aenqueue_many([()] * count)


async def send_naps(count: int) -> None:
    await nap.aenqueue_many([()] * count)


async def probe(enqueued_at: int) -> None:
    await stamp.aenqueue(enqueued_at)


async def close() -> None:
    belt.close()
