"""Durations as people write them: 90, "2.5s", "5m", "1h30m", "2d"."""

from __future__ import annotations

import datetime as dt
import re

from ..errors import UsageError
from .bounds import checked_number, checked_seconds

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
# Longer text is no duration, and would take long to parse.
LONGEST_TEXT = 100
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")


def parse_duration(value: object, *, positive: bool = False, name: str = "a duration") -> float:
    """Return a duration in seconds.

    `value` is a number of seconds, a string like "1h30m" or a timedelta. UsageError, which calls
    the value `name`, if it is none of these, negative, not finite or longer than 100 years, or 0
    where it must be `positive`.
    """
    match value:
        case str():
            seconds = _parse(value.strip())
        case dt.timedelta():
            seconds = value.total_seconds()
        case int() | float() if not isinstance(value, bool):
            seconds = checked_number(value, name)
        case _:
            seconds = None
    if seconds is None:
        raise UsageError(
            f"{name} must be a number of seconds or a string like '5m', '1h30m' or '2d', "
            f"got {value!r:.200}"
        )
    if positive and seconds <= 0:
        raise UsageError(f"{name} must be more than 0 seconds, got {value!r}")
    return checked_seconds(seconds, name, given=value)


def _parse(text: str) -> float | None:
    if len(text) > LONGEST_TEXT:
        return None
    try:
        return float(text)
    except ValueError:
        parts = PART.findall(text.lower())
        if not parts or "".join(map("".join, parts)) != text.lower().replace(" ", ""):
            return None
        return float(sum(float(number) * UNITS[unit] for number, unit in parts))
