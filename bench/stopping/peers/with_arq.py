"""Arq: coroutines, blocking code in a process pool as its documentation shows, Redis."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import bodies
from arq import create_pool
from arq.connections import RedisSettings
from arq.jobs import Job
from arq.worker import func

PACKAGE = "arq"
WORKER = [str(Path(sys.executable).with_name("arq")), "with_arq.WorkerSettings"]
KINDS = {
    **{scene: ["coroutine"] for scene in ("sigterm", "killed", "async", "tree")},
    "blocking": ["process"],
}
GONE = ["not_found", "aborted"]

ADDRESS = RedisSettings.from_dsn(os.environ["REDIS_URL"])
loop = asyncio.new_event_loop()


def with_context(body: Callable[[str], Any]) -> Callable[..., Any]:
    """Drop the context that arq passes."""

    async def run(_context: dict[str, Any], folder: str) -> None:
        await body(folder)

    return run


async def beat_process(context: dict[str, Any], folder: str) -> None:
    """Run blocking code in the pool."""
    await asyncio.get_running_loop().run_in_executor(context["pool"], bodies.beat, folder)


async def startup(context: dict[str, Any]) -> None:
    """Create the pool."""
    context["pool"] = ProcessPoolExecutor(1)


class WorkerSettings:
    """Worker settings. An abandoned job also waits for the job timeout."""

    functions: ClassVar[list[Any]] = [
        func(with_context(bodies.along), name="long_coroutine"),
        func(with_context(bodies.aparent), name="parent_coroutine"),
        func(with_context(bodies.abeat), name="beat_coroutine"),
        func(with_context(bodies.atree), name="tree_coroutine"),
        beat_process,
    ]
    redis_settings = ADDRESS
    on_startup = startup
    max_jobs = 1
    job_timeout = 90
    job_completion_wait = int(float(os.environ["DRAIN"]))
    allow_abort_jobs = True


def enqueue(task: str, folder: str) -> str:
    """Enqueue a job."""
    pool = loop.run_until_complete(create_pool(ADDRESS))
    return str(loop.run_until_complete(pool.enqueue_job(task, folder)).job_id)


def cancel(job: str) -> bool:
    """Abort a job and wait for the outcome; return whether it was aborted."""
    pool = loop.run_until_complete(create_pool(ADDRESS))
    return bool(loop.run_until_complete(Job(job, pool).abort(timeout=10)))


def state(job: str) -> str:
    """Return the status; the result of a complete job shows whether it was aborted."""
    asked = Job(job, loop.run_until_complete(create_pool(ADDRESS)))
    said = loop.run_until_complete(asked.status()).value
    if said == "complete":
        info = loop.run_until_complete(asked.result_info())
        return "aborted" if info and isinstance(info.result, asyncio.CancelledError) else said
    return str(said)
