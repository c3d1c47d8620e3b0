"""When a schedule is due: cron rules in time zones, and which missed ticks to run."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError

from ..errors import UsageError
from .bounds import check_size
from .duration import parse_duration
from .job import Missed

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
# A tick at most this late, in seconds, does not count as missed: the worker was only busy.
MISSED_AFTER = 60.0
MAX_TICKS = 1000


class Rule(msgspec.Struct, frozen=True):
    """A parsed rule: five cron fields in a time zone, or a fixed interval in seconds."""

    fields: str
    timezone: str
    every: float | None = None


def parse(text: str, timezone: str = "UTC") -> Rule:
    """Parse a rule; UsageError, with an example, if it is wrong."""
    for field, what, given in (("cron", "schedule", text), ("timezone", "time zone", timezone)):
        # Not every caller has a type checker.
        if not isinstance(given, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"a {what} must be a string, got {given!r}")
        try:
            check_size(field, given)
        except UsageError as error:
            raise UsageError(f"{field}: {error}") from error
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"unknown time zone {timezone!r}: use an IANA name like 'Europe/Berlin'"
        ) from error
    if text.startswith("every "):
        seconds = parse_duration(text.removeprefix("every "))
        if seconds < 1:
            raise UsageError(f"the schedule {text!r} is too frequent: at most once a second")
        return Rule(text, timezone, seconds)
    fields = ALIASES.get(text.strip().lower(), text)
    try:
        next(CronSim(fields, dt.datetime(2024, 1, 1)))  # noqa: DTZ001 - only checks that it parses
    except (CronSimError, StopIteration) as error:
        raise UsageError(
            f"the schedule {text!r} is not valid ({error}): write five fields like "
            "'30 3 * * 1-5' (03:30 on weekdays), '@daily' or 'every 5m'"
        ) from error
    return Rule(fields, timezone)


def next_tick(rule: Rule, after: float) -> float:
    """Return the first tick after a time, both in Unix seconds."""
    if rule.every is not None:
        return (after // rule.every + 1) * rule.every
    zone = ZoneInfo(rule.timezone)
    start = dt.datetime.fromtimestamp(after, zone)
    return next(CronSim(rule.fields, start)).timestamp()


def due_ticks(
    rule: Rule, due_at: float, now: float, missed: Missed
) -> tuple[tuple[float, ...], float]:
    """Return the ticks to run now, and when the next one is due after them.

    `skip` runs a tick only if it is at most a minute late, `once` runs the last of those that are
    due, `all` runs every one (the newest 1,000).
    """
    following = next_tick(rule, now)
    if now < due_at:
        return (), due_at
    match missed:
        case "skip":
            [last] = _newest(rule, due_at, now, 1)
            return ((last,) if now - last <= MISSED_AFTER else ()), following
        case "once":
            return tuple(_newest(rule, due_at, now, 1)), following
        case "all":
            return tuple(_newest(rule, due_at, now, MAX_TICKS)), following


def _newest(rule: Rule, due_at: float, now: float, most: int) -> list[float]:
    """Return the newest ticks from `due_at`, itself a tick, to now; at most `most`."""
    # Searching back in growing steps avoids a walk through years of older ticks.
    step = 60.0
    while now - step > due_at:
        ticks = _walk(rule, next_tick(rule, now - step), now)
        if len(ticks) >= most:
            return ticks[-most:]
        step *= 2
    return _walk(rule, due_at, now)[-most:]


def _walk(rule: Rule, first: float, now: float) -> list[float]:
    ticks: list[float] = []
    while first <= now:
        ticks.append(first)
        first = next_tick(rule, first)
    return ticks
