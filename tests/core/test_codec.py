"""Arguments and results as JSON: what goes through, and what is refused with its name."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest

from conveyor.core.codec import ArgsCodec, ResultCodec, encode_result
from conveyor.errors import EncodingError, StaleArgumentsError, UsageError


@dataclass
class Crop:
    left: int
    top: int


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


def test_a_result_comes_back_typed_by_the_annotation() -> None:
    def f() -> dt.date: ...

    data = encode_result(dt.date(2026, 1, 2), "f")
    assert ResultCodec(f).decode(data) == dt.date(2026, 1, 2)
    assert encode_result(None, "f") is None


@pytest.mark.parametrize("bad", [object(), {"x": object()}, lambda: 1, float("nan")])
def test_a_result_that_json_cannot_hold_is_refused_by_the_task_s_name(bad: object) -> None:
    with pytest.raises(EncodingError, match="thumbnail"):
        encode_result(bad, "thumbnail")
