"""Jobs of every kind, that need an init: they wait for subprocesses, and leave orphans."""

from __future__ import annotations

import asyncio
import subprocess
import time

from conveyor import Conveyor

CODES = [0, 3, 7]

# The first orphan leaves its session, the second only its parent.
ORPHANS = "(setsid sleep 0.05 &); (sleep 0.02 &); exit 3"


async def coroutine(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slept"


def thread() -> list[int]:
    # Below no guard, so that its orphan is left to PID 1.
    subprocess.run(["sh", "-c", "(setsid sleep 0.03 >/dev/null 2>&1 &)"], check=True)
    return [subprocess.run(["sh", "-c", f"exit {code}"], check=False).returncode for code in CODES]


def process() -> str:
    time.sleep(0.02)
    return "worked"


def declare(url: str | None = None) -> Conveyor:
    """Return a belt with these tasks."""
    belt = Conveyor(url)
    queue = belt.queue("drill")
    queue.task(name="coroutine", retries=0)(coroutine)
    queue.task(name="thread", retries=0)(thread)
    queue.task(name="process", retries=0, run="process")(process)
    return belt


def enqueue(belt: Conveyor, *, long: bool) -> set[str]:
    """Enqueue some of each kind, perhaps with one that outlasts the drain; return their ids."""
    command = belt.command(
        "sh", "-c", f"exec >/dev/null 2>&1; {ORPHANS}", queue="drill", ok_exit_codes=[3]
    )
    coroutine, thread, process = (belt.functions[name] for name in TASKS)
    jobs = [process.enqueue(), coroutine.enqueue(2.0 if long else 0.1)]
    for _ in range(5):
        jobs += [coroutine.enqueue(0.05), thread.enqueue(), command.enqueue(), command.enqueue()]
    return {job.id for job in jobs}


TASKS = ("coroutine", "thread", "process")
belt = declare()
RESULTS = {"coroutine": b'"slept"', "thread": b"[0,3,7]", "process": b'"worked"'}
COMMAND_RESULT = b'{"exit_code":3}'
