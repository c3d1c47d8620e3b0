"""Huey: worker processes, Redis."""

from __future__ import annotations

import os
import sys
from typing import Any

import bodies
from huey import PriorityRedisHuey
from huey.signals import SIGNAL_INTERRUPTED

PACKAGE = "huey"
WORKER = [
    *(sys.executable, "-m", "huey.bin.huey_consumer", "with_huey.huey", "-w", "1"),
    *("-k", "process", "-g", "TERM", "-t", os.environ["DRAIN"]),
]
# It cannot stop a running task; only waiting tasks can be revoked.
KINDS = {scene: ["process"] for scene in ("sigterm", "killed")}
GONE: list[str] = []

huey = PriorityRedisHuey("scenes", url=os.environ["REDIS_URL"])
TASKS = {
    f"{body.__name__}_process": huey.task(retries=3, name=f"{body.__name__}_process")(body)
    for body in (bodies.long, bodies.parent)
}


@huey.signal(SIGNAL_INTERRUPTED)
def hand_back(_signal: str, task: Any, *_given: Any, **_named: Any) -> None:
    """Enqueue an interrupted task again, as its documentation shows."""
    huey.enqueue(task)


def enqueue(task: str, folder: str) -> str:
    """Call a task."""
    return str(TASKS[task](folder).id)


def state(_job: str) -> str:
    """Return nothing: huey keeps no states."""
    return ""
