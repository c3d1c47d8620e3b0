"""Values of parameters in PostgreSQL's binary format, by the type that a statement declares.

psycopg finds a way to write each value anew at every call, and writes arrays element by element in
Python. Here the way is known once a statement is loaded, and a column of equal values is written
as one value, many times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any

from .nul_escapes import escape

Encoder = Callable[[Any], bytes]

_NULL = b"\xff\xff\xff\xff"
_LENGTH = Struct(">i").pack
# Dimensions, whether there may be NULLs, the type of an element, how many there are, the first
# one's number.
_ARRAY = Struct(">iiiii").pack


def encoder(sql_type: str) -> Encoder:
    """Return the function that writes a value of this type; None (NULL) is never given to it."""
    if not sql_type.endswith("[]"):
        return _TYPES[sql_type][1]
    oid, encode = _TYPES[sql_type.removesuffix("[]")]

    def encode_array(values: Sequence[Any]) -> bytes:
        count = len(values)
        if not count:
            return _ARRAY(0, 0, oid, 0, 1)[:12]
        return _ARRAY(1, 1, oid, count, 1) + _elements(values, count, encode)

    return encode_array


def _elements(values: Sequence[Any], count: int, encode: Encoder) -> bytes:
    first = values[0]
    if values.count(first) == count:
        if first is None:
            return _NULL * count
        written = encode(first)
        return (_LENGTH(len(written)) + written) * count
    if None in values:
        return b"".join(
            [
                _NULL if value is None else _LENGTH(len(written := encode(value))) + written
                for value in values
            ]
        )
    each = list(map(encode, values))
    sizes = set(map(len, each))
    if len(sizes) == 1:
        length = _LENGTH(sizes.pop())
        return length + length.join(each)
    return b"".join([_LENGTH(len(written)) + written for written in each])


def _text(value: str) -> bytes:
    return escape(value).encode()


def _bytes(value: Any) -> bytes:
    # Not bytes(value), which makes zeros of a number.
    return value if type(value) is bytes else bytes(memoryview(value))


def _bool(value: object) -> bytes:
    return b"\1" if value else b"\0"


# The number of each type in pg_type, and how its values are written. JSON is a text.
_TYPES: dict[str, tuple[int, Encoder]] = {
    "INT8": (20, Struct(">q").pack),
    "INT4": (23, _LENGTH),
    "FLOAT8": (701, Struct(">d").pack),
    "TEXT": (25, _text),
    "BYTEA": (17, _bytes),
    "BOOL": (16, _bool),
    "JSON": (114, _text),
}
