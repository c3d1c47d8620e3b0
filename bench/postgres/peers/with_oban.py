"""Oban for Python, with 100 jobs at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jobs
from oban import Oban
from oban_tasks import Mark, Stamp

OBAN = str(Path(sys.executable).with_name("oban"))
WORKER = [
    *(OBAN, "start", "--dsn", jobs.SERVER, "--cron-modules", "oban_tasks"),
    *("--log-level", "error", "--queues", "default:100"),
]
DRAINED = 1


async def setup() -> None:
    subprocess.run(  # noqa: ASYNC221 - nothing else runs in this loop
        [OBAN, "install", "--dsn", jobs.SERVER], check=True, capture_output=True
    )


async def start() -> None:
    global pool, oban  # noqa: PLW0603 - a program
    pool = await Oban.create_pool(dsn=jobs.SERVER)
    oban = Oban(pool=pool)
    await oban.start()


async def send() -> None:
    await Mark.enqueue({})


async def send_many(count: int) -> None:
    await oban.enqueue_many([Mark.new({}) for _ in range(count)])


async def probe(enqueued_at: int) -> None:
    await Stamp.enqueue({"enqueued_at": enqueued_at})


async def close() -> None:
    await oban.stop()
    await pool.close()
