"""Conveyor: a bounded, durable job queue for Python. One file, no broker, four kinds of job."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client.app import Conveyor
    from .client.job_handle import Job
    from .client.queue import Queue
    from .client.task_function import BoundCall, TaskFunction
    from .core.command_policy import CommandRules
    from .core.files import FileInfo
    from .core.job import JobRecord, State
    from .core.job_context import CurrentJob, current_job
    from .core.retry import Exponential, Fixed, Steps
    from .errors import (
        ConveyorError,
        CorruptStoreError,
        EncodingError,
        InvalidTransitionError,
        JobCancelledError,
        JobDiscardedError,
        JobError,
        NotFoundError,
        PassingError,
        QueueFullError,
        Snooze,
        StoreVersionError,
        UnavailableError,
        UnknownTaskError,
        UsageError,
        WaitTimeoutError,
    )
    from .worker.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "BoundCall",
    "CommandRules",
    "Conveyor",
    "ConveyorError",
    "CorruptStoreError",
    "CurrentJob",
    "EncodingError",
    "Exponential",
    "FileInfo",
    "Fixed",
    "InvalidTransitionError",
    "Job",
    "JobCancelledError",
    "JobDiscardedError",
    "JobError",
    "JobRecord",
    "NotFoundError",
    "PassingError",
    "Queue",
    "QueueFullError",
    "Snooze",
    "State",
    "Steps",
    "StoreVersionError",
    "TaskFunction",
    "UnavailableError",
    "UnknownTaskError",
    "UsageError",
    "WaitTimeoutError",
    "Worker",
    "current_job",
]

# Names are imported at their first use, because `conveyor --help` needs none of them.
_MODULES = {
    "BoundCall": "client.task_function",
    "CommandRules": "core.command_policy",
    "Conveyor": "client.app",
    "ConveyorError": "errors",
    "CorruptStoreError": "errors",
    "CurrentJob": "core.job_context",
    "EncodingError": "errors",
    "Exponential": "core.retry",
    "FileInfo": "core.files",
    "Fixed": "core.retry",
    "InvalidTransitionError": "errors",
    "Job": "client.job_handle",
    "JobCancelledError": "errors",
    "JobDiscardedError": "errors",
    "JobError": "errors",
    "JobRecord": "core.job",
    "NotFoundError": "errors",
    "PassingError": "errors",
    "Queue": "client.queue",
    "QueueFullError": "errors",
    "Snooze": "errors",
    "State": "core.job",
    "Steps": "core.retry",
    "StoreVersionError": "errors",
    "TaskFunction": "client.task_function",
    "UnavailableError": "errors",
    "UnknownTaskError": "errors",
    "UsageError": "errors",
    "WaitTimeoutError": "errors",
    "Worker": "worker.worker",
    "current_job": "core.job_context",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
