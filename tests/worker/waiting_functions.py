"""Functions that run in a process and wait for what only their own slot could do."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing

from conveyor import Conveyor


def fill() -> None: ...


def enqueues(path: str) -> None:
    with closing(Conveyor(path)) as belt:
        task = belt.queue("small", capacity=1).task(fill)
        task.enqueue()
        task.enqueue()


def waits(path: str) -> None:
    with closing(Conveyor(path)) as belt:
        belt.task(fill).enqueue().result()


def submits() -> None:
    Conveyor("memory:").submit(threading.Event().wait).result()


async def submits_in_a_thread(_path: str) -> None:
    """Wait in a thread: whatever ends this coroutine, its event loop waits for that thread."""
    await asyncio.to_thread(submits)
