"""Which hint a job's new state is worth: a rule of every store."""

from __future__ import annotations

from ..core.job import AVAILABLE, FINAL, JobRecord, State
from .messages import HintKind


def state_hint(job: JobRecord) -> tuple[HintKind, str]:
    """Return the hint to send after a job has entered its state: the kind and the subject."""
    if job.state in FINAL:
        return "final", job.id
    return queue_hint(job.state), job.queue


def queue_hint(state: State) -> HintKind:
    """Return the hint to send to a queue that has got a job in this state."""
    return "work" if state is AVAILABLE else "due"
