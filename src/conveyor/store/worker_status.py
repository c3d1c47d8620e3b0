"""What a worker may be told, how it is shown, and when it is removed: rules of every store."""

from __future__ import annotations

import msgspec

from ..core.bounds import BOUNDS
from ..core.job import WorkerInfo
from ..errors import BusyError, InvalidTransitionError, NotFoundError, UsageError
from .messages import MAX_LABELS, MAX_WANTS, SILENCE, Order

# The evidence on the jobs of a worker that was removed by force.
REMOVED = "removed by force"


def as_ordered(worker: WorkerInfo, order: Order) -> WorkerInfo:
    """Return a worker with its latest order, which may be newer than its own report."""
    match order:
        case "work":
            return worker
        case "quiet":
            return msgspec.structs.replace(worker, quiet=True)
        case "drain":
            return msgspec.structs.replace(worker, draining=True)


def damaged_worker(worker: str, beat_at: float) -> WorkerInfo:
    """Return a worker whose row is damaged: known by its id, serving nothing until its next beat.

    Without a process it is never taken for dead; it is removed once it is silent for long.
    """
    return WorkerInfo(
        id=worker,
        host="(damaged row)",
        boot_id="",
        pid=0,
        pid_started=0.0,
        started_at=beat_at,
        beat_at=beat_at,
        slots=0,
        queues=(),
    )


def check_remote_worker(worker: WorkerInfo) -> None:
    """Raise UsageError for a worker whose claims or heartbeats a server would refuse."""
    for what, names, most in (
        ("queues", worker.queues, MAX_WANTS),
        ("labels", worker.labels, MAX_LABELS),
    ):
        if len(names) > most:
            raise UsageError(
                f"this worker has {len(names):,} {what}, and a server accepts at most {most:,} of "
                f"one worker; start several workers, each with some of the {what}"
            )
    # What jobs wait for is added while they run.
    size, most = len(msgspec.json.encode(worker)), BOUNDS["worker"].limit // 2
    if size > most:
        raise UsageError(
            f"the names of this worker's queues and labels are too long for a server: its "
            f"description has {size:,} bytes, the limit is {most:,}; start several workers, each "
            "with some of the queues"
        )


def no_worker(worker: str) -> NotFoundError:
    """Return the error for a worker that never sent a beat, or was forgotten."""
    return NotFoundError(f"worker {worker!r} not found")


def check_order(worker: str, before: Order, order: Order) -> None:
    """Raise InvalidTransitionError for another order to a worker that drains."""
    if before == "drain" and order != "drain":
        raise InvalidTransitionError(
            f"worker {worker} was told to drain, which is final; start another one in its place"
        )


def check_dismissal(worker: str, jobs: int, *, force: bool) -> None:
    """Raise BusyError for a worker that holds running jobs, unless forced."""
    if jobs and not force:
        raise BusyError(
            f"worker {worker} holds {jobs} running job(s). Drain it, and it exits when they have "
            "ended; or remove it by force, and they count as crashed."
        )


def is_silent(beat_at: float, now: float) -> bool:
    """Whether a worker may never learn of an order, so that it is forgotten at once."""
    return now - beat_at > SILENCE
