"""Counts for the metrics of a worker how long attempts waited and ran, and how they ended."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from ..core.job import JobRecord
from ..core.lifecycle import (
    Cancelled,
    Crashed,
    Failed,
    Interrupted,
    Snoozed,
    Succeeded,
    Unsupported,
)
from ..core.metric_labels import BoundedNames
from ..runners.job_control import JobControl
from ..runners.machine_fault import MachineFault
from .observed_runners import Ended

# The upper bounds of the buckets, in seconds: from jobs that do nothing to those of a night.
BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
# How many pairs of a queue and a task have series of their own.
MAX_PAIRS = 200

TIMED_OUT, LOST = "timed_out", "lost"
_NAMES: dict[type, str] = {
    Succeeded: "succeeded",
    Failed: "failed",
    Cancelled: "cancelled",
    Crashed: "crashed",
    Snoozed: "snoozed",
    Interrupted: "released",
    Unsupported: "unsupported",
    MachineFault: "not_started",
}
OUTCOMES = (*_NAMES.values(), TIMED_OUT, LOST)


class Histogram:
    """How many durations fell into each bucket, the last of which is unbounded, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class TaskCounts:
    """What is counted of the jobs of one task in one queue."""

    __slots__ = ("outcomes", "output_bytes", "running", "waiting")

    def __init__(self) -> None:
        self.waiting, self.running = Histogram(), Histogram()
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self.output_bytes = 0


class AttemptMetrics:
    """Counts the attempts of a worker, by queue and task; it observes its runners.

    `now` is the store's clock, `elapsed` a monotonic one. `written` returns how many bytes of
    output an attempt has written so far. It is written in the worker's event loop, and may be read
    in any thread: then the numbers of one attempt may be there in part.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        elapsed: Callable[[], float],
        written: Callable[[JobRecord], int],
    ) -> None:
        self._now, self._elapsed, self._written = now, elapsed, written
        self.names = BoundedNames(MAX_PAIRS)
        self.counts: dict[tuple[str, ...], TaskCounts] = {}

    def begin(self, control: JobControl) -> tuple[TaskCounts, float]:
        """Count for how long a job has waited since it could have run."""
        job = control.job
        names = self.names(job.queue, job.task)
        counts = self.counts.get(names)
        if counts is None:
            counts = self.counts[names] = TaskCounts()
        counts.waiting.observe(max(0.0, self._now() - job.run_at))
        return counts, self._elapsed()

    def end(self, control: JobControl, begun: tuple[TaskCounts, float], ended: Ended) -> None:
        """Count how long an attempt ran, what it wrote and how it ended."""
        counts, since = begun
        counts.running.observe(max(0.0, self._elapsed() - since))
        counts.outcomes[outcome_name(control, ended)] += 1
        counts.output_bytes += self._written(control.job)


def outcome_name(control: JobControl, ended: Ended) -> str:
    """Return the name of an outcome, in metrics and spans."""
    if ended is None:
        return LOST
    stop = control.stop_request
    if isinstance(ended, Failed) and stop is not None and stop.cause == "timeout":
        return TIMED_OUT
    return _NAMES[type(ended)]
