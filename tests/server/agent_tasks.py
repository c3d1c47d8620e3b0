"""Tasks for agents to run, and for programs to enqueue."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from conveyor import Conveyor, current_job

# How often a job says that it runs, and how long it cleans up, in seconds.
PAUSE, CLEANING = 0.2, 0.05

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
def poison() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@queue.task
def watchful(seconds: float) -> None:
    print("watching", flush=True)
    current_job().sleep(seconds)


@queue.task
async def talk(number: int, pause: float) -> int:
    for line in range(5):
        print(f"{number}.{line}", flush=True)
        await asyncio.sleep(pause)
    return number


@queue.task
async def beat(path: str, seconds: float) -> None:
    """Append a line regularly while running, and another at the end."""
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            note(path, "runs")
            await asyncio.sleep(PAUSE)
    finally:
        await asyncio.sleep(CLEANING)
        note(path, "ends")


def note(path: str, word: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{time.time():.6f} {current_job().id} {word}\n")
