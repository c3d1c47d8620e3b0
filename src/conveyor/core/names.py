"""Names of queues, tasks, keys and labels, and queue names with a weight as workers take them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..errors import UsageError
from .files import is_text

NAME_LIMIT = 200
WEIGHTS = range(1, 1001)


def validate_name(value: Any) -> str:
    """Return the name of a queue, key or label if it is valid; UsageError otherwise."""
    if not isinstance(value, str) or not value or len(value) > NAME_LIMIT or not is_text(value):
        got = f"{len(value):,} characters" if _is_long(value) else repr(value)
        raise UsageError(f"a name must be a string of 1 to {NAME_LIMIT} characters, got {got}")
    return value


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and len(value) > NAME_LIMIT


def parse_weighted_queue(text: str, declared: Collection[str] = ()) -> tuple[str, int]:
    """Return the queue and the weight that "mail", "mail:4" or the exact name of a queue means.

    A `declared` queue may be called "mail:4" itself.
    """
    if text in declared:
        return text, 1
    name, colon, weight = text.rpartition(":")
    if not colon:
        name, weight = text, "1"
    if not name or not _is_weight(weight):
        raise UsageError(
            f"invalid queue {text!r:.300}: expected NAME or NAME:WEIGHT, weight 1 to {WEIGHTS[-1]}"
        )
    return validate_name(name), int(weight)


def _is_weight(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10 and int(text) in WEIGHTS


def weighted_queue(name: str) -> str:
    """Return a queue as `parse_weighted_queue` takes it, whatever its name: "mail", "mail:4:1"."""
    return f"{name}:1" if ":" in name else name
