"""Arguments and results as JSON: bound to the signature, typed by annotations, never pickled."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import msgspec

from ..errors import EncodingError, StaleArgumentsError, UsageError
from .annotations import Annotations
from .bounds import BOUNDS
from .job import ARGS_LIMIT
from .json_type import ENCODER, ERRORS, JsonType, decoder, json_type, repeated
from .round_trip import find_change, find_not_finite, type_phrase
from .unreadable import UNREADABLE

RESULT_LIMIT = BOUNDS["result"].limit
OPEN = JsonType()
KEYS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BY_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class ArgsCodec:
    """Encodes the arguments of one function at enqueue and decodes them where it runs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = getattr(function, "__qualname__", type(function).__qualname__)
        try:
            self._signature = inspect.signature(function)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"{function!r} has no signature that Python can read: wrap it in a `def`"
            ) from error
        parameters = self._signature.parameters.values()
        self._names = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self._simple = len(self._names) == len(self._signature.parameters)
        self._keywords = frozenset(p.name for p in parameters if p.kind in _BY_KEYWORD)
        self._rest = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), "")
        self._required = frozenset(
            p.name
            for p in parameters
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        )
        self._annotations = Annotations(function, {p.name: p.annotation for p in parameters})
        self._plan = _Plan(self._signature, self._annotations)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters."""
        return tuple(self._signature.parameters)

    def default_values(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the JSON values of the defaults of parameters; UsageError for one without JSON."""
        values: dict[str, Any] = {}
        for name in names:
            parameter = self._signature.parameters.get(name)
            if parameter is None or parameter.default is parameter.empty:
                continue
            try:
                values[name] = msgspec.json.decode(ENCODER.encode(parameter.default))
            except ERRORS as error:
                raise UsageError(
                    f"the default of {name!r} of {self._name} cannot be written as JSON: {error}"
                ) from error
        return values

    @property
    def sole_parameter(self) -> str | None:
        """The name of the first parameter, if a call needs no other; None if there is none."""
        name = next(iter(self._names), None)
        return name if self._required <= {name} else None

    def encode(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, limit: int = ARGS_LIMIT
    ) -> bytes:
        """Return the arguments as JSON; EncodingError for one that would come back changed."""
        values = self._bind(args, kwargs)
        if not values:
            return b"{}"
        try:
            data = ENCODER.encode(values)
        except ERRORS as error:
            raise self._blame(values, error) from error
        if len(data) > limit:
            raise self._too_large(values, len(data), limit)
        if b"null" in data:
            for name, value in values.items():
                check_finite(value, f"argument {name!r} of {self._name}")
        types = self._current_plan().types
        for name, value in values.items():
            known = types[name].lossless
            if type(value) not in known.types and not known(value):
                self._check_round_trip(values, data)
                break
        return data

    def decode(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and keyword arguments; StaleArgumentsError if they do not match."""
        if data == b"{}" and not self._required:
            return (), {}
        try:
            values = self._current_plan().decoder.decode(data)
        except ERRORS as error:
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
        try:
            unknown = KEYS.decode(data).keys() - self._plan.types.keys()
        except UNREADABLE as error:  # the name of a parameter that it does not have
            raise self._stale(str(error)) from error
        if unknown:
            raise self._stale(f"it has no parameter {', '.join(sorted(unknown))}")
        if self._simple:
            return (), values
        twice = self._keywords & values.get(self._rest, {}).keys()
        if twice:
            raise self._stale(f"there are two values for its parameter {', '.join(sorted(twice))}")
        bound = self._signature.bind_partial()
        bound.arguments.update(values)
        return bound.args, bound.kwargs

    def _stale(self, why: str) -> StaleArgumentsError:
        return StaleArgumentsError(
            f"the arguments of {self._name} do not match its signature in the code here: {why}"
        )

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if self._simple and len(args) <= len(self._names):
            # inspect's own bind costs 4 us; this is the common case, and it falls through to
            # bind's error messages when anything is odd.
            values = dict(zip(self._names, args, strict=False))
            given = {**values, **kwargs} if kwargs else values
            clear = (
                len(given) == len(values) + len(kwargs) and given.keys() <= self._plan.types.keys()
            )
            if clear and given.keys() >= self._required:
                return given
        try:
            return dict(self._signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise UsageError(f"{self._name}{self._signature}: {error}") from error

    def _check_round_trip(self, values: dict[str, Any], data: bytes) -> None:
        try:
            back = self._plan.decoder.decode(data)
        except ERRORS as error:
            at = "" if "`$." in str(error) else self._place(values)
            raise EncodingError(
                f"{self._name}: an argument does not match its annotation: {error}{at}; "
                "pass the annotated type, or change the annotation"
            ) from error
        for name, value in values.items():
            wanted = self._plan.types[name]
            change = find_change(value, back[name], stated=wanted.stated)
            if change is not None:
                what = f"argument {name!r} of {self._name}"
                at = f": {name}{change.path}" if change.path else ""
                raise EncodingError(
                    f"{what}{at} {change.describe()}; {wanted.remedy(change, 'pass')}"
                )

    def _place(self, values: dict[str, Any]) -> str:
        """Return which argument cannot be decoded, written as msgspec does."""
        for name, value in values.items():
            try:
                self._plan.decoder.decode(ENCODER.encode({name: value}))
            except ERRORS:
                return f" - at `$.{name}`"
        return ""

    def _current_plan(self) -> _Plan:
        if self._plan.unresolved and self._annotations.resolve_again():
            self._plan = _Plan(self._signature, self._annotations)
        return self._plan

    def _blame(self, values: dict[str, Any], error: Exception) -> EncodingError:
        for name, value in values.items():
            try:
                ENCODER.encode(value)
            except ERRORS as reason:
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
    """Encodes the results of one function where it runs, and decodes them for its caller.

    A result that does not match the annotation is refused. Without an annotation, and wherever it
    allows any value, a result comes back as plain JSON.
    """

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        self._annotations: Annotations | None = None
        self._type = OPEN
        if function is not None:
            written = inspect.signature(function).return_annotation
            self._annotations = Annotations(function, {"return": written})
            self._type = _type_of("return", self._annotations)
        self._decoder = decoder(self._type.hint)
        # Whether None is a result like any other. Read for each job.
        self.allows_none = self._type.allows_none

    def encode(self, value: object, task: str, *, limit: int = RESULT_LIMIT) -> bytes | None:
        """Return a result as JSON, None for None; EncodingError if it would not come back."""
        wanted = self._current_type()
        if value is None and wanted.allows_none:
            return None
        try:
            data = ENCODER.encode(value)
        except ERRORS as error:
            raise EncodingError(
                f"the result of {task} cannot be stored as JSON: {error}; "
                "return plain data, or store it elsewhere and return its name"
            ) from error
        if len(data) > limit:
            raise EncodingError(
                f"the result of {task} is {len(data):,} bytes of JSON, above the limit of "
                f"{limit:,}; store it elsewhere and return its name"
            )
        if b"null" in data:
            check_finite(value, f"the result of {task}")
        if not wanted.is_open and not wanted.lossless(value):
            self._check(value, data, task)
        return data

    def decode(self, data: bytes | None) -> Any:
        """Return the value that the function returned; EncodingError if it no longer matches."""
        if data is None:
            return None
        wanted = self._current_type()
        try:
            return self._decoder.decode(data)
        except ERRORS as error:
            raise EncodingError(
                f"the stored result does not match the annotation `{wanted.written}` of the "
                f"function: {error}"
            ) from error

    def _check(self, value: object, data: bytes, task: str) -> None:
        wanted, what = self._type, f"the result of {task}"
        try:
            back = self._decoder.decode(data)
        except ERRORS as error:
            raise EncodingError(
                f"{what} is {type_phrase(value)}, which does not match its annotation "
                f"`{wanted.written}`: {error}; return the annotated type, or change the annotation"
            ) from error
        # What can be decoded is what the annotation says. What cannot must not need it.
        change = find_change(value, back) if wanted.obstacle else None
        if change is not None:
            at = f" at {change.path}" if change.path else ""
            raise EncodingError(
                f"{what}{at} {change.describe()}; {wanted.remedy(change, 'return')}"
            )

    def _current_type(self) -> JsonType:
        if self._type.unresolved and self._annotations and self._annotations.resolve_again():
            self._type = _type_of("return", self._annotations)
            self._decoder = decoder(self._type.hint)
            self.allows_none = self._type.allows_none
        return self._type


def check_finite(value: object, what: str) -> None:
    """Refuse NaN and infinity, which msgspec would encode as null."""
    found = find_not_finite(value)
    if found is not None:
        raise EncodingError(f"{what} contains {found!r}, which JSON cannot express")


def encode_plain(values: dict[str, Any], what: str, *, limit: int = ARGS_LIMIT) -> bytes:
    """Return arguments for a function that is not known here; EncodingError unless plain data."""
    try:
        data = ENCODER.encode(values)
    except ERRORS as error:
        raise EncodingError(f"{what} cannot be stored as JSON: {error}; pass plain data") from error
    if len(data) > limit:
        raise EncodingError(
            f"{what} are {len(data):,} bytes of JSON, above the limit of {limit:,}; store the data "
            "elsewhere and pass its name, or raise args_limit"
        )
    check_finite(values, what)
    change = find_change(values, msgspec.json.decode(data))
    if change is not None:
        raise EncodingError(
            f"{what}: {change.path or 'their mapping'} {change.describe()}; pass plain data, "
            "because the function is not known here"
        )
    return data


class _Plan:
    """How the arguments of a signature are decoded, with its annotations as they are now."""

    def __init__(self, signature: inspect.Signature, annotations: Annotations) -> None:
        self.types = {
            p.name: _parameter_type(p, annotations) for p in signature.parameters.values()
        }
        self.unresolved = any(each.unresolved for each in self.types.values())
        fields = {name: each.hint for name, each in self.types.items()}
        # A TypedDict decodes to a plain dict, ready for a call, and leaves out what was left out.
        shape = typing.TypedDict("Arguments", fields, total=False)  # type: ignore[misc]
        self.decoder = cast("msgspec.json.Decoder[dict[str, Any]]", decoder(shape))


def _parameter_type(parameter: inspect.Parameter, annotations: Annotations) -> JsonType:
    of = _type_of(parameter.name, annotations)
    match parameter.kind:
        case inspect.Parameter.VAR_POSITIONAL:
            return repeated(of, tuple)
        case inspect.Parameter.VAR_KEYWORD:
            return repeated(of, dict)
        case _:
            return of


def _type_of(name: str, annotations: Annotations) -> JsonType:
    written = annotations.written(name)
    if name in annotations.types:
        return json_type(annotations.types[name], written)
    if name in annotations.reasons:
        return JsonType(written=written, obstacle=annotations.reasons[name], unresolved=True)
    return OPEN
