"""What is checked of a body before it is decoded: unknown fields, repeated ones, and sizes.

Most of the data types in a body are stored or sent to clients as well. There an unknown field must
be accepted, because a newer version may have written it. So a body is first read in the shape of
its type: the same structs, strict, with every other value skipped. That takes a tenth of the time
of decoding it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from types import GenericAlias
from typing import Annotated, Any, NamedTuple, Union, cast

import msgspec
from msgspec import Raw, inspect

from ..core.bounds import BOUNDS, check_size, checked_meta
from ..core.files import FILES_LIMIT, artifact_patterns, file_names
from ..errors import UsageError
from ..store.http.api import JSON
from ..store.http.payloads import Payload
from .job_intake import check_args_size

# Bodies up to this size cost little even if all of it must be decoded.
SMALL = BOUNDS["options"].limit
# The lists of what has bounds of its own, and what one entry is called.
ENTRIES = {"jobs": "job", "tasks": "task", "reports": "report"}
LISTS = ("requires", "retry_on", "given")

BLANKS = b" \t\r\n"

_encode = msgspec.json.Encoder().encode
_decode_meta = msgspec.json.Decoder(dict[str, Any]).decode
_decode_list = msgspec.json.Decoder(list[Raw] | None).decode


class _Format(NamedTuple):
    decode: Callable[[bytes], Any]
    size: Callable[[bytes], int]
    encode: Callable[[Any], bytes]


def read_shape(request: type[Payload], media: str, data: bytes) -> Any:
    """Return a body in the shape of its type, with its values not decoded.

    Raises msgspec.ValidationError for a field that its type does not have, and UsageError for one
    that comes twice: the last value would be used, and the others would have been decoded as well.
    """
    decode, size, encode = _format(request, media)
    shape = decode(data)
    # The shape holds every byte of a body, except those that a repeated field has replaced.
    if size(data) != size(encode(shape)):
        raise UsageError(
            "a field comes twice, or its name is written with escapes: give each field once"
        )
    return shape


def check_sizes(shape: Any, args_limit: int) -> None:
    """Raise UsageError if a part of a job, task or report in a large body is above its bound.

    Decoding 60 MB of options takes seconds in which nobody else is answered. One part does not.
    """
    for field, what in ENTRIES.items():
        found = getattr(shape, field, None)
        # What was left out is an empty Raw.
        entries = cast("list[Any]", found) if isinstance(found, list) else []
        for number, each in enumerate(entries):
            try:
                _check_entry(each, args_limit)
            except UsageError as error:
                raise type(error)(f"{what} {number}: {error}") from error


def _check_entry(entry: Any, args_limit: int) -> None:
    args = bytes(getattr(entry, "args", b""))
    check_args_size(args, args_limit)
    options = getattr(entry, "options", None)
    if isinstance(options, msgspec.Struct):
        _named("options", _check_options, options)
    failure = getattr(getattr(entry, "outcome", None), "error", None)
    if isinstance(failure, msgspec.Struct):
        _check_list("bases", cast("Any", failure).bases)


def _check_options(options: Any) -> None:
    check_size("options", _encode(options))
    meta = bytes(options.meta)
    if len(meta) > BOUNDS["meta"].limit:  # or it has many escapes
        _named("meta", checked_meta, _decode_meta(meta))
    for name in LISTS:
        _check_list(name, getattr(options, name))
    artifacts = bytes(options.artifacts)
    patterns = _decode_list(artifacts) if len(artifacts) > 3 * FILES_LIMIT else None
    if patterns is not None and len(patterns) > FILES_LIMIT:
        artifact_patterns(patterns)  # which raises
    if isinstance(options.files, list) and len(cast("list[Any]", options.files)) > FILES_LIMIT:
        file_names(cast("list[Any]", options.files))


def _check_list(name: str, value: Raw) -> None:
    data = bytes(value)
    if len(data) > 3 * BOUNDS[name].limit:  # three bytes are the least that an entry takes
        _named(name, partial(check_size, name), _decode_list(data) or ())


def _named(what: str, check: Callable[[Any], object], value: Any) -> None:
    try:
        check(value)
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from error


@cache
def _format(request: type[Payload], media: str) -> _Format:
    shape = _shape(inspect.type_info(request))
    if media == JSON:
        return _Format(msgspec.json.Decoder(shape).decode, _dense_size, _encode)
    return _Format(msgspec.msgpack.Decoder(shape).decode, len, msgspec.msgpack.Encoder().encode)


def _dense_size(data: bytes) -> int:
    return len(data.translate(None, BLANKS))


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
            shape = (
                _strict(item, required=True)
                if isinstance(item, inspect.StructType)
                else _shape(item)
            )
            if shape is Raw:
                return Raw
            made = GenericAlias(list, (shape,))
            most = info.max_length
            return made if most is None else Annotated[made, msgspec.Meta(max_length=most)]
        case inspect.TupleType(item_types=items):
            shapes = [_shape(each) for each in items]
            return Raw if set(shapes) == {Raw} else GenericAlias(tuple, tuple(shapes))
        case _:
            return Raw


def _strict(info: inspect.StructType, *, required: bool = False) -> type[msgspec.Struct]:
    """Return the struct's shape. With `required`, a list of millions of `{}` ends at the first."""
    fields: list[tuple[str, Any] | tuple[str, Any, Raw]] = [
        (field.encode_name, _shape(field.type))
        if required and field.required
        else (field.encode_name, _shape(field.type), Raw())
        for field in info.fields
    ]
    return msgspec.defstruct(
        info.cls.__name__,
        fields,
        tag=info.tag,
        tag_field=info.tag_field,
        forbid_unknown_fields=True,
        omit_defaults=True,
        kw_only=True,
        gc=False,
    )
