"""What declaring a schedule and a tick make of it: rules of every store."""

from __future__ import annotations

import msgspec

from ..core.job import ScheduleInfo
from ..errors import NotFoundError


def merge_schedule(known: ScheduleInfo | None, declared: ScheduleInfo) -> ScheduleInfo:
    """Return the schedule to store when an application declares it.

    An unchanged rule changes nothing. A changed rule brings its own next tick; that the schedule is
    paused, and when it last ticked, stay true.
    """
    if known is None:
        return msgspec.structs.replace(declared, last_at=None, paused=False)
    if rule_of(known) == rule_of(declared):
        return known
    return msgspec.structs.replace(declared, last_at=known.last_at, paused=known.paused)


def tick_schedule(known: ScheduleInfo, *, due_at: float, next_at: float) -> ScheduleInfo | None:
    """Return the schedule after the tick of `due_at`.

    None if it does not tick: it is paused, or another worker was faster.
    """
    if known.paused or known.next_at != due_at:
        return None
    return msgspec.structs.replace(known, next_at=next_at, last_at=due_at)


def no_schedule(name: str) -> NotFoundError:
    """Return the error for a schedule that is not stored."""
    return NotFoundError(f"schedule {name!r} not found")


def rule_of(schedule: ScheduleInfo) -> tuple[str, str, str]:
    """Return what a declaration says about when a schedule is due."""
    return schedule.cron, schedule.timezone, schedule.missed
