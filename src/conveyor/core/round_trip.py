"""Whether a value that was encoded as JSON and decoded again is still the same."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import reprlib
import types
import typing
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, cast

from .lossless import MAX_DEPTH

# What is the same if its type and its value are.
ATOMS = frozenset({str, int, float, bool, type(None), bytes})
# Where an annotation names one of these, an equal value of a subclass counts as one.
BASES = frozenset({str, int, uuid.UUID, list, tuple, dict, set, frozenset, PurePosixPath})
CONTAINERS = (list, tuple, dict, set, frozenset)
MISSING = object()


def stated_depth(hint: Any) -> int:
    """Return how many levels of a value an annotation states the types of: 1 for `list[Any]`."""
    if hint in (Any, object) or isinstance(hint, typing.TypeVar):
        return 0
    if hint in CONTAINERS:
        return 1
    inner = min(map(stated_depth, typing.get_args(hint)), default=MAX_DEPTH)
    return inner if typing.get_origin(hint) in (typing.Union, types.UnionType) else 1 + inner


@dataclass(slots=True)
class Change:
    """A part of a value that has changed. `path` leads to it, like "[0].name"."""

    given: object
    back: object
    path: str = ""
    is_key: bool = False
    too_deep: bool = False

    def describe(self) -> str:
        """Return what has changed."""
        given, back = self.given, self.back
        if self.too_deep:
            return f"is nested more than {MAX_DEPTH} levels deep"
        if self.is_key:
            keys = f"has the key {_short(given)}, which would come back as {_short(back)}"
            return f"{keys}, because keys must be strings in JSON"
        if type(given) is type(back):
            return f"is {_short(given)}, and would come back as {_short(back)}"
        return f"is {type_phrase(given)}, and would come back as {type_phrase(back)}"


def find_change(given: Any, back: Any, *, stated: int = 0, depth: int = 0) -> Change | None:
    """Return the first difference between a value and what came back, or None.

    Types must be the same at every depth. Only an int may come back as an equal float, as it does
    where the annotation is `float`; and in the `stated` upper levels, a value of a subclass of a
    builtin type, like a StrEnum, as an equal value of that type.
    """
    kind = cast("type[Any]", type(back))
    if kind is not type(given):
        promoted = kind is float and type(given) is int
        lifted = depth < stated and kind in BASES and issubclass(type(given), kind)
        if not promoted and not lifted:
            return Change(given, back)
    if kind in ATOMS:
        return None if _are_equal(given, back) else Change(given, back)
    if depth == MAX_DEPTH:
        return Change(given, back, too_deep=True)
    return _change_within(kind, given, back, stated=stated, depth=depth + 1)


def find_not_finite(value: object, depth: int = 0) -> float | None:
    """Return the first NaN or infinity in a value, or None."""
    if isinstance(value, float):
        return None if math.isfinite(value) else value
    if type(value) in ATOMS or depth > MAX_DEPTH:
        return None
    found = (find_not_finite(each, depth + 1) for each in _parts(value))
    return next((each for each in found if each is not None), None)


def field_names(value: object) -> tuple[str, ...] | None:
    """Return the fields of a dataclass, Struct, attrs class or pydantic model; None for others."""
    kind: Any = type(value)
    for attribute in ("__struct_fields__", "__dataclass_fields__"):
        if hasattr(kind, attribute):
            return tuple(getattr(kind, attribute))
    if hasattr(kind, "__attrs_attrs__"):
        return tuple(each.name for each in kind.__attrs_attrs__)
    if hasattr(kind, "model_fields"):
        return (*kind.model_fields, "__pydantic_extra__")
    return None


def _change_within(
    kind: type[Any], given: Any, back: Any, *, stated: int, depth: int
) -> Change | None:
    if issubclass(kind, CONTAINERS) and len(given) != len(back):
        return Change(given, back)
    if issubclass(kind, set | frozenset):
        found = {each: each for each in back}
        members = [(each, _find(found, each)) for each in given]
        same = all(find_change(*each, stated=stated, depth=depth) is None for each in members)
        return None if same else Change(given, back)
    if issubclass(kind, dict):
        for key, other in zip(given, back, strict=True):
            if find_change(key, other, stated=stated, depth=depth) is not None:
                return Change(key, other, is_key=True)
    steps: Iterable[object] | None = _steps(given)
    if steps is None:
        return None if _are_equal(given, back) else Change(given, back)
    for step, one, other in zip(steps, _parts(given), _parts(back), strict=True):
        change = find_change(one, other, stated=stated, depth=depth)
        if change is not None:
            if not change.too_deep:
                form = "[{!r}]" if issubclass(kind, CONTAINERS) else ".{}"
                change.path = form.format(step) + change.path
            return change
    return None


def _steps(value: Any) -> Iterable[object] | None:
    """Return what leads from a value to each of its parts, or None if it has none."""
    if isinstance(value, list | tuple):
        return range(len(cast("list[Any]", value)))
    return cast("Any", value) if isinstance(value, dict) else field_names(value)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return cast("dict[Any, Any]", value).values()
    if isinstance(value, CONTAINERS):
        return cast("list[Any]", value)
    return [getattr(value, name, None) for name in field_names(value) or ()]


def _find(found: dict[Any, Any], each: object) -> object:
    try:
        return found.get(each, MISSING)
    except Exception:  # noqa: BLE001 - the class of an argument may compare as it likes
        return MISSING


def _are_equal(given: Any, back: Any) -> bool:
    try:
        if isinstance(given, dt.datetime):
            # Not by the instant alone: in the hour that a zone repeats, no two zones are equal.
            given, back = _wall_clock(given), _wall_clock(back)
        elif isinstance(given, decimal.Decimal):  # comparing some of its NaNs is an error
            given, back = str(given), str(back)
        return bool(given == back)
    except Exception:  # noqa: BLE001 - as above
        return False


def _wall_clock(moment: dt.datetime) -> tuple[dt.datetime, dt.timedelta | None]:
    return moment.replace(tzinfo=None), moment.utcoffset()


def type_phrase(value: object) -> str:
    """Return the name of a value's type with its article, like "a str"."""
    name = type(value).__qualname__
    return "None" if value is None else f"an {name}" if name[0] in "AEIOaeio" else f"a {name}"


def _short(value: object) -> str:
    return reprlib.repr(value)
