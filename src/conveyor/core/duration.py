"""Durations as people write them: 90, "2.5s", "5m", "1h30m", "2d"."""

from __future__ import annotations

import datetime as dt
import math
import re

from ..errors import UsageError

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")


def parse_duration(value: object, *, positive: bool = False, name: str = "a duration") -> float:
    """Return a duration in seconds.

    `value` is a number of seconds, a string like "1h30m" or a timedelta. UsageError, which calls
    the value `name`, if it is none of these, negative or not finite, or 0 where it must be
    `positive`.
    """
    match value:
        case str():
            seconds = _parse(value.strip())
        case dt.timedelta():
            seconds = value.total_seconds()
        case int() | float() if not isinstance(value, bool):
            seconds = float(value)
        case _:
            seconds = None
    if seconds is None:
        raise UsageError(
            f"{name} must be a number of seconds or a string like '5m', '1h30m' or '2d', "
            f"got {value!r}"
        )
    if not math.isfinite(seconds):
        raise UsageError(f"{name} must be finite, got {value!r}")
    if seconds < 0 or (positive and seconds == 0):
        least = "more than 0" if positive else "0 or more"
        raise UsageError(f"{name} must be {least} seconds, got {value!r}")
    return seconds


def _parse(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        parts = PART.findall(text.lower())
        if not parts or "".join(map("".join, parts)) != text.lower().replace(" ", ""):
            return None
        return float(sum(float(number) * UNITS[unit] for number, unit in parts))
