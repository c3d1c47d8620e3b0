"""Conveyor: a bounded, durable job queue for Python. One file, no broker, four kinds of job."""

from .app import Conveyor, Queue
from .current import CurrentJob, current_job
from .errors import (
    ConveyorError,
    CorruptStoreError,
    EncodingError,
    InvalidTransitionError,
    JobCancelledError,
    JobDiscardedError,
    JobError,
    LeaseLostError,
    NotFoundError,
    QueueFullError,
    Snooze,
    StoreVersionError,
    UnavailableError,
    UnknownTaskError,
    UsageError,
    WaitTimeoutError,
)
from .function import TaskFunction
from .handle import Job
from .job import State
from .retry import Exponential, Fixed, Steps
from .worker import Worker

__version__ = "0.1.0"

__all__ = [
    "Conveyor",
    "ConveyorError",
    "CorruptStoreError",
    "CurrentJob",
    "EncodingError",
    "Exponential",
    "Fixed",
    "InvalidTransitionError",
    "Job",
    "JobCancelledError",
    "JobDiscardedError",
    "JobError",
    "LeaseLostError",
    "NotFoundError",
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
