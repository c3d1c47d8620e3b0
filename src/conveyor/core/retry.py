"""When a failed job is tried again: backoff as data, so that any process can settle any job."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, assert_never, cast

import msgspec

from ..errors import UsageError

LONGEST_DELAY = 30 * 86400.0
Draw = Callable[[], float]


class Fixed(msgspec.Struct, frozen=True, tag="fixed", omit_defaults=True):
    """The same pause, in seconds, before every retry."""

    seconds: float = 1.0


class Exponential(msgspec.Struct, frozen=True, tag="exponential", omit_defaults=True):
    """`first` seconds, then `factor` times as long each time, never above `longest`.

    `jitter` is the share of the pause that is drawn at random: 0.5 waits between half of it
    and all of it, 1.0 between nothing and all of it ("full jitter", AWS Architecture Blog 2015).
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


def backoff(value: object) -> Backoff:
    """Read what a user may write for a backoff: a number, a list of numbers or a rule."""
    match value:
        case Fixed() | Exponential() | Steps():
            rule = value
        case bool():
            raise UsageError("backoff is a number of seconds, a list of them or a rule, not a bool")
        case int() | float():
            rule = Fixed(float(value))
        case list() | tuple():
            try:
                rule = Steps(tuple(float(each) for each in cast("list[Any]", value)))
            except (TypeError, ValueError) as error:
                raise UsageError(f"backoff {value!r}: each pause is a number of seconds") from error
        case _:
            raise UsageError(
                f"backoff {value!r} is not understood: give seconds, a list of seconds, "
                "Fixed(...), Exponential(...) or Steps(...)"
            )
    _check(rule)
    return rule


def pause(rule: Backoff, attempt: int, draw: Draw = random.random) -> float:
    """Return how many seconds to wait after the `attempt`-th attempt (from 1) has failed."""
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


def _check(rule: Backoff) -> None:
    match rule:
        case Fixed(seconds):
            valid = seconds >= 0
        case Steps(seconds):
            valid = len(seconds) > 0 and all(each >= 0 for each in seconds)
        case Exponential(first, factor, longest, jitter):
            valid = first >= 0 and 1 <= factor <= 1000 and longest >= 0 and 0 <= jitter <= 1
        case _:
            assert_never(rule)
    if not valid:
        raise UsageError(
            f"backoff {rule!r}: pauses are 0 or more seconds, factor is 1 to 1000, jitter 0 to 1"
        )
