"""When a failed job is retried: backoff as data, so that any process can settle any job."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any, assert_never, cast

import msgspec

from ..errors import UsageError
from .bounds import checked_number

LONGEST_DELAY = 30 * 86400.0
Draw = Callable[[], float]


class Fixed(msgspec.Struct, frozen=True, tag="fixed", omit_defaults=True):
    """The same pause, in seconds, before each retry."""

    seconds: float = 1.0


class Exponential(msgspec.Struct, frozen=True, tag="exponential", omit_defaults=True):
    """A pause of `first` seconds, then `factor` times as long each time, at most `longest`.

    `jitter` (0 to 1) is the share of the pause that is random: 0.5 waits between half of it and
    all, 1.0 between nothing and all ("full jitter", AWS Architecture Blog 2015).
    """

    first: float = 1.0
    factor: float = 2.0
    longest: float = 3600.0
    jitter: float = 0.5


class Steps(msgspec.Struct, frozen=True, tag="steps", omit_defaults=True):
    """One pause per retry, in seconds; the last one repeats."""

    seconds: tuple[float, ...]


Backoff = Fixed | Exponential | Steps
DEFAULT = Exponential()


# A list of pauses has at most this many.
MAX_STEPS = 1000


def parse_backoff(value: object) -> Backoff:
    """Return the rule for a number of seconds, a list of them or a rule; UsageError otherwise."""
    match value:
        case Fixed() | Exponential() | Steps():
            rule = value
        case bool():
            raise UsageError(f"backoff must be seconds, a list of seconds or a rule, got {value!r}")
        case int() | float():
            rule = Fixed(checked_number(value, "backoff"))
        case list() | tuple():
            try:
                rule = Steps(tuple(float(each) for each in cast("list[Any]", value)))
            except (TypeError, ValueError, OverflowError) as error:
                raise UsageError(f"backoff must be a list of seconds, got {value!r}") from error
        case _:
            raise UsageError(
                "backoff must be seconds, a list of seconds, Fixed(...), Exponential(...) or "
                f"Steps(...), got {value!r}"
            )
    check_backoff(rule)
    return rule


def retry_delay(rule: Backoff, attempt: int, draw: Draw = random.random) -> float:
    """Return the pause, in seconds, after the failure of the `attempt`-th attempt (from 1)."""
    match rule:
        case Fixed(seconds):
            wanted = seconds
        case Steps(seconds):
            wanted = seconds[min(attempt, len(seconds)) - 1]
        case Exponential(first, factor, longest, jitter):
            # The exponent is bounded because a float overflows at 2.0 ** 1024.
            wanted = min(longest, first * factor ** min(attempt - 1, 100))
            wanted *= 1 - jitter * draw()
        case _:
            assert_never(rule)
    return min(wanted, LONGEST_DELAY)


def check_backoff(rule: Backoff) -> None:
    """Raise UsageError for a rule that cannot be stored or meant."""
    match rule:
        case Fixed(seconds):
            valid = _is_pause(seconds)
        case Steps(seconds):
            valid = 0 < len(seconds) <= MAX_STEPS and all(map(_is_pause, seconds))
        case Exponential(first, factor, longest, jitter):
            valid = all(map(_is_pause, (first, factor, longest, jitter)))
            valid = valid and 1 <= factor <= 1000 and jitter <= 1
        case _:
            assert_never(rule)
    if not valid:
        raise UsageError(
            "backoff needs finite pauses of 0 or more (a list has 1 to 1,000), factor 1 to 1000 "
            f"and jitter 0 to 1, got {rule!r}"
        )


def _is_pause(seconds: object) -> bool:
    # Not every caller has a type checker; `true` for a number could not be read back.
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return False
    return 0 <= seconds <= sys.float_info.max
