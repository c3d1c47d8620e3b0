"""What applications declare about their tasks."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.job import TaskDefaults
from ...core.storable import check_tasks
from .callbacks import make_queues
from .data import MemoryData


def put_tasks(memory: MemoryData, tasks: Sequence[TaskDefaults]) -> None:
    """Store what an application declares."""
    check_tasks(tasks)
    make_queues(memory, tasks)
    memory.tasks.update({task.name: task for task in tasks})


def task_defaults(memory: MemoryData, task: str) -> TaskDefaults | None:
    """Return what is declared about a task."""
    return memory.tasks.get(task)
