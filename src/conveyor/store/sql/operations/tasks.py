"""What applications declare about their tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ....core.job import TaskDefaults
from ....core.storable import check_tasks
from ....core.unreadable import UNREADABLE
from ..transaction import Tx
from .callbacks import make_lanes, make_queues

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(TaskDefaults).decode


async def put_tasks(tx: Tx, tasks: Sequence[TaskDefaults]) -> None:
    """Store what an application declares."""
    check_tasks(tasks)
    called = [each for task in tasks for each in task.callbacks]
    await make_queues(tx, (each.queue for each in called))
    await make_lanes(tx, called)
    await tx.many("put_task", [(task.name, _encode(task)) for task in tasks])


async def task_defaults(tx: Tx, task: str) -> TaskDefaults | None:
    """Return what is declared about a task; a row that cannot be read declares nothing."""
    rows = await tx.rows("task", (task,))
    return read_defaults(rows[0][0]) if rows else None


def read_defaults(defaults: Any) -> TaskDefaults | None:
    """Return what a row declares; None if it cannot be read."""
    try:
        found: TaskDefaults = _decode(defaults)
    except (TypeError, *UNREADABLE):
        return None
    return found
