"""Validation of the values in a scaler's configuration file."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from ..core.bounds import checked_integer
from ..core.duration import parse_duration
from ..errors import UsageError


def reject_unknown_keys(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Raise UsageError for an unknown key, with the nearest known one."""
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            raise UsageError(f"{where}: unknown key {key!r}; {hint}")


def read_value(
    table: Mapping[str, Any], key: str, convert: Callable[[Any], Any], where: str
) -> Any:
    """Return the converted value of a key; None if the key is missing."""
    if key not in table:
        return None
    try:
        return convert(table[key])
    except UsageError as error:
        raise UsageError(f"{where}: {key} = {table[key]!r}: {error}") from error


def count(value: Any) -> int:
    """Return an integer of 0 or more."""
    return checked_integer(value)


def positive_count(value: Any) -> int:
    """Return an integer of 1 or more."""
    return checked_integer(value, least=1)


def seconds(value: Any) -> float:
    """Return a duration in seconds."""
    return parse_duration(value)


def money(value: Any) -> float:
    """Return an amount of money."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise UsageError("must be a finite number of 0 or more")
    return float(value)


def strings(value: Any) -> tuple[str, ...]:
    """Return a list of strings without duplicates."""
    items = cast("list[Any]", value) if isinstance(value, list) else [None]
    if not all(isinstance(item, str) and item.strip() for item in items):
        raise UsageError('must be a list of non-empty strings, like ["gpu", "linux"]')
    return tuple(dict.fromkeys(map(str, items)))


def boolean(value: Any) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise UsageError("must be true or false")
    return value


def string(value: Any) -> str:
    """Return a non-empty string."""
    if not isinstance(value, str) or not value:
        raise UsageError("must be a non-empty string")
    return value


def table(value: Any) -> dict[str, Any]:
    """Return a table."""
    if not isinstance(value, dict):
        raise UsageError("must be a table")
    return cast("dict[str, Any]", value)
