"""What declaring a schedule and a tick make of it: rules of every store."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..core.job import NewJob, ScheduleInfo
from ..core.pause import Pause, pause
from ..errors import InvalidTransitionError, NotFoundError


def merge_schedule(known: ScheduleInfo | None, declared: ScheduleInfo) -> ScheduleInfo:
    """Return the schedule to store when an application declares it.

    An unchanged rule changes nothing. A changed rule brings its own next tick; that the schedule is
    paused, and when it last ticked, stay true.
    """
    if known is None:
        return msgspec.structs.replace(
            declared, last_at=None, paused=False, paused_at=None, paused_by="", pause_reason=""
        )
    if rule_of(known) == rule_of(declared):
        return known
    return msgspec.structs.replace(
        declared,
        last_at=known.last_at,
        paused=known.paused,
        paused_at=known.paused_at,
        paused_by=known.paused_by,
        pause_reason=known.pause_reason,
    )


def tick_schedule(known: ScheduleInfo, *, due_at: float, next_at: float) -> ScheduleInfo | None:
    """Return the schedule after the tick of `due_at`.

    None if it does not tick: it is paused, or another worker was faster.
    """
    if known.paused or known.next_at != due_at:
        return None
    return msgspec.structs.replace(known, next_at=next_at, last_at=due_at)


def pause_known(
    known: ScheduleInfo, *, paused: bool, reason: str, by: str, now: float
) -> ScheduleInfo:
    """Return the schedule after an order to pause or to resume it."""
    before = Pause(known.paused_at, known.paused_by, known.pause_reason)
    after = pause(before, paused=paused, reason=reason, by=by, now=now)
    return msgspec.structs.replace(known, paused=paused, **msgspec.structs.asdict(after))


def make_due(known: ScheduleInfo, now: float) -> ScheduleInfo:
    """Return the schedule as it is due now; InvalidTransitionError if it is paused."""
    if known.paused:
        raise InvalidTransitionError(
            f"schedule {known.name!r} is paused, so it cannot run now: resume it first"
        )
    return msgspec.structs.replace(known, next_at=min(known.next_at, now))


# Of how many jobs of its last ticks a schedule keeps the ids.
RECENT = 20


def add_recent(recent: Sequence[str], jobs: Sequence[NewJob]) -> list[str]:
    """Return the ids of the jobs of the last ticks, the newest first, after one more tick."""
    return [*(job.id for job in reversed(jobs)), *recent][:RECENT]


def no_schedule(name: str) -> NotFoundError:
    """Return the error for a schedule that is not stored."""
    return NotFoundError(f"schedule {name!r} not found")


def rule_of(schedule: ScheduleInfo) -> tuple[str, str, str]:
    """Return what a declaration says about when a schedule is due."""
    return schedule.cron, schedule.timezone, schedule.missed
