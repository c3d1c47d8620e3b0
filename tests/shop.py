"""Tasks of all kinds except commands on one Conveyor, for tests that run real jobs."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from conveyor import (
    Conveyor,
    Snooze,
    current_job,
)
from conveyor.worker.worker import Worker

LOG = logging.getLogger("shop")
TOKEN: contextvars.ContextVar[str] = contextvars.ContextVar("token", default="none")
Until = Callable[[Callable[[], object]], None]
RELEASED = threading.Event()


class Unprintable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError("no text")


belt = Conveyor("memory:")
queue = belt.queue("q")


async def _async(x: int) -> int:
    await asyncio.sleep(0)
    return x * 2


def _plain(x: int) -> int:
    return x * 2


double = {
    "coroutine": queue.task(name="a")(_async),
    "thread": queue.task(name="b")(_plain),
    "process": queue.task(name="c", run="process")(_plain),
    "async in a process": queue.task(name="d", run="process")(_async),
}


@queue.task(name="speak")
async def speak_async(who: str) -> None:
    for word in ("one", "two", "three"):
        print(who, word)
        await asyncio.sleep(0.001)
    print("to stderr", file=sys.stderr)
    LOG.warning("%s logs", who)


def _speak(who: str) -> None:
    for word in ("one", "two", "three"):
        print(who, word)
    print("to stderr", file=sys.stderr)
    LOG.warning("%s logs", who)


speak: dict[str, Any] = {
    "coroutine": speak_async,
    "thread": queue.task(name="speak thread")(_speak),
    "process": queue.task(name="speak process", run="process")(_speak),
}


def _fail(how: str) -> object:
    match how:
        case "raise":
            raise ValueError("no such thing")
        case "unprintable":
            raise Unprintable
        case "exit":
            raise SystemExit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case _:
            return object()


async def _fail_async(how: str) -> object:
    return _fail(how)


fail: dict[str, Any] = {
    "coroutine": queue.task(name="fail coroutine")(_fail_async),
    "thread": queue.task(name="fail thread")(_fail),
    "process": queue.task(name="fail process", run="process")(_fail),
}


class Aimless(Snooze):
    def __init__(self) -> None:  # without a delay
        pass


def _says(what: str) -> None:
    match what:
        case "no delay":
            raise Aimless
        case "snooze nan":
            raise Snooze(float("nan"))
        case "snooze for ever":
            raise Snooze(1e300)
        case "progress nan":
            current_job().progress(float("nan"))
        case "progress of inf":
            current_job().progress(1, float("inf"))
        case "progress too large":
            current_job().progress(10**400)
        case _:
            current_job().progress(1e300, 1e301)


async def _says_async(what: str) -> None:
    _says(what)


says: dict[str, Any] = {
    "coroutine": queue.task(name="says coroutine")(_says_async),
    "thread": queue.task(name="says thread")(_says),
    "process": queue.task(name="says process", run="process")(_says),
}


@queue.task(timeout=0.3)
async def too_long() -> None:
    await asyncio.sleep(60)


@queue.task(timeout=4, grace=0.2)
def hangs(pids: Path) -> None:
    child = subprocess.Popen(["sleep", "60"])
    pids.write_text(f"{os.getpid()} {child.pid}")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


@queue.task(run="process")
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@queue.task
async def sees_token() -> str:
    before = TOKEN.get()
    TOKEN.set("changed")
    await asyncio.sleep(0)
    return f"{before} {TOKEN.get()}"


@queue.task
async def steps(done: int) -> None:
    for number in range(done):
        current_job().progress(number + 1, done, "stepping")
        await asyncio.sleep(0)


@queue.task
async def naps() -> str:
    if current_job().lease == 1:
        raise Snooze(0.0)
    return f"attempt {current_job().attempt}"


@queue.task(run="process")
def own_pid() -> int:
    return os.getpid()


@queue.task
def loud(megabytes: int) -> None:
    for _ in range(megabytes):
        print("x" * 1_000_000)


@queue.task
async def waits_for_stop() -> None:
    await asyncio.sleep(60)


@queue.task
def listens() -> None:
    current_job().sleep(60)


@queue.task
async def stubborn() -> str:
    """Go on in spite of cancels until `RELEASED` is set."""
    while not RELEASED.is_set():
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)
    return "done anyway"


@queue.task
async def cancels_itself() -> None:
    raise asyncio.CancelledError


async def soon(done: Callable[[], object]) -> None:
    """Yield to the event loop until a condition is true; fail after 60 s."""
    deadline = time.monotonic() + 60.0
    while not done():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        await asyncio.sleep(0.005)


def work(**options: Any) -> int:
    return belt.work(timeout=30, slots=4, **options)


class Running:
    """A worker in a thread, for tests that act while a job runs."""

    def __init__(self, served: Conveyor = belt, **options: Any) -> None:
        self.worker: Worker = served.worker(queues=["q"], **{"slots": 2, **options})
        self.thread = threading.Thread(target=lambda: asyncio.run(self.worker.run()))

    def __enter__(self) -> Worker:
        self.thread.start()
        return self.worker

    def __exit__(self, *_: object) -> None:
        self.worker.call(self.worker.cancel_all)
        self.thread.join(30)
        assert not self.thread.is_alive()


def fresh_store() -> Iterator[None]:
    """Give the belt a new memory store before a test, and close it afterwards."""
    belt._producer._opened = None
    RELEASED.clear()
    yield
    RELEASED.set()
    if belt._producer._opened is not None:
        belt._producer.hint_waiters.close()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
