"""Conveyor: processes, threads, coroutines and commands, SQLite."""

from __future__ import annotations

import os
import sys

import bodies

from conveyor import Conveyor

PACKAGE = "conveyor"
WORKER = [
    *(sys.executable, "-m", "conveyor", "worker", "with_conveyor:belt", "-c", "1"),
    *("--drain", os.environ["DRAIN"]),
]
KINDS = {
    "sigterm": ["process", "thread"],
    "killed": ["process"],
    "async": ["coroutine"],
    "blocking": ["process", "thread"],
    "tree": ["command", "process", "coroutine"],
}
GONE = ["cancelled"]

belt = Conveyor(os.environ["STORE"])
for _body in (bodies.long, bodies.parent, bodies.beat, bodies.tree):
    belt.task(name=f"{_body.__name__}_process", run="process")(_body)
belt.task(name="long_thread")(bodies.long)
belt.task(name="beat_thread")(bodies.beat)
belt.task(name="beat_coroutine")(bodies.abeat)
belt.task(name="tree_coroutine")(bodies.atree)


def enqueue(task: str, folder: str) -> str:
    """Enqueue a job, or the command that starts the tree."""
    if task == "tree_command":
        return belt.command(*bodies.tree_command(folder)).enqueue().id
    return belt.functions[task].enqueue(folder).id


def cancel(job: str) -> bool:
    """Cancel a job and wait for the outcome."""
    return belt.job(job).cancel(wait=12)


def state(job: str) -> str:
    """Return the state of a job, and whether it was asked to stop."""
    record = belt.job(job).record
    asked = record.cancel_requested_at is not None and not record.is_final
    return f"{record.state}, cancelling" if asked else str(record.state)
