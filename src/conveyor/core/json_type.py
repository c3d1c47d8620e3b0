"""One annotation as a type in JSON: how its values are encoded, decoded and refused."""

from __future__ import annotations

import types
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, Literal, cast

import msgspec

from .lossless import ANY, Lossless, lossless
from .round_trip import Change, stated_depth, type_phrase

# What encoding and decoding raise, besides what the classes of a value raise themselves.
ERRORS = (
    msgspec.MsgspecError,
    TypeError,
    ValueError,
    NotImplementedError,
    OverflowError,
    RecursionError,
)


def to_json(value: object) -> object:
    """Convert types that msgspec cannot encode: paths and pydantic models."""
    if isinstance(value, PurePath):
        return str(value)
    # Looked up in the class, because some objects have any attribute.
    dump = getattr(type(value), "model_dump", None)
    if dump is not None:
        return dump(value, mode="json")
    raise NotImplementedError(f"a {type(value).__qualname__} cannot be stored as JSON")


def from_json(wanted: Any, value: Any) -> object:
    """Convert JSON to an annotated type that msgspec cannot decode: paths and pydantic models."""
    if wanted is object:
        return value
    if isinstance(wanted, type) and issubclass(cast("type[Any]", wanted), PurePath):
        return cast("Any", wanted)(value)
    validate = getattr(wanted, "model_validate", None)
    if validate is not None:
        return validate(value)
    raise NotImplementedError(f"{wanted!r} cannot be decoded from JSON")


ENCODER = msgspec.json.Encoder(enc_hook=to_json)


def decoder(hint: Any) -> msgspec.json.Decoder[Any]:
    """Return a decoder of an annotation; an exception if msgspec cannot decode it."""
    return msgspec.json.Decoder(hint, dec_hook=from_json)


@dataclass(frozen=True, slots=True)
class JsonType:
    """An annotation. `hint` is what to decode with: Any if it says nothing or cannot be decoded.

    `written` is the annotation in the code, or "" without one. `obstacle` is why it cannot be
    decoded, if so, and `unresolved` whether that is because of a name that is not defined.
    `allows_none`: a None comes back as None. `stated` is to which depth
    it states the types of a value.
    """

    hint: Any = Any
    written: str = ""
    lossless: Lossless = ANY
    obstacle: str = ""
    unresolved: bool = False
    allows_none: bool = True
    stated: int = 0

    @property
    def is_open(self) -> bool:
        """Whether the annotation allows any value."""
        return self.hint is Any and (self.unresolved or not self.obstacle)

    def remedy(self, change: Change, verb: Literal["pass", "return"]) -> str:
        """Return what to write instead where a value would not come back unchanged."""
        back = type_phrase(change.back)
        if change.too_deep:
            return f"{verb} something flatter, or store it elsewhere and {verb} its name"
        if self.unresolved:
            return (
                f"its annotation `{self.written}` cannot be resolved ({self.obstacle}): define or "
                "import it in the function's module, not only under `if TYPE_CHECKING:`"
            )
        if self.obstacle:
            return f"{self.obstacle}; annotate the exact type, or {verb} {back}"
        if change.is_key:
            return f"annotate the dict with the type of its keys, or {verb} a dict with string keys"
        if type(change.given) is type(change.back):
            return f"{verb} what `{self.written}` can express exactly"
        if self.written:
            return f"`{self.written}` restores {back}: annotate the exact type, or {verb} {back}"
        return f"annotate it with its type, or {verb} {back}"


def json_type(hint: Any, written: str) -> JsonType:
    """Return an annotation as a type in JSON."""
    hint = Any if hint is object else hint
    try:
        decoder(hint)
    except NameError as error:  # a field of a class has an annotation that cannot be resolved
        return JsonType(written=written, obstacle=str(error), unresolved=True)
    except Exception as error:  # noqa: BLE001 - msgspec evaluates annotations in the user's classes
        return JsonType(written=written, obstacle=_obstacle(written, error))
    return JsonType(
        hint,
        written,
        lossless(hint),
        allows_none=_allows_none(hint),
        stated=stated_depth(hint),
    )


def repeated(of: JsonType, kind: type[tuple[Any, ...] | dict[str, Any]]) -> JsonType:
    """Return the type of all values of `*args` or `**kwargs`, from that of each."""
    args = (of.hint, ...) if kind is tuple else (str, of.hint)
    hint = types.GenericAlias(kind, args)
    return replace(of, hint=hint, lossless=lossless(hint))


def _allows_none(hint: Any) -> bool:
    try:
        return decoder(hint).decode(b"null") is None
    except Exception:  # noqa: BLE001 - the annotated class may refuse as it likes
        return False


def _obstacle(written: str, error: Exception) -> str:
    if str(error).startswith("Type unions"):
        return f"JSON cannot tell the types in `{written}` apart"
    return f"`{written}` cannot be decoded from JSON ({error})"
