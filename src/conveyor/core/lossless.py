"""Recognises values that JSON and an annotation restore unchanged, without trying.

An annotation is compiled once, when its function is decorated. A value that is not recognised may
still come back unchanged, but it has to be encoded, decoded and compared.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime as dt
import enum
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

MAX_DEPTH = 100
# JSON has a form of its own for each of these, so that no annotation is needed to restore them.
PLAIN: frozenset[type] = frozenset({str, int, float, bool, type(None)})
SIMPLE = PLAIN | {bytes, uuid.UUID, dt.date}
NO_TYPES: frozenset[type] = frozenset()
LISTS = (
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
)
DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
KEYS = (str, int)
PATH = type(pathlib.Path())

Check = Callable[[Any], bool]


def is_plain(value: object, depth: int = 0) -> bool:
    """Whether a value consists of what JSON restores without an annotation."""
    kind = type(value)
    if kind is dict:
        entries = cast("dict[Any, Any]", value)
        return all(type(key) is str for key in entries) and _are_plain(entries.values(), depth)
    if kind is list:
        return _are_plain(cast("list[Any]", value), depth)
    return kind in PLAIN


def _are_plain(values: Iterable[Any], depth: int) -> bool:
    if PLAIN.issuperset(map(type, values)):
        return True
    return depth < MAX_DEPTH and all(is_plain(each, depth + 1) for each in values)


@dataclass(frozen=True, slots=True)
class Lossless:
    """Recognises values by their type alone, those of `types`, or with a `check`.

    NaN and infinity have to be found otherwise.
    """

    types: frozenset[type] = NO_TYPES
    check: Check | None = None

    def __call__(self, value: object) -> bool:
        """Whether the value is recognised."""
        return type(value) in self.types or (self.check is not None and self.check(value))

    def all(self, values: Iterable[Any]) -> bool:
        """Whether all of the values are recognised."""
        if self.types.issuperset(map(type, values)):
            return True
        if self.check is None:
            return False
        return all(map(self if self.types else self.check, values))


ANY = Lossless(PLAIN, is_plain)
NEVER = Lossless()


def lossless(hint: Any, known: dict[type, Lossless] | None = None) -> Lossless:
    """Compile an annotation that can be decoded from JSON. `known` are classes it has compiled."""
    known = {} if known is None else known
    if hint is Any or hint is object:
        return ANY
    origin, args = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _any_of([lossless(each, known) for each in args])
    if not isinstance(origin, type):
        return NEVER
    kind = cast("type[Any]", origin)
    inner = [lossless(each, known) for each in args if each is not ...]
    if kind in LISTS:
        return _collection(list, *(inner or [ANY]))
    if kind in (set, frozenset) and inner:
        return _collection(kind, *inner)
    if kind is tuple and inner and args[-1] is ...:
        return _collection(tuple, *inner)
    if kind is tuple and inner:
        return _fixed_tuple(inner)
    if kind in DICTS:
        key, item = (args[0], inner[1]) if args else (str, ANY)
        return _dict(key, item) if key in KEYS else NEVER
    if args:
        return NEVER
    if kind not in known:
        known[kind] = NEVER  # where a class contains itself
        known[kind] = _class(kind, known)
    return known[kind]


def _class(kind: type[Any], known: dict[type, Lossless]) -> Lossless:
    if kind in SIMPLE or issubclass(kind, enum.Enum):
        return Lossless(frozenset({kind}))
    if kind is pathlib.Path:
        return Lossless(frozenset({PATH}))
    if kind is dt.datetime:
        return Lossless(check=_is_simple_datetime)
    if hasattr(kind, "__post_init__"):  # which may change what was decoded
        return NEVER
    if dataclasses.is_dataclass(kind) and all(each.init for each in dataclasses.fields(kind)):
        return _record(kind, [each.name for each in dataclasses.fields(kind)], known)
    if hasattr(kind, "__struct_fields__"):
        return _record(kind, kind.__struct_fields__, known)
    return NEVER


def _any_of(members: list[Lossless]) -> Lossless:
    checks = [each for each in members if each.check is not None]
    simple = NO_TYPES.union(*(each.types for each in members))
    if not checks:
        return Lossless(simple)
    return Lossless(simple, lambda value: any(each(value) for each in checks))


def _collection(kind: type[Any], item: Lossless) -> Lossless:
    def check(value: Any) -> bool:
        return _is_a(kind, value) and item.all(value)

    return Lossless(check=check)


def _fixed_tuple(items: list[Lossless]) -> Lossless:
    def check(value: Any) -> bool:
        if not _is_a(tuple, value) or len(value) != len(items):
            return False
        return all(item(each) for item, each in zip(items, value, strict=True))

    return Lossless(check=check)


def _dict(key: type[Any], item: Lossless) -> Lossless:
    keys = frozenset({key})

    def check(value: Any) -> bool:
        known = _is_a(dict, value) and keys.issuperset(map(type, value))
        return known and item.all(value.values())

    return Lossless(check=check)


def _is_a(kind: type[Any], value: object) -> bool:
    return type(value) is kind


def _record(kind: type[Any], names: Iterable[str], known: dict[type, Lossless]) -> Lossless:
    try:
        hints = typing.get_type_hints(kind)
    except Exception:  # noqa: BLE001 - an annotation is code of the user
        return NEVER
    fields = [(name, lossless(hints[name], known)) for name in names]

    def check(value: Any) -> bool:
        if type(value) is not kind:
            return False
        for name, field in fields:
            part = getattr(value, name)
            if type(part) not in field.types and not field(part):
                return False
        return True

    return Lossless(check=check)


def _is_simple_datetime(value: Any) -> bool:
    # JSON has only whole minutes for the offset of a time zone.
    return type(value) is dt.datetime and (value.tzinfo is None or value.tzinfo is dt.UTC)
