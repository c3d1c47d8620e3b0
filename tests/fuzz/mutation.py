"""Makes inputs from seeds: bytes are changed anywhere, and the values of JSON by others."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

LONGEST = 1 << 14
# What decoders have stumbled over, anywhere.
PIECES = (
    b"", b"\0", b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\n", b"\r\n", b" ", b'"', b"\\", b"\\u0000",
    b"\\ud800", b"{", b"}", b"[", b"]", b",", b":", b"=", b"&", b"%", b"%00", b"%ff", b"+", b"-",
    b"..", b"/", b"*", b"**", b"?", b"null", b"true", b"0", b"-1", b"1e999", b"nan", b"inf",
    b"9223372036854775808", "²".encode(), "٣".encode(), "\u202e".encode(), b"\x1b[2J",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308,
    "", "\0", "x" * 300, "²", "\u202e", "../x", "/x", "a/b", "0" * 64, "1h", "* * * * *", "UTC",
    [], [None], {}, {"": None}, {"type": "x"}, [[]], [{}],
)  # fmt: skip
# Deeper than any decoder follows.
DEEP = (b"[" * 3000 + b"]" * 3000, b'{"a":' * 2000 + b"1" + b"}" * 2000)


def mutate(draw: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return a new input, made from one or two seeds by some changes."""
    data = draw.choice(seeds)
    if draw.random() < 0.4:
        data = _with_other_value(draw, data)
    for _ in range(draw.choice((0, 1, 1, 1, 2, 4, 8))):
        data = _changed(draw, data, seeds)
    return data[:LONGEST]


def _changed(draw: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start = draw.randrange(len(data) + 1)
    end = min(len(data), start + draw.choice((0, 1, 1, 2, 4, 16, 64)))
    kind = draw.randrange(8)
    if kind == 0:  # remove
        return data[:start] + data[end:]
    if kind == 1:  # repeat; seldom so often that a cost that grows with the square shows
        times = draw.choice((2, 2, 3, 10, 1000)) if draw.random() < 0.2 else 2
        return data[:end] + data[start:end] * (times - 1) + data[end:]
    if kind == 2:  # a byte at random
        return data[:start] + bytes([draw.randrange(256)]) + data[start + 1 :]
    if kind == 3:  # a bit
        flipped = bytes([data[start] ^ 1 << draw.randrange(8)]) if start < len(data) else b""
        return data[:start] + flipped + data[start + 1 :]
    if kind == 4:  # a part of another
        other = draw.choice(seeds)
        cut = draw.randrange(len(other) + 1)
        return data[:start] + other[cut:]
    if kind == 5 and draw.random() < 0.02:
        return data[:start] + draw.choice(DEEP) + data[end:]
    return data[:start] + draw.choice(PIECES) + data[end:]


def _with_other_value(draw: random.Random, data: bytes) -> bytes:
    """Return JSON with one of its values, or the name of a field, replaced; other data as it is."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return data
    holder: dict[str, Any] = {"": found}
    places: list[tuple[Any, Any]] = [(holder, "")]
    for parent, key in places:
        inner = parent[key]
        if isinstance(inner, dict):
            places += [(inner, name) for name in inner]
        elif isinstance(inner, list):
            places += [(inner, number) for number in range(len(inner))]
    parent, key = draw.choice(places)
    if isinstance(parent, dict) and draw.random() < 0.1:
        parent[draw.choice(("", "type", "x", key.upper()))] = parent.pop(key)
    else:
        other, name = draw.choice(places)
        parent[key] = draw.choice(VALUES) if draw.random() < 0.8 else other[name]
    try:
        return json.dumps(holder.get("")).encode()
    except (ValueError, RecursionError):  # it contains itself now
        return data
