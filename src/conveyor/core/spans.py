"""Durations, rates and numbers of things as people read them."""

from __future__ import annotations

from itertools import pairwise

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def span(seconds: float) -> str:
    """Return a duration in its two largest units, like "31 ms", "2.5 s" or "4 min 10 s"."""
    if 0.0005 <= seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s".replace(".0 s", " s")
    left = round(seconds)
    for (size, unit), (next_size, next_unit) in pairwise(_UNITS):
        if left >= size:
            rest = left % size // next_size
            return f"{left // size} {unit}" + (f" {rest} {next_unit}" if rest else "")
    return f"{left} s"


def rate(per_second: float) -> str:
    """Return a rate with about two digits, like "31", "7.1", "0.05" or "<0.01"."""
    if per_second >= 9.95 or per_second == 0:
        return f"{per_second:,.0f}"
    if per_second >= 0.995:
        return f"{per_second:.1f}"
    return f"{per_second:.2f}" if per_second >= 0.01 else "<0.01"


def count(number: int, noun: str) -> str:
    """Return "1 job" or "1,000 jobs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
