"""Arguments and results as JSON: bound to the signature, typed by annotations, never pickled."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, cast

import msgspec

from ..errors import EncodingError, StaleArgumentsError, UsageError
from .job import ARGS_LIMIT

PLAIN = (str, int, float, bool, type(None))
MAX_DEPTH = 100
RESULT_LIMIT = 1 << 20


def to_json(value: object) -> object:
    """Convert types that msgspec cannot encode: paths and pydantic models."""
    if isinstance(value, PurePath):
        return str(value)
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    raise NotImplementedError(f"a {type(value).__qualname__} cannot be stored as JSON")


def from_json(wanted: Any, value: Any) -> object:
    """Convert JSON to an annotated type that msgspec cannot decode: paths and pydantic models."""
    if isinstance(wanted, type) and issubclass(cast("type[Any]", wanted), PurePath):
        return cast("Any", wanted)(value)
    validate = getattr(wanted, "model_validate", None)
    if validate is not None:
        return validate(value)
    raise NotImplementedError(f"{wanted!r} cannot be decoded from JSON")


ENCODER = msgspec.json.Encoder(enc_hook=to_json)
KEYS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ArgsCodec:
    """Encodes the arguments of one function at enqueue and decodes them where it runs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = function.__qualname__
        try:
            self._signature = inspect.signature(function)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"{function!r} has no signature that Python can read: wrap it in a `def`"
            ) from error
        parameters = self._signature.parameters.values()
        self._names = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self._simple = len(self._names) == len(self._signature.parameters)
        self._required = frozenset(
            p.name
            for p in parameters
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        )
        hints = hints_of(function)
        self._types = {p.name: _argument_type(p, hints) for p in parameters}
        self._decoder = _decoder_for(self._types)
        self._loose = tuple(name for name, wanted in self._types.items() if wanted is Any)

    def encode(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, limit: int = ARGS_LIMIT
    ) -> bytes:
        """Return the arguments as JSON; EncodingError names the argument that has no JSON form."""
        values = self._bind(args, kwargs)
        if not values:
            return b"{}"
        for name in self._loose:
            if name in values:
                check_plain(values[name], f"argument {name!r} of {self._name}")
        try:
            data = ENCODER.encode(values)
        except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
            raise self._blame(values, error) from error
        if len(data) > limit:
            raise self._too_large(values, len(data), limit)
        if b"null" in data:
            check_finite(values, f"an argument of {self._name}")
        try:
            self._decoder.decode(data)
        except (msgspec.MsgspecError, ValueError, TypeError, NotImplementedError) as error:
            raise EncodingError(
                f"{self._name}: an argument does not match its annotation: {error}; "
                "pass the annotated type, or change the annotation"
            ) from error
        return data

    def decode(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and keyword arguments; StaleArgumentsError if they do not match."""
        if data == b"{}" and not self._required:
            return (), {}
        try:
            values = self._decoder.decode(data)
        except (msgspec.MsgspecError, ValueError, TypeError, NotImplementedError) as error:
            if not isinstance(error, msgspec.ValidationError) and isinstance(
                error, msgspec.DecodeError
            ):
                raise EncodingError(
                    f"the stored arguments of {self._name} are not JSON: {error}"
                ) from error
            raise self._stale(str(error)) from error
        if not self._required <= values.keys():
            missing = ", ".join(sorted(self._required - values.keys()))
            raise self._stale(f"there is no value for its parameter {missing}")
        unknown = KEYS.decode(data).keys() - self._types.keys()
        if unknown:
            raise self._stale(f"it has no parameter {', '.join(sorted(unknown))}")
        if self._simple:
            return (), values
        bound = self._signature.bind_partial()
        bound.arguments.update(values)
        return bound.args, bound.kwargs

    def _stale(self, why: str) -> StaleArgumentsError:
        return StaleArgumentsError(
            f"the stored arguments of {self._name} do not match its signature in this worker's "
            f"code: {why}"
        )

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if self._simple and len(args) <= len(self._names):
            # inspect's own bind costs 4 us; this is the common case, and it falls through to
            # bind's error messages when anything is odd.
            values = dict(zip(self._names, args, strict=False))
            given = {**values, **kwargs} if kwargs else values
            clear = len(given) == len(values) + len(kwargs) and given.keys() <= self._types.keys()
            if clear and given.keys() >= self._required:
                return given
        try:
            return dict(self._signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise UsageError(f"{self._name}{self._signature}: {error}") from error

    def _blame(self, values: dict[str, Any], error: Exception) -> EncodingError:
        for name, value in values.items():
            try:
                ENCODER.encode(value)
            except (TypeError, ValueError, NotImplementedError, RecursionError) as reason:
                return EncodingError(
                    f"argument {name!r} of {self._name} cannot be stored as JSON: {reason}; "
                    "pass plain data (or a dataclass, Struct, datetime, UUID, Path, bytes), "
                    "or a key to look it up by"
                )
        return EncodingError(f"the arguments of {self._name} cannot be stored as JSON: {error}")

    def _too_large(self, values: dict[str, Any], size: int, limit: int) -> EncodingError:
        largest = max(values, key=lambda name: len(ENCODER.encode(values[name])))
        return EncodingError(
            f"the arguments of {self._name} are {size:,} bytes of JSON, above the limit of "
            f"{limit:,}; the largest is {largest!r}. Store the data elsewhere and pass its name, "
            "or raise args_limit"
        )


class ResultCodec:
    """Decodes the result of one function to its annotated type."""

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        hint = hints_of(function).get("return", Any) if function is not None else Any
        self._decoder = _typed(hint) or msgspec.json.Decoder()

    def decode(self, data: bytes | None) -> Any:
        """Return the value that the function returned."""
        return None if data is None else self._decoder.decode(data)


def encode_result(value: object, task: str, *, limit: int = RESULT_LIMIT) -> bytes | None:
    """Return a result as JSON, None for None; EncodingError if JSON cannot hold it."""
    if value is None:
        return None
    try:
        data = ENCODER.encode(value)
    except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
        raise EncodingError(
            f"the result of {task} cannot be stored as JSON: {error}; "
            "return plain data, or store it elsewhere and return its name"
        ) from error
    if len(data) > limit:
        raise EncodingError(
            f"the result of {task} is {len(data):,} bytes of JSON, above the limit of {limit:,}; "
            "store it elsewhere and return its name"
        )
    if b"null" in data:
        check_finite(value, f"the result of {task}")
    return data


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return a function's resolved annotations, or none if they cannot be resolved here."""
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return {}


def check_plain(value: object, what: str, depth: int = 0) -> None:
    """Refuse a value whose type JSON would change, because no annotation states it."""
    if type(value) in PLAIN:
        return
    if depth > MAX_DEPTH:
        raise EncodingError(f"{what} is nested more than {MAX_DEPTH} levels deep")
    match value:
        case dict():
            for key, item in cast("dict[Any, Any]", value).items():
                if type(key) is not str:
                    raise EncodingError(f"{what}: JSON object keys must be strings, got {key!r}")
                check_plain(item, what, depth + 1)
        case list() | tuple():
            for item in cast("list[Any]", value):
                check_plain(item, what, depth + 1)
        case _:
            raise EncodingError(
                f"{what} is a {type(value).__qualname__}, which JSON cannot restore without an "
                "annotation: annotate the parameter with its type, or pass plain data"
            )


def check_finite(value: object, what: str, depth: int = 0) -> None:
    """Refuse NaN and infinity, which msgspec would encode as null."""
    match value:
        case float() if not math.isfinite(value):
            raise EncodingError(f"{what} contains {value!r}, which JSON cannot express")
        case dict() if depth <= MAX_DEPTH:
            for item in cast("dict[Any, Any]", value).values():
                check_finite(item, what, depth + 1)
        case list() | tuple() | set() | frozenset() if depth <= MAX_DEPTH:
            for item in cast("list[Any]", value):
                check_finite(item, what, depth + 1)
        case _:
            return


def _argument_type(parameter: inspect.Parameter, hints: dict[str, Any]) -> Any:
    hint = hints.get(parameter.name, Any)
    match parameter.kind:
        case inspect.Parameter.VAR_POSITIONAL:
            wanted: Any = types.GenericAlias(tuple, (hint, ...))
        case inspect.Parameter.VAR_KEYWORD:
            wanted = types.GenericAlias(dict, (str, hint))
        case _:
            wanted = hint
    return wanted if hint is Any or _typed(wanted) is not None else object


def _typed(hint: Any) -> msgspec.json.Decoder[Any] | None:
    """Return a decoder for a hint, or None where msgspec cannot build one (say, `str | Path`)."""
    try:
        return msgspec.json.Decoder(hint, dec_hook=from_json)
    except (TypeError, NotImplementedError, RuntimeError):
        return None


def _decoder_for(hints: Mapping[str, Any]) -> msgspec.json.Decoder[dict[str, Any]]:
    fields = {name: Any if wanted is object else wanted for name, wanted in hints.items()}
    # A TypedDict decodes to a plain dict, ready for a call, and leaves out what was left out.
    shape = typing.TypedDict("Arguments", fields, total=False)  # type: ignore[misc]
    return msgspec.json.Decoder(cast("type[dict[str, Any]]", shape), dec_hook=from_json)
