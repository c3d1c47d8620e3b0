"""Unique keys that are made of the arguments of a call: `"report:{user_id}"`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import msgspec

from ..errors import UsageError
from .unreadable import UNREADABLE

# The longest template, in characters, and how many arguments and fields one can name.
TEMPLATE_LIMIT, MOST_PLACES = 1000, 20

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PATH = re.compile(r"[^\W\d]\w*(\.\w+)*")
_decode = msgspec.json.Decoder(dict[str, Any]).decode

# A literal part, or the names of an argument and of its fields.
Part = str | tuple[str, ...]


class KeyTemplate(msgspec.Struct, frozen=True):
    """A unique key with `{argument}` or `{argument.field}` in it; `{{` and `}}` stand for braces.

    `defaults` are the JSON values of those of its arguments that a call may leave out.
    """

    text: str
    defaults: dict[str, Any] = {}

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments that it names."""
        return tuple(
            dict.fromkeys(part[0] for part in _parts(self.text) if isinstance(part, tuple))
        )

    def render(self, args: bytes) -> str:
        """Return the key of a call with these arguments, as JSON; UsageError if it has none."""
        try:
            values = self.defaults | _decode(args)
        except UNREADABLE as error:
            raise UsageError(f"key {self.text!r}: the arguments cannot be read: {error}") from error
        return "".join(
            part if isinstance(part, str) else self._text(part, values)
            for part in _parts(self.text)
        )

    def _text(self, path: Sequence[str], values: Mapping[str, Any]) -> str:
        name = ".".join(path)
        value: Any = values
        for number, each in enumerate(path):
            if not isinstance(value, Mapping):
                above = ".".join(path[:number])
                raise UsageError(
                    f"key {self.text!r} needs {name!r}, but {above!r} is {value!r:.100}, which has "
                    "no fields"
                )
            if each not in value:
                raise UsageError(
                    f"key {self.text!r} needs {name!r}, which the call does not have: pass it, or "
                    "give this call a key of its own"
                )
            value = cast("Mapping[str, Any]", value)[each]
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str | int):
            return str(value)
        raise UsageError(
            f"key {self.text!r}: {name!r} is {value!r:.100} in JSON, and only strings, integers "
            "and booleans can be part of a key: name a field of it, or give this call a key of "
            "its own"
        )


def parse_key(text: str) -> str | KeyTemplate:
    """Return a key that is the same for every call, or a template; UsageError for a wrong one."""
    if len(text) > TEMPLATE_LIMIT:
        raise UsageError(
            f"a key can have at most {TEMPLATE_LIMIT} characters with its places for arguments, "
            f"got {len(text):,}"
        )
    parts = _parts(text)
    places = sum(not isinstance(part, str) for part in parts)
    if places > MOST_PLACES:
        raise UsageError(f"key {text!r:.100} names {places} arguments, the limit is {MOST_PLACES}")
    return KeyTemplate(text) if places else "".join(cast("Sequence[str]", parts))


def literal_key(key: str) -> str:
    """Return the text whose key is exactly `key`: with its braces doubled."""
    return key.replace("{", "{{").replace("}", "}}")


def check_arguments(template: KeyTemplate, known: Collection[str], what: str) -> None:
    """Raise UsageError if a template names an argument that `what` does not have."""
    for name in template.arguments:
        if name not in known:
            has = f"it has: {', '.join(known)}" if known else "it has none"
            raise UsageError(
                f"key {template.text!r}: {what} has no argument {name!r}; {has}. A brace that "
                "belongs to the key is written twice: '{{'"
            )


@lru_cache(maxsize=1000)  # a program has few of them
def _parts(text: str) -> tuple[Part, ...]:
    parts: list[Part] = []
    end = 0
    for found in _TOKEN.finditer(text):
        parts.append(text[end : found.start()])
        end = found.end()
        token, place = found[0], found[1]
        if place is not None:
            parts.append(_path(text, place))
        elif len(token) == 2:
            parts.append(token[0])
        else:
            raise UsageError(
                f"key {text!r:.100} has a single {token!r}: write {token * 2!r} for the character, "
                "or {argument} for the value of an argument"
            )
    parts.append(text[end:])
    return tuple(part for part in parts if part)


def _path(text: str, place: str) -> tuple[str, ...]:
    if not _PATH.fullmatch(place):
        raise UsageError(
            f"key {text!r:.100}: {{{place:.50}}} is not the name of an argument, like {{user_id}} "
            "or {order.id}; a key has no formats and no conversions, and a brace that belongs to "
            "it is written twice"
        )
    return tuple(place.split("."))
