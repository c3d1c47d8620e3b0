"""The bounds of what is stored: sizes, and the numbers and times that every store can keep."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sized
from typing import Any, NamedTuple

import msgspec

from ..errors import UsageError

# Unix seconds that a calendar has in every time zone: 1970-01-01 to 9999-12-30, UTC.
EARLIEST, LATEST = 0.0, 253_402_128_000.0
# Stores keep integers in 64 bits.
LARGEST_INTEGER = 2**63 - 1
# 100 years, in seconds: no duration is longer.
LONGEST = 36_525 * 86_400.0


class Bound(NamedTuple):
    """The most that is stored of one thing. Text beyond it is cut; all else is refused."""

    limit: int
    unit: str
    what: str
    is_cut: bool = False


# Arguments, output and files have bounds of their own, because these are options.
BOUNDS = {
    "options": Bound(1 << 20, "bytes of JSON", "all options of a job that a server receives"),
    "meta": Bound(16_384, "bytes of JSON", "`meta` of a job"),
    "requires": Bound(100, "labels", "labels that a job requires"),
    "retry_on": Bound(100, "names", "classes in `retry_on`, of 500 characters"),
    "given": Bound(100, "names", "options that a job was given by name"),
    "result": Bound(1 << 20, "bytes of JSON", "result of a job (the attempt fails)"),
    "message": Bound(10_000, "characters", "message of an error", is_cut=True),
    "traceback": Bound(50_000, "characters", "traceback of an error", is_cut=True),
    "class": Bound(500, "characters", "name of an error's class", is_cut=True),
    "bases": Bound(300, "names", "base classes of an error", is_cut=True),
    "reason": Bound(2000, "characters", "reason of a cancel", is_cut=True),
    "progress": Bound(2000, "characters", "message of a job's progress", is_cut=True),
    "stopping": Bound(100, "steps", "steps taken to stop a job", is_cut=True),
    "step": Bound(2000, "characters", "one such step", is_cut=True),
    "worker": Bound(64 << 10, "bytes of JSON", "description of a worker"),
    "faults": Bound(
        8 << 10, "bytes of JSON", "`waits`, `unsupported`, `sick` of a larger one", is_cut=True
    ),
    "cron": Bound(500, "characters", "cron rule of a schedule"),
    "timezone": Bound(200, "characters", "time zone of a schedule"),
    "token": Bound(100, "characters", "name of a token"),
    "queues": Bound(1000, "names", "queues that a token is limited to"),
    "mark": Bound(200, "characters", "text of a mark, and name of a release", is_cut=True),
    "digest": Bound(64, "characters", "digest of a token"),
}
CLASS_NAME_LIMIT = BOUNDS["class"].limit


def check_size(field: str, value: Sized) -> None:
    """Raise UsageError if a value is larger than the bound of its field."""
    limit, unit, *_ = BOUNDS[field]
    if len(value) > limit:
        raise UsageError(f"{len(value):,} {unit} are above the limit of {limit:,}")


def cut(field: str, text: str, *, keep_end: bool = False) -> str:
    """Return text within the bound of its field. A mark says that it was cut, and its length."""
    limit = BOUNDS[field].limit
    if len(text) <= limit:
        return text
    mark = f"… (cut, {len(text):,} characters)"
    if keep_end:
        return f"{mark}\n{text[len(mark) + 1 - limit :]}"
    return text[: limit - len(mark)] + mark


def checked_number(value: float, name: str, *, given: object = None) -> float:
    """Return a number as a float; UsageError, which calls it `name`, if it is not finite.

    `given` is what the caller wrote, for the error, if that is not the number itself.
    """
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UsageError(f"{name} must be finite, got {_shown(value if given is None else given)}")
    return number


def checked_integer(value: Any, *, least: int = 0, most: int | None = None) -> int:
    """Return an integer from `least` to `most`; UsageError otherwise."""
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and value >= least
        and (most is None or value <= most)
    ):
        return value
    bounds = f"of {least} or more" if most is None else f"from {least:,} to {most:,}"
    raise UsageError(f"must be an integer {bounds}, got {_shown(value)}")


def checked_moment(value: float, name: str = "a time", *, given: object = None) -> float:
    """Return Unix seconds as a float: 1970 to 9999; UsageError as above."""
    at = checked_number(value, name, given=given)
    if not EARLIEST <= at <= LATEST:
        raise UsageError(
            f"{name} must be between 1970-01-01 and 9999-12-30, that is 0 to {LATEST:.0f} Unix "
            f"seconds, got {_shown(value if given is None else given)}"
        )
    return at


def checked_seconds(value: float, name: str = "a duration", *, given: object = None) -> float:
    """Return a duration in seconds as a float: 0 to 100 years; UsageError as above."""
    seconds = checked_number(value, name, given=given)
    given = value if given is None else given
    if seconds < 0:
        raise UsageError(f"{name} must be 0 or more seconds, got {_shown(given)}")
    if seconds > LONGEST:
        raise UsageError(f"{name} must be at most 100 years (36525d), got {_shown(given)}")
    return seconds


def checked_meta(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a dictionary that JSON restores as it is; UsageError otherwise."""
    if not isinstance(value, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"must be a dictionary, got {_shown(value)}")
    limit = BOUNDS["meta"].limit
    if len(value) > limit:  # each takes some bytes; encoding millions would take seconds
        raise UsageError(f"{len(value):,} entries are above the limit of {limit:,} bytes of JSON")
    meta = dict(value)
    try:
        data = msgspec.json.encode(meta)
        check_size("meta", data)
        restored: dict[str, Any] = msgspec.json.decode(data)
    except UsageError:
        raise
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise UsageError(f"meta must be plain JSON: {error}") from error
    if restored != meta:
        changed = next(key for key in meta if restored.get(key, _MISSING) != meta[key])
        raise UsageError(
            f"meta[{changed!r}] cannot be stored as JSON without a change: {_shown(meta[changed])} "
            f"would become {_shown(restored.get(changed))}; use strings, finite numbers, booleans, "
            "None, lists and dictionaries with string keys"
        )
    return restored


def format_moment(at: float) -> str:
    """Return Unix seconds in the local time zone; the number itself if no calendar has it."""
    try:
        return dt.datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        return f"{at:g} Unix seconds"


_MISSING = object()


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer with more digits than Python prints
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:79] + "…"
