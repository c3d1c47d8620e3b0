"""Spans of time as people write them: 90, "2.5s", "5m", "1h30m", "2d"."""

from __future__ import annotations

import math
import re

from ..errors import UsageError

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")


def duration(value: object) -> float:
    """Return a span in seconds; UsageError when it cannot be read."""
    if isinstance(value, str):
        return _read(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"a duration is a number of seconds or a text like '5m', not {value!r}")
    return float(value)


def _read(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        parts = PART.findall(text.lower())
        if not parts or "".join(map("".join, parts)) != text.lower().replace(" ", ""):
            raise UsageError(
                f"the duration {text!r} is not understood: write 90, '2.5s', '5m', '1h30m' or '2d'"
            ) from None
        return float(sum(float(number) * UNITS[unit] for number, unit in parts))
    if not math.isfinite(seconds):
        raise UsageError(f"the duration {text!r} has no end: leave it out instead")
    return seconds
