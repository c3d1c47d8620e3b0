"""Tasks for agents to run, and for programs to enqueue."""

from __future__ import annotations

import asyncio
import os
import time

from conveyor import Conveyor, current_job

belt = Conveyor("memory:")
queue = belt.queue("default")


@queue.task
def add(one: int, other: int) -> int:
    return one + other


@queue.task
async def nap(seconds: float) -> str:
    print("napping", flush=True)
    await asyncio.sleep(seconds)
    return "rested"


@queue.task(run="process")
def spin(seconds: float) -> int:
    print("spinning", flush=True)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pass
    return os.getpid()


@queue.task
def watchful(seconds: float) -> None:
    print("watching", flush=True)
    current_job().sleep(seconds)
