"""How a worker stands by what it was told, and what stores say when that forbids something."""

from __future__ import annotations

import msgspec

from ..core.job import WorkerInfo
from ..errors import BusyError
from .messages import Order

# The evidence on the jobs of a worker that was removed by force.
REMOVED = "removed by force"


def as_ordered(worker: WorkerInfo, order: Order) -> WorkerInfo:
    """Return a worker with its order beside what it says of itself: that may be older."""
    match order:
        case "work":
            return worker
        case "quiet":
            return msgspec.structs.replace(worker, quiet=True)
        case "drain":
            return msgspec.structs.replace(worker, draining=True)


def no_worker(worker: str) -> str:
    """Say that there is no such worker."""
    return f"there is no worker {worker}"


def draining(worker: str) -> str:
    """Say that a worker can be told nothing else any more."""
    return f"worker {worker} was told to drain, which is final: start another one in its place"


def busy(worker: str, count: int) -> BusyError:
    """Refuse to remove a worker that holds jobs."""
    return BusyError(
        f"worker {worker} holds {count} running job(s). Have it drain, and it goes when they have "
        "ended; or remove it by force, and they are given back as crashed."
    )
