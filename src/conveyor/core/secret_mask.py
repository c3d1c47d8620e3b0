"""Hides secrets in the arguments of jobs before they are shown, by the names of their fields."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, cast

import msgspec

from ..errors import UsageError
from .address_secrets import without_secret_options
from .unreadable import UNREADABLE

MASK = "••••••"
# The words in the name of a field whose value is a secret.
MASKED_KEYS = ("secret", "password", "token")
# What is nested deeper is masked as a whole.
DEEPEST = 50
# How long a summary is, in characters.
SUMMARY = 120
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_PASSWORD_IN_URL = re.compile(r"(//[^:/@?#\s]*:)[^/?#\s]+(?=@)")


class Masked(msgspec.Struct, frozen=True):
    """A value without its secrets. `masked` are the JSON pointers (RFC 6901) of what is hidden."""

    value: Any
    masked: list[str]


def mask(value: Any, keys: Collection[str] = MASKED_KEYS) -> Masked:
    """Return plain JSON data with a mask in place of each secret.

    A secret is the value of a field one of whose words ends with one of the `keys`, as `api_token`
    and `dbPassword` do, or with their plural if it is no number; and the password in a URL or its
    query.
    """
    pointers: list[str] = []
    words = tuple(key.lower() for key in keys)
    return Masked(_masked(value, words, "", pointers), pointers)


def mask_args(args: bytes, keys: Collection[str] = MASKED_KEYS) -> Masked | None:
    """Return the arguments of a job without their secrets.

    None if they are not an object that can be read: nobody knows what is a secret in them then.
    """
    try:
        value = msgspec.json.decode(args)
    except UNREADABLE:
        return None
    return mask(value, keys) if isinstance(value, dict) else None


def unmask(given: Any, original: Any, keys: Collection[str] = MASKED_KEYS) -> Any:
    """Return edited data in which each value that is still masked is that of the original.

    UsageError for one whose place has changed, so that no value gets the secret of another: in a
    list, only an element that is otherwise unchanged keeps its secrets, and only if the list has
    as many elements as before.
    """
    shown = mask(original, keys)
    changed = given
    for pointer in shown.masked:
        path = [_unescape(each) for each in pointer.split("/")[1:]]
        found, old = _at(given, path), _at(shown.value, path)
        if found is not _MISSING and found == old and _same_lists(given, shown.value, path):
            changed = _replaced(changed, path, _at(original, path))
    left = _masked_place(changed, original)
    if left is not None:
        raise UsageError(
            f"{left or 'it'} is still masked and its place has changed: type its value"
        )
    return changed


def summary(args: bytes, keys: Collection[str] = MASKED_KEYS) -> str:
    """Return arguments in one line, like "url=https://example.org order=17", without secrets."""
    shown = mask_args(args, keys)
    if shown is None:
        return ""
    fields = cast("dict[str, Any]", shown.value)
    parts: list[str] = []
    length = 0
    for name, each in fields.items():
        parts.append(f"{name}={_text(each)}")
        length += len(parts[-1])
        if length > SUMMARY:
            break
    return _cut(" ".join(parts))


def _masked(value: Any, keys: Collection[str], pointer: str, pointers: list[str]) -> Any:
    if pointer.count("/") > DEEPEST:
        pointers.append(pointer)
        return MASK
    match value:
        case dict():
            fields = cast("dict[str, Any]", value)
            return {
                name: _field(name, each, keys, f"{pointer}/{_escape(name)}", pointers)
                for name, each in fields.items()
            }
        case list():
            entries = cast("list[Any]", value)
            return [
                _masked(each, keys, f"{pointer}/{number}", pointers)
                for number, each in enumerate(entries)
            ]
        case str() if "//" in value and (shown := _without_password(value)) != value:
            pointers.append(pointer)
            return shown
        case _:
            return value


def _without_password(url: str) -> str:
    return without_secret_options(_PASSWORD_IN_URL.sub(rf"\1{MASK}", url), MASK)


def _field(name: str, value: Any, keys: Collection[str], pointer: str, pointers: list[str]) -> Any:
    if value is None or not _is_secret(name, value, keys):
        return _masked(value, keys, pointer, pointers)
    pointers.append(pointer)
    return MASK


def _is_secret(name: str, value: Any, keys: Collection[str]) -> bool:
    words = [word.lower() for word in _WORDS.findall(name)]
    joined = "".join(words)
    is_number = isinstance(value, int | float)
    for key in keys:
        plain = "".join(word.lower() for word in _WORDS.findall(key)) or key
        if any(word.endswith(plain) for word in words) or joined.endswith(plain):
            return True
        if not is_number and any(word.endswith(f"{plain}s") for word in words):
            return True
    return False


_MISSING = object()


def _same_lists(given: Any, shown: Any, path: list[str]) -> bool:
    """Whether the outermost list on a path has as many elements, and the one there is the same."""
    for depth, part in enumerate(path):
        old = _at(shown, path[:depth])
        if isinstance(old, list):
            new = _at(given, path[:depth])
            return (
                isinstance(new, list)
                and len(cast("list[Any]", new)) == len(cast("list[Any]", old))
                and _at(new, [part]) == _at(old, [part])
            )
    return True


def _masked_place(value: Any, original: Any, pointer: str = "") -> str | None:
    """Return the pointer of the first text with a mask; None if there is none.

    A text that the original has there itself is none. Deeper ones were never shown.
    """
    if pointer.count("/") > DEEPEST:
        return None
    parts: list[tuple[str, Any]]
    match value:
        case str():
            return pointer if MASK in value and value != original else None
        case dict():
            parts = [(name, name) for name in cast("dict[str, Any]", value)]
        case list():
            parts = [(str(number), number) for number in range(len(cast("list[Any]", value)))]
        case _:
            return None
    for part, key in parts:
        found = _masked_place(value[key], _at(original, [part]), f"{pointer}/{_escape(part)}")
        if found is not None:
            return found
    return None


def _at(value: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(value, dict) and part in value:
            value = cast("dict[str, Any]", value)[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):  # pyright: ignore[reportUnknownArgumentType]
            value = cast("list[Any]", value)[int(part)]
        else:
            return _MISSING
    return value


def _replaced(value: Any, path: list[str], new: Any) -> Any:
    if not path:
        return new
    if isinstance(value, dict):
        fields = cast("Mapping[str, Any]", value)
        return {**fields, path[0]: _replaced(fields[path[0]], path[1:], new)}
    entries = list(cast("list[Any]", value))
    entries[int(path[0])] = _replaced(entries[int(path[0])], path[1:], new)
    return entries


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _unescape(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _cut(text: str) -> str:
    line = " ".join(text[: 4 * SUMMARY].split())
    return line if len(line) <= SUMMARY else line[: SUMMARY - 1] + "…"
