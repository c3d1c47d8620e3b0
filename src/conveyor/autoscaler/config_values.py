"""How the values in a scaler's file are read; UsageError says what is wrong with one, and where."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from ..core.duration import parse_duration
from ..errors import UsageError


def refuse_unknown(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Raise UsageError for a key that there is not, with the one that may have been meant."""
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise UsageError(f"{where}: there is no key {key!r}; {hint}")


def value(given: Mapping[str, Any], key: str, read: Callable[[Any], Any], where: str) -> Any:
    """Return what stands under a key, as `read` takes it; None if nothing does."""
    if key not in given:
        return None
    try:
        return read(given[key])
    except UsageError as error:
        raise UsageError(f"{where}: {key} = {given[key]!r}: {error}") from error


def whole(value: Any) -> int:
    """Take a count."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError("a whole number of 0 or more is wanted")
    return value


def positive(value: Any) -> int:
    """Take a count of 1 or more."""
    if whole(value) == 0:
        raise UsageError("a whole number of 1 or more is wanted")
    return int(value)


def seconds(value: Any) -> float:
    """Take a duration."""
    return parse_duration(value)


def amount(value: Any) -> float:
    """Take a sum of money."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise UsageError("a sum of money of 0 or more is wanted, as a number")
    return float(value)


def texts(value: Any) -> tuple[str, ...]:
    """Take a list of texts, each once."""
    items = cast("list[Any]", value) if isinstance(value, list) else [None]
    if not all(isinstance(item, str) and item.strip() for item in items):
        raise UsageError('a list of texts is wanted, like ["gpu", "linux"]')
    return tuple(dict.fromkeys(map(str, items)))


def flag(value: Any) -> bool:
    """Take true or false."""
    if not isinstance(value, bool):
        raise UsageError("true or false is wanted")
    return value


def text(value: Any) -> str:
    """Take a text."""
    if not isinstance(value, str) or not value:
        raise UsageError("a text is wanted")
    return value


def table(value: Any) -> dict[str, Any]:
    """Take a table."""
    if not isinstance(value, dict):
        raise UsageError("a table is wanted")
    return cast("dict[str, Any]", value)
