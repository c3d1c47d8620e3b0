"""Functions that stand still in a known line, as jobs of each kind."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path


def wait_for(path: str) -> None:
    """Stand still until a file exists."""
    Path(path).with_suffix(f".{os.getpid()}").touch()
    while not Path(path).exists():
        time.sleep(0.01)  # a thread stands here


async def await_for(path: str) -> None:
    """Suspend until a file exists."""
    Path(path).with_suffix(".begun").touch()
    await inner(path)


async def inner(path: str) -> None:
    is_open = Path(path).exists
    while not is_open():  # noqa: ASYNC110 - another process makes the file
        await asyncio.sleep(0.01)  # a coroutine stands here


async def block_for(path: str) -> None:
    """Block the event loop until a file exists."""
    wait_for(path)


async def sit_beside(path: str) -> None:
    """Suspend while another coroutine blocks the loop."""
    await await_for(path)
