"""Arguments and results as JSON: what goes through, and what is refused with its name."""

from __future__ import annotations

import datetime as dt
import enum
import signal
import sys
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypedDict  # noqa: F401 - as above

import msgspec
import pydantic
import pytest

from conveyor.core.codec import ArgsCodec, ResultCodec
from conveyor.errors import EncodingError, StaleArgumentsError, UsageError


@dataclass
class Crop:
    left: int
    top: int


@dataclass
class LargeCrop(Crop):
    scale: float


@dataclass
class Box:
    left: int
    top: int


@dataclass
class Reading:
    value: float | None


class Color(enum.Enum):
    RED = "red"


class Shade(enum.StrEnum):
    DARK = "dark"


class TypedRow(TypedDict):
    a: int


class Tag(msgspec.Struct):
    name: str


class Address(pydantic.BaseModel):
    city: str
    since: dt.date


def sample(
    path: Path,
    crop: Crop,
    tag: Tag,
    address: Address,
    when: dt.datetime,
    key: uuid.UUID,
    raw: bytes,
    *rest: int,
    **extra: float,
) -> None: ...


def round_trip(function: Any, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    codec = ArgsCodec(function)
    return codec.decode(codec.encode(args, kwargs))


def test_typed_arguments_come_back_as_what_they_were() -> None:
    given = (
        Path("a/b"),
        Crop(1, 2),
        Tag("x"),
        Address(city="Köln", since=dt.date(2020, 2, 29)),
        dt.datetime(2026, 3, 29, 2, 30, tzinfo=dt.UTC),
        uuid.UUID(int=7),
        b"\x00\xff",
        4,
        5,
    )
    args, kwargs = round_trip(sample, *given, factor=2.5)
    assert args == given
    assert kwargs == {"factor": 2.5}


def test_what_was_left_to_a_default_stays_left_to_it() -> None:
    def f(a: int, b: int = 3) -> None: ...

    assert ArgsCodec(f).encode((1,), {}) == b'{"a":1}'


@pytest.mark.parametrize(
    ("args", "kwargs", "named"),
    [
        ((), {}, "'a'"),
        ((1, 2, 3), {}, "too many positional"),
        ((1,), {"c": 1}, "'c'"),
        ((1,), {"a": 2}, "'a'"),
    ],
)
def test_a_wrong_call_is_refused_at_once(
    args: tuple[Any, ...], kwargs: dict[str, Any], named: str
) -> None:
    def f(a: int, b: int = 3) -> None: ...

    with pytest.raises(UsageError, match=named):
        ArgsCodec(f).encode(args, kwargs)


def test_a_value_that_does_not_fit_its_annotation_is_refused_by_name() -> None:
    def f(width: int) -> None: ...

    with pytest.raises(EncodingError, match=r"Expected `int`, got `str`.*width"):
        ArgsCodec(f).encode(("wide",), {})


@pytest.mark.parametrize("bad", [b"raw", {1: 2}, object(), {1, 2}, complex(1, 2)])
def test_what_would_not_come_back_as_it_was_is_refused_by_name(bad: object) -> None:
    def f(thing) -> None: ...  # type: ignore[no-untyped-def]

    with pytest.raises(EncodingError, match="'thing'"):
        ArgsCodec(f).encode((bad,), {})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), [1.0, float("-inf")]])
def test_numbers_that_json_cannot_express_are_refused(bad: object) -> None:
    def f(x: Any) -> None: ...

    with pytest.raises(EncodingError, match="JSON cannot express"):
        ArgsCodec(f).encode((bad,), {})


def test_arguments_above_the_limit_are_refused_and_the_largest_is_named() -> None:
    def f(small: str, large: str) -> None: ...

    with pytest.raises(EncodingError, match=r"1,048,576; the largest is 'large'"):
        ArgsCodec(f).encode(("s", "x" * 10_000_000), {})


def test_a_structure_that_holds_itself_is_refused() -> None:
    def f(x: Any) -> None: ...

    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(EncodingError, match="'x'"):
        ArgsCodec(f).encode((loop,), {})


def test_stored_arguments_that_no_longer_fit_the_signature_are_an_error_that_says_so() -> None:
    def f(count: int) -> None: ...

    for stored in (b'{"count":"many"}', b"{}", b'{"count":1,"more":2}', b"[]"):
        with pytest.raises(StaleArgumentsError, match="do not match its signature"):
            ArgsCodec(f).decode(stored)
    with pytest.raises(EncodingError, match="are not JSON") as damaged:
        ArgsCodec(f).decode(b'{"count":')
    assert not isinstance(damaged.value, StaleArgumentsError)


def test_arguments_of_other_kinds_of_parameters_are_required_too() -> None:
    def f(*args: int, only: int, default: int = 1, **more: int) -> None: ...

    assert ArgsCodec(f).decode(b'{"only":1}') == ((), {"only": 1})
    with pytest.raises(StaleArgumentsError, match="no value for its parameter only"):
        ArgsCodec(f).decode(b'{"default":1}')


def test_arguments_with_two_values_for_a_parameter_do_not_match() -> None:
    def function(a: int, /, b: int = 0, **rest: int) -> None: ...

    codec = ArgsCodec(function)
    assert codec.decode(b'{"a":1,"rest":{"a":2}}') == ((1,), {"a": 2})
    with pytest.raises(StaleArgumentsError, match="two values for its parameter b"):
        codec.decode(b'{"a":1,"rest":{"b":2}}')


def test_a_result_comes_back_typed_by_the_annotation() -> None:
    def f() -> dt.date: ...

    data = ResultCodec(f).encode(dt.date(2026, 1, 2), "f")
    assert ResultCodec(f).decode(data) == dt.date(2026, 1, 2)
    assert ResultCodec().encode(None, "f") is None


@pytest.mark.parametrize("bad", [object(), {"x": object()}, lambda: 1, float("nan")])
def test_a_result_that_json_cannot_hold_is_refused_by_the_task_s_name(bad: object) -> None:
    with pytest.raises(EncodingError, match="thumbnail"):
        ResultCodec().encode(bad, "thumbnail")


@pytest.mark.parametrize(
    ("annotation", "value", "said"),
    [
        (
            "bytes | str",
            b"x",
            "is a bytes, and would come back as a str; JSON cannot tell the types",
        ),
        ("Crop | Box", Crop(1, 2), "is a Crop, and would come back as a dict; JSON cannot tell"),
        ("uuid.UUID | str", uuid.UUID(int=7), "is a UUID, and would come back as a str"),
        ("dt.datetime | dt.date", dt.date(2026, 1, 2), "is a date, and would come back as a str"),
        ("Color | str", Color.RED, "is a Color, and would come back as a str"),
        ("str | Path", Path("a"), "is a PosixPath, and would come back as a str"),
        (
            "dict",
            {1: 2},
            "has the key 1, which would come back as '1', because keys must be strings",
        ),
        (
            "dict[str, Any]",
            {"a": [b"x"]},
            r"x\['a'\]\[0\] is a bytes.* `dict\[str, Any\]` restores",
        ),
        ("list", [dt.date(2026, 1, 2)], r"x\[0\] is a date, and would come back as a str"),
        ("object", {"a": dt.date(2026, 1, 2)}, r"x\['a'\] is a date, and would come back as a str"),
        ("tuple", (1, (2,)), r"x\[1\] is a tuple, and would come back as a list"),
        ("Sequence[int]", (1, 2), "is a tuple, .* annotate the exact type, or pass a list"),
        ("Reading", Reading(float("nan")), "contains nan, which JSON cannot express"),
        ("Crop", LargeCrop(1, 2, 3), "is a LargeCrop, and would come back as a Crop"),
        ("Any", Color.RED, "is a Color, and would come back as a str"),
        ("float", 2**53 + 1, "is an int, and would come back as a float"),
        ("TypedRow", {"a": 1, "b": 2}, "and would come back as {'a': 1}; pass what `TypedRow`"),
    ],
)
def test_a_value_that_would_come_back_as_another_is_refused(
    annotation: str, value: object, said: str
) -> None:
    def f(x): ...  # type: ignore[no-untyped-def]

    f.__annotations__ = {"x": annotation}
    with pytest.raises(EncodingError, match=f"argument 'x' of .*{said}"):
        ArgsCodec(f).encode((value,), {})


def test_values_of_star_arguments_are_checked_as_well() -> None:
    def f(*rest: bytes | str, **extra: Any) -> None: ...

    assert round_trip(f, "a", b="c") == (("a",), {"b": "c"})
    with pytest.raises(EncodingError, match=r"rest\[1\] is a bytes"):
        ArgsCodec(f).encode(("a", b"b"), {})
    with pytest.raises(EncodingError, match=r"extra\['b'\] is a tuple"):
        ArgsCodec(f).encode((), {"b": (1,)})

    def g(**extra: Crop) -> None: ...

    assert round_trip(g, a=Crop(1, 2)) == ((), {"a": Crop(1, 2)})
    with pytest.raises(EncodingError, match="does not match its annotation"):
        ArgsCodec(g).encode((), {"a": 1})


def test_arguments_that_are_recognised_are_not_decoded_to_be_checked() -> None:
    def f(x: Crop, y: Sequence[int]) -> None: ...

    called: list[str] = []

    def note(_frame: object, event: str, called_by_it: Any) -> None:
        if event == "c_call":
            called.append(called_by_it.__name__)

    codec = ArgsCodec(f)
    for y, decodes in (([1], False), ((1,), True)):
        called.clear()
        sys.setprofile(note)
        with suppress(EncodingError):
            codec.encode((Crop(1, 2), y), {})
        sys.setprofile(None)
        assert ("decode" in called) == decodes


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("float", 3),
        ("int", signal.SIGKILL),
        ("str", Shade.DARK),
        ("dict[str, int]", Counter("aab")),
    ],
)
def test_an_equal_value_of_the_annotated_type_is_what_the_function_asked_for(
    annotation: str, value: object
) -> None:
    def f(x): ...  # type: ignore[no-untyped-def]

    f.__annotations__ = {"x": annotation}
    assert round_trip(f, value)[1] == {"x": value}


@pytest.mark.parametrize(
    ("annotation", "value", "said"),
    [
        ("int", "nope", "is a str, which does not match its annotation `int`: Expected `int`"),
        ("int", None, "is None, which does not match its annotation `int`"),
        ("None", 5, "is an int, which does not match its annotation `None`"),
        ("Address", {"city": 5}, "is a dict, which does not match its annotation `Address`"),
        (
            "list[int]",
            [1, "x"],
            r"a list, .* `list\[int\]`: Expected `int`, got `str` - at `\$\[1\]`",
        ),
        ("bytes | str", b"x", "is a bytes, and would come back as a str; .* or return a str"),
        ("Crop | Box", {"a": Crop(1, 2)}, r"at \['a'\] is a Crop, and would come back as a dict"),
        ("Any", {"a": Reading(float("inf"))}, "contains inf, which JSON cannot express"),
        ("float | None", float("nan"), "contains nan, which JSON cannot express"),
    ],
)
def test_a_result_that_does_not_match_its_annotation_is_refused(
    annotation: str, value: object, said: str
) -> None:
    def f(): ...  # type: ignore[no-untyped-def]

    f.__annotations__ = {"return": annotation}
    with pytest.raises(EncodingError, match=f"the result of app.f.*{said}"):
        ResultCodec(f).encode(value, "app.f")


@pytest.mark.parametrize(
    ("annotation", "value", "back"),
    [
        ("int", 5, 5),
        ("Sequence[int]", (1, 2), [1, 2]),
        ("bytes | str", "x", "x"),
        ("float", 1, 1.0),
        ("None", None, None),
        ("int | None", None, None),
        ("NoReturn", None, None),
        # What an annotation leaves open comes back as plain JSON.
        ("Any", {"at": dt.date(2026, 1, 2)}, {"at": "2026-01-02"}),
        ("dict[str, Any]", {"a": (1, 2)}, {"a": [1, 2]}),
        ("object", (1, b"x"), [1, "eA=="]),
        (None, Crop(1, 2), {"left": 1, "top": 2}),
    ],
)
def test_a_result_comes_back_as_its_annotation_says(
    annotation: str | None, value: object, back: object
) -> None:
    def f(): ...  # type: ignore[no-untyped-def]

    f.__annotations__ = {"return": annotation} if annotation else {}
    codec = ResultCodec(f)
    assert codec.decode(codec.encode(value, "f")) == back


def test_a_stored_result_of_an_older_version_is_an_error_that_names_the_annotation() -> None:
    def f() -> int: ...

    with pytest.raises(EncodingError, match="does not match the annotation `int`"):
        ResultCodec(f).decode(b'"nope"')
