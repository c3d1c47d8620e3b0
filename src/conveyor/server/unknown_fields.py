"""Refuses unknown fields anywhere in a body: one may be a misspelled option.

Most of the data types in a body are stored or sent to clients as well. There an unknown field must
be accepted, because a newer version may have written it. So a body is compared with the shape of
its type: the same structs, strict, and with every other value skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import GenericAlias
from typing import Any, Union

import msgspec
from msgspec import Raw, inspect

from ..store.http.api import JSON
from ..store.http.payloads import Payload


def check_fields(request: type[Payload], media: str, data: bytes) -> None:
    """Raise msgspec.ValidationError if a valid body has a field that its type does not have."""
    check = _checker(request, media)
    if check is not None and data:
        check(data)


@cache
def _checker(request: type[Payload], media: str) -> Callable[[bytes], Any] | None:
    # A payload itself is strict; only what is nested in it has to be looked at.
    fields = msgspec.structs.fields(request)
    if all(_shape(inspect.type_info(field.type)) is Raw for field in fields):
        return None
    module = msgspec.json if media == JSON else msgspec.msgpack
    decode: Callable[[bytes], Any] = module.Decoder(_shape(inspect.type_info(request))).decode
    return decode


def _shape(info: inspect.Type) -> Any:
    """Return the type that accepts any value of a type, and in its structs no unknown fields."""
    match info:
        case inspect.Metadata(type=inner):
            return _shape(inner)
        case inspect.StructType():
            return _strict(info)
        case inspect.UnionType(types=types):
            shapes = [_shape(each) for each in types]
            structs = tuple(each for each in shapes if each is not Raw)
            return Union[(*structs, None)] if structs else Raw
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            shape = _shape(item)
            return Raw if shape is Raw else GenericAlias(list, (shape,))
        case inspect.TupleType(item_types=items):
            shapes = [_shape(each) for each in items]
            return Raw if set(shapes) == {Raw} else GenericAlias(tuple, tuple(shapes))
        case _:
            return Raw


def _strict(info: inspect.StructType) -> type[msgspec.Struct]:
    return msgspec.defstruct(
        info.cls.__name__,
        [(field.encode_name, _shape(field.type), Raw()) for field in info.fields],
        tag=info.tag,
        tag_field=info.tag_field,
        forbid_unknown_fields=True,
    )
