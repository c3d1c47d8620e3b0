"""The jobs, the same for every peer: they record their start and end, and write heartbeats.

A heartbeat is a file that is written every 50 ms. No job checks for cancellation or catches an
exception; they sleep in short steps, so that an exception raised in their thread takes effect.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

STEP = 0.05
SECONDS = 60.0
TREE = Path(__file__).with_name("tree.sh")


def long(folder: str) -> None:
    """Run for a minute."""
    note(folder, "start")
    beat(folder)
    note(folder, "end")


async def along(folder: str) -> None:
    """Run for a minute, as a coroutine."""
    note(folder, "start")
    await abeat(folder)
    note(folder, "end")


def parent(folder: str) -> None:
    """Run for a minute beside a child process."""
    child = subprocess.Popen(["sleep", str(SECONDS)])
    _show_child(folder, child.pid)
    long(folder)
    child.wait()


async def aparent(folder: str) -> None:
    """Run for a minute beside a child process, as a coroutine."""
    child = await asyncio.create_subprocess_exec("sleep", str(SECONDS))
    _show_child(folder, child.pid)
    await along(folder)
    await child.wait()


def tree(folder: str) -> None:
    """Start a process tree and wait for it."""
    subprocess.run(tree_command(folder), check=True)


async def atree(folder: str) -> None:
    """Start a process tree and wait for it, as a coroutine."""
    child = await asyncio.create_subprocess_exec(*tree_command(folder))
    await child.wait()


def tree_command(folder: str) -> list[str]:
    """Return the command of the process tree."""
    return ["sh", str(TREE), folder, str(int(SECONDS / STEP))]


def beat(folder: str) -> None:
    """Write a heartbeat for a minute."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        _pulse(folder)
        time.sleep(STEP)


async def abeat(folder: str) -> None:
    """Write a heartbeat for a minute, as a coroutine."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        _pulse(folder)
        await asyncio.sleep(STEP)


def note(folder: str, what: str) -> None:
    """Record an event with its pid and time."""
    with Path(folder, "events").open("a") as file:
        file.write(f"{what} {os.getpid()} {time.time()}\n")


def _pulse(folder: str) -> None:
    Path(folder, f"job-{os.getpid()}").write_text(str(time.time()))


def _show_child(folder: str, pid: int) -> None:
    Path(folder, f"sleeper-{pid}").touch()
