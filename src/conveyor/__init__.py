"""Conveyor: a bounded, durable job queue for Python. One file, no broker, four kinds of job."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client.app import Conveyor
    from .client.job_handle import Job
    from .client.options import JobOptions, TaskOptions
    from .client.queue import Queue
    from .client.task_function import BoundCall, TaskFunction
    from .core.callbacks import EndedJob
    from .core.command_policy import CommandRules
    from .core.events import (
        Event,
        JobAttempt,
        JobCancelled,
        JobDiscarded,
        JobEnded,
        JobEvent,
        JobReleased,
        JobRescued,
        JobRetrying,
        JobSnoozed,
        JobStarted,
        JobSucceeded,
        ScalerActed,
        WorkerDraining,
        WorkerEvent,
        WorkerPaused,
        WorkerResumed,
        WorkerStarted,
        WorkerStopped,
    )
    from .core.files import FileInfo
    from .core.job import (
        AttemptError,
        ErrorInfo,
        JobRecord,
        Options,
        Progress,
        State,
        StopNote,
    )
    from .core.job_context import CurrentJob, current_job
    from .core.retry import Exponential, Fixed, Steps
    from .errors import (
        AccessError,
        BatchTooLargeError,
        BusyError,
        ConveyorError,
        CorruptStoreError,
        DuplicateIdError,
        EncodingError,
        InvalidTransitionError,
        JobCancelledError,
        JobDiscardedError,
        JobError,
        NotFoundError,
        PassingError,
        QueueFullError,
        Snooze,
        StaleArgumentsError,
        StoreVersionError,
        UnavailableError,
        UnknownTaskError,
        UsageError,
        WaitTimeoutError,
    )
    from .worker.options import WorkerOptions
    from .worker.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "AttemptError",
    "BatchTooLargeError",
    "BoundCall",
    "BusyError",
    "CommandRules",
    "Conveyor",
    "ConveyorError",
    "CorruptStoreError",
    "CurrentJob",
    "DuplicateIdError",
    "EncodingError",
    "EndedJob",
    "ErrorInfo",
    "Event",
    "Exponential",
    "FileInfo",
    "Fixed",
    "InvalidTransitionError",
    "Job",
    "JobAttempt",
    "JobCancelled",
    "JobCancelledError",
    "JobDiscarded",
    "JobDiscardedError",
    "JobEnded",
    "JobError",
    "JobEvent",
    "JobOptions",
    "JobRecord",
    "JobReleased",
    "JobRescued",
    "JobRetrying",
    "JobSnoozed",
    "JobStarted",
    "JobSucceeded",
    "NotFoundError",
    "Options",
    "PassingError",
    "Progress",
    "Queue",
    "QueueFullError",
    "ScalerActed",
    "Snooze",
    "StaleArgumentsError",
    "State",
    "Steps",
    "StopNote",
    "StoreVersionError",
    "TaskFunction",
    "TaskOptions",
    "UnavailableError",
    "UnknownTaskError",
    "UsageError",
    "WaitTimeoutError",
    "Worker",
    "WorkerDraining",
    "WorkerEvent",
    "WorkerOptions",
    "WorkerPaused",
    "WorkerResumed",
    "WorkerStarted",
    "WorkerStopped",
    "current_job",
]

# Names are imported at their first use, because `conveyor --help` needs none of them.
_MODULES = {
    "AccessError": "errors",
    "AttemptError": "core.job",
    "BatchTooLargeError": "errors",
    "BoundCall": "client.task_function",
    "BusyError": "errors",
    "CommandRules": "core.command_policy",
    "Conveyor": "client.app",
    "ConveyorError": "errors",
    "CorruptStoreError": "errors",
    "CurrentJob": "core.job_context",
    "DuplicateIdError": "errors",
    "EncodingError": "errors",
    "EndedJob": "core.callbacks",
    "ErrorInfo": "core.job",
    "Event": "core.events",
    "Exponential": "core.retry",
    "FileInfo": "core.files",
    "Fixed": "core.retry",
    "InvalidTransitionError": "errors",
    "Job": "client.job_handle",
    "JobAttempt": "core.events",
    "JobCancelled": "core.events",
    "JobCancelledError": "errors",
    "JobDiscarded": "core.events",
    "JobDiscardedError": "errors",
    "JobEnded": "core.events",
    "JobError": "errors",
    "JobEvent": "core.events",
    "JobOptions": "client.options",
    "JobRecord": "core.job",
    "JobReleased": "core.events",
    "JobRescued": "core.events",
    "JobRetrying": "core.events",
    "JobSnoozed": "core.events",
    "JobStarted": "core.events",
    "JobSucceeded": "core.events",
    "NotFoundError": "errors",
    "Options": "core.job",
    "PassingError": "errors",
    "Progress": "core.job",
    "Queue": "client.queue",
    "QueueFullError": "errors",
    "ScalerActed": "core.events",
    "Snooze": "errors",
    "StaleArgumentsError": "errors",
    "State": "core.job",
    "Steps": "core.retry",
    "StopNote": "core.job",
    "StoreVersionError": "errors",
    "TaskFunction": "client.task_function",
    "TaskOptions": "client.options",
    "UnavailableError": "errors",
    "UnknownTaskError": "errors",
    "UsageError": "errors",
    "WaitTimeoutError": "errors",
    "Worker": "worker.worker",
    "WorkerDraining": "core.events",
    "WorkerEvent": "core.events",
    "WorkerOptions": "worker.options",
    "WorkerPaused": "core.events",
    "WorkerResumed": "core.events",
    "WorkerStarted": "core.events",
    "WorkerStopped": "core.events",
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
