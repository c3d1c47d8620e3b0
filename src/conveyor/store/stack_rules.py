"""The rules of requests for dumps that every store follows."""

from __future__ import annotations

from ..core.job import JobRecord, State
from ..errors import InvalidTransitionError

# How many requests a worker gets at once.
REQUESTS_AT_ONCE = 100


def check_running(job: JobRecord) -> None:
    """Raise InvalidTransitionError unless a job runs."""
    if job.state is not State.RUNNING:
        raise InvalidTransitionError(
            f"job {job.id} is {job.state.value}, not running: there is no stack to show"
        )
