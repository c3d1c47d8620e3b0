"""What a store accepts: only what it can read back, show, run and settle."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import UsageError
from .bounds import checked_meta, checked_moment, checked_number, checked_seconds
from .job import NO_OPTIONS, NewJob, Options, Progress, ScheduleInfo
from .retry import DEFAULT, check_backoff


def check_jobs(jobs: Iterable[NewJob]) -> None:
    """Raise UsageError for the first job that no store could read back, show or run."""
    checked = NO_OPTIONS  # jobs that are enqueued together share their options
    for new in jobs:
        try:
            if new.run_at is not None:
                checked_moment(new.run_at, "run_at")
            if new.delay:
                checked_seconds(new.delay, "delay")
            if new.options is not checked:
                _check_options(new.options)
                checked = new.options
        except UsageError as error:
            raise UsageError(f"job {new.id} ({new.task}): {error}") from error


def check_progress(reports: Iterable[Progress]) -> None:
    """Raise UsageError for progress whose numbers are not finite."""
    for progress in reports:
        checked_number(progress.done, "progress: done")
        if progress.total is not None:
            checked_number(progress.total, "progress: total")


def check_schedule(schedule: ScheduleInfo) -> None:
    """Raise UsageError for a schedule whose next tick no calendar has."""
    _check_next_tick(schedule.name, schedule.next_at)


def check_tick(name: str, next_at: float, jobs: Iterable[NewJob]) -> None:
    """Raise UsageError for a tick whose jobs, or whose next tick, no store could read back."""
    _check_next_tick(name, next_at)
    check_jobs(jobs)


def _check_next_tick(name: str, next_at: float) -> None:
    checked_moment(next_at, f"the next tick of schedule {name!r}")


def _check_options(options: Options) -> None:
    if options.backoff is not DEFAULT:
        check_backoff(options.backoff)
    if options.timeout is not None:
        checked_seconds(options.timeout, "timeout")
    checked_seconds(options.grace, "grace")
    if options.expires_at is not None:
        checked_moment(options.expires_at, "expires_at")
    if options.meta:
        checked_meta(options.meta)
