"""When a schedule is due, in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .cron import ALIASES
from .duration import parse_duration

_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
_DAY_NAMES = {day[:3].upper(): number for number, day in enumerate(_DAYS)}
_MONTH_NAMES = {month[:3].upper(): number for number, month in enumerate(_MONTHS, start=1)}
# More times of a day than this are not listed.
_MOST_TIMES = 6
_STEP = re.compile(r"\*/(\d+)\Z")
_PART = re.compile(r"(\w+)(?:-(\w+))?\Z")
_UNITS = ((86_400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))


def describe_schedule(rule: str, timezone: str) -> str:
    """Return a rule in words, like "at 03:30 on Monday to Friday (Europe/Berlin)".

    A rule that has no plain words is quoted. It must be a valid one.
    """
    if rule.startswith("every "):
        return _interval(parse_duration(rule.removeprefix("every ")))
    fields = ALIASES.get(rule.strip().lower(), rule).split()
    words = _describe(fields) if len(fields) == 5 else None
    return f"{words or f'by the cron rule {rule!r}'} ({timezone})"


def _interval(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"every {unit}" if count == 1 else f"every {count} {unit}s"
    return f"every {seconds:g} seconds"


def _describe(fields: Sequence[str]) -> str | None:
    minute, hour, day, month, weekday = fields
    time = _time(minute, hour)
    days = _days(day, weekday)
    months = "" if month == "*" else _listed(month, _MONTH_NAMES, _month)
    if time is None or days is None or months is None:
        return None
    if not days and not months:
        is_daily = time.startswith("at ")
        return f"every day {time}" if is_daily else time
    return " ".join(filter(None, (time, days, months and f"in {months}")))


def _time(minute: str, hour: str) -> str | None:
    step, hours = _STEP.match(minute), _STEP.match(hour)
    if minute == "*" and hour == "*":
        return "every minute"
    if step and hour == "*":
        return f"every {step[1]} minutes" if step[1] != "1" else "every minute"
    minutes = _numbers(minute)
    if minutes is None:
        return None
    past = f"at minute{'s' if len(minutes) > 1 else ''} {_and([str(each) for each in minutes])}"
    if hour == "*":
        return "every hour" if minutes == [0] else f"every hour {past}"
    if hours:
        often = f"every {hours[1]} hours" if hours[1] != "1" else "every hour"
        return often if minutes == [0] else f"{often} {past}"
    at = _numbers(hour)
    if at is None or len(at) * len(minutes) > _MOST_TIMES:
        return None
    return "at " + _and([f"{each:02}:{past:02}" for each in at for past in minutes])


def _days(day: str, weekday: str) -> str | None:
    parts: list[str] = []
    if day != "*":
        numbers = _listed(day, {}, str)
        if numbers is None:
            return None
        parts.append(f"on day {numbers} of the month")
    if weekday != "*":
        names = _listed(weekday, _DAY_NAMES, _day)
        if names is None:
            return None
        parts.append(f"on {names}")
    return " or ".join(parts)


def _day(number: int) -> str:
    return _DAYS[number % 7]


def _month(number: int) -> str:
    return _MONTHS[number - 1]


def _listed(field: str, names: dict[str, int], word: Callable[[int], str]) -> str | None:
    """Return the numbers and ranges of a field in words; None if it has anything else."""
    words: list[str] = []
    for part in field.split(","):
        found = _PART.match(part)
        if found is None:
            return None
        given = [each for each in found.groups() if each is not None]
        ends = [n for each in given if (n := _number(each, names)) is not None]
        if len(ends) < len(given):
            return None
        words.append(" to ".join(map(word, ends)))
    return _and(words)


def _number(text: str, names: dict[str, int]) -> int | None:
    return int(text) if text.isdecimal() else names.get(text.upper())


def _numbers(field: str) -> list[int] | None:
    parts = field.split(",")
    return sorted(map(int, parts)) if all(part.isdecimal() for part in parts) else None


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
