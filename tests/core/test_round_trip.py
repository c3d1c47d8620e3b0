"""Arguments come back as they were given, or are refused, whatever annotation and value meet."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import pathlib
import typing
import uuid
import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conveyor.core.codec import ArgsCodec
from conveyor.core.lossless import lossless
from conveyor.errors import EncodingError


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Shade(enum.StrEnum):
    DARK = "dark"


class Level(enum.IntEnum):
    HIGH = 3


@dataclass
class Point:
    x: float
    y: float | None = None


@dataclass
class Line:
    points: list[Point]
    tags: dict[str, Any]


@dataclass
class LongLine(Line):
    length: float = 0.0


class Pair(msgspec.Struct):
    one: Any
    other: uuid.UUID | None = None


class Named(NamedTuple):
    first: int
    second: str


class Row(TypedDict, total=False):
    key: int


class Model(pydantic.BaseModel):
    when: dt.date
    extra: Any = None


Branch = st.SearchStrategy[Any]

TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
LEAVES: dict[Any, Branch] = {
    int: st.integers(),
    str: TEXT | st.just("null"),
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    type(None): st.none(),
    bytes: st.binary(max_size=4),
    uuid.UUID: st.uuids(),
    dt.date: st.dates(),
    dt.datetime: st.datetimes()
    | st.datetimes(timezones=st.timezones(), min_value=dt.datetime(1990, 1, 1)),  # noqa: DTZ001
    dt.timedelta: st.timedeltas(),
    decimal.Decimal: st.decimals(),
    Color: st.sampled_from(Color),
    Shade: st.sampled_from(Shade),
    Level: st.sampled_from(Level),
    pathlib.Path: st.sampled_from([pathlib.Path("a/b"), pathlib.Path()]),
    Named: st.builds(Named, st.integers(), TEXT),
    Point: st.builds(Point, st.floats(-9, 9), st.none() | st.floats(-9, 9)),
    Pair: st.builds(Pair, st.none() | TEXT, st.none() | st.uuids()),
    Model: st.builds(Model, when=st.dates(), extra=st.none() | st.integers()),
    Row: st.just({"key": 1}) | st.just({}),
}
HASHABLE = [int, str, bytes, uuid.UUID, dt.date, Color]


def _containers(inner: st.SearchStrategy[tuple[Any, Branch]]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from([str, int, uuid.UUID, Color, dt.date])
    return st.one_of(
        inner.map(lambda each: (list[each[0]], st.lists(each[1], max_size=3))),  # type: ignore[name-defined]
        inner.map(lambda each: (Sequence[each[0]], st.lists(each[1], max_size=3))),  # type: ignore[name-defined]
        inner.map(lambda each: (tuple[each[0], ...], st.lists(each[1], max_size=3).map(tuple))),  # type: ignore[name-defined]
        st.tuples(inner, inner).map(
            lambda two: (tuple[two[0][0], two[1][0]], st.tuples(two[0][1], two[1][1]))  # type: ignore[name-defined]
        ),
        st.tuples(keys, inner).map(
            lambda two: (
                dict[two[0], two[1][0]],  # type: ignore[name-defined]
                st.dictionaries(LEAVES[two[0]], two[1][1], max_size=3),
            )
        ),
        st.sampled_from(HASHABLE).map(lambda each: (set[each], st.sets(LEAVES[each], max_size=3))),  # type: ignore[valid-type]
        inner.map(lambda each: (each[0] | None, each[1] | st.none())),
    )


# Annotations, each with a strategy for values that it is made for.
ANNOTATED = st.recursive(st.sampled_from(list(LEAVES.items())), _containers, max_leaves=4)
OPEN = st.sampled_from([Any, object, list, dict, tuple, set, list[Any], dict[str, Any], Line, Pair])
MIXED = st.lists(st.sampled_from(list(LEAVES)), min_size=2, max_size=3).map(
    lambda kinds: typing.Union[tuple(kinds)]  # noqa: UP007 - made of a list
)
ANY_ANNOTATION = ANNOTATED.map(lambda each: each[0]) | OPEN | MIXED
ODD: Branch = st.sampled_from(
    [math.nan, math.inf, Point(math.nan), [Point(math.inf)], {1: 2}, {1.5: 1}, (1, (2,)), {1},
     {"a": (1,)}, [b"x"], bytearray(b"x"), Line([Point(1)], {"a": [1.5]}), Line([], {"a": b"x"}),
     LongLine([], {}, 3.0), {"key": 1, "lost": 2}, Pair((1,)), {"at": dt.datetime(2026, 1, 1)},  # noqa: DTZ001
     dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(seconds=90))), 2**53 + 1, -0.0]
)  # fmt: skip
ANY_VALUE = ANNOTATED.flatmap(lambda each: each[1]) | ODD


def codec_of(annotation: Any) -> ArgsCodec:
    def function(value: Any) -> None: ...

    function.__annotations__ = {"value": annotation}
    return ArgsCodec(function)


def same(one: Any, back: Any) -> bool:
    """Compare as the tests see it: by writing both down with their types."""
    return written(one) == written(back)


def written(value: Any) -> object:  # noqa: PLR0912 - a table
    match value:
        case bool() | None:
            return repr(value)
        case enum.Enum() if not isinstance(value, int | str):
            return repr(value)
        # Where `int`, `str` and `float` are annotated, an IntEnum, StrEnum and int are fine.
        case int():
            return "number", int(value)
        case float():
            return "number", value
        case str():
            return "text", str.__str__(value)
        case dt.datetime():
            return "datetime", value.isoformat()
        case Named():
            return "tuple", tuple(map(written, value))
        case list() | tuple():
            return type(value).__name__, tuple(map(written, value))
        case set() | frozenset():
            return "set", frozenset(map(written, value))
        case dict():
            return "dict", tuple((written(key), written(each)) for key, each in value.items())
        case Point() | Line() | Model():
            return type(value).__name__, written(dict(vars(value)))
        case Pair():
            return "Pair", written(value.one), written(value.other)
        case _:
            return type(value).__name__, repr(value)


@settings(max_examples=400, deadline=None)
@given(ANY_ANNOTATION, ANY_VALUE)
def test_what_is_accepted_comes_back_the_same_and_everything_else_is_refused_by_name(
    annotation: Any, value: Any
) -> None:
    codec = codec_of(annotation)
    try:
        data = codec.encode((value,), {})
    except EncodingError as error:
        named = "'value'" in str(error) or "`$.value" in str(error)
        if not named:
            raise
        return
    back = codec.decode(data)[1]["value"]
    assert same(value, back), (annotation, value, back)


@settings(max_examples=200, deadline=None)
@given(ANNOTATED.flatmap(lambda each: st.tuples(st.just(each[0]), each[1])))
def test_a_value_that_an_annotation_is_made_for_is_accepted(case: tuple[Any, Any]) -> None:
    annotation, value = case
    codec = codec_of(annotation)
    assert same(value, codec.decode(codec.encode((value,), {}))[1]["value"])


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, "x"),
        (int | None, None),
        (float, 1.5),
        (list[int], [1, 2]),
        (dict[str, float], {"a": 1.0}),
        (dict[int, str], {1: "a"}),
        (tuple[int, str], (1, "a")),
        (tuple[int, ...], (1, 2)),
        (set[int], {1}),
        (list[dict[str, int | None]], [{"a": 1}, {"b": None}]),
        (dict[str, Any], {"a": [1, {"b": None}]}),
        (dt.datetime, dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
        (pathlib.Path, pathlib.Path("a")),
        (Color, Color.RED),
        (Line, Line([Point(1.0)], {"a": 1})),
        (Pair | None, Pair([1])),
        (Any, {"a": [1.5, "x", None, True]}),
    ],
)
def test_the_usual_arguments_need_no_round_trip(annotation: Any, value: Any) -> None:
    assert lossless(annotation)(value)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, Shade.DARK),
        (int, True),
        (int, []),
        (float, 1),
        (list[int], [True]),
        (list[int], (1,)),
        (dict[str, int], {1: 1}),
        (tuple[int, str], (1,)),
        (dt.datetime, dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(seconds=90)))),
        (Line, LongLine([], {})),
        (Line, Line([], {"a": (1,)})),
        (Any, (1,)),
        (Any, {1: 1}),
        (Any, Shade.DARK),
    ],
)
def test_a_value_of_another_type_is_not_taken_for_lossless(annotation: Any, value: Any) -> None:
    assert not lossless(annotation)(value)


Strange = Callable[[Any, object], object]


def raises(_: Any, _other: object) -> object:
    raise ArithmeticError


def says_yes(_: Any, _other: object) -> object:
    return True


@pytest.mark.parametrize("compare", [raises, says_yes], ids=["raises", "says yes"])
def test_a_class_whose_comparison_misbehaves_is_compared_by_its_fields(compare: Strange) -> None:
    strange = dataclass(
        type("Odd", (), {"__annotations__": {"x": Any}, "__eq__": compare}), eq=False
    )
    codec = codec_of(strange)
    assert codec.decode(codec.encode((strange(5),), {}))[1]["value"].x == 5
    with pytest.raises(EncodingError, match=r"value\.x is a tuple, and would come back as a list"):
        codec.encode((strange((5,)),), {})


def test_a_value_may_be_a_hundred_levels_deep_and_no_deeper() -> None:
    def nested(levels: int) -> list[Any]:
        value: list[Any] = []
        for _ in range(levels - 1):
            value = [value]
        return value

    for annotation in (Any, list):
        codec = codec_of(annotation)
        codec.encode((nested(90),), {})
        with pytest.raises(EncodingError, match="nested more than 100 levels deep; pass something"):
            codec.encode((nested(150),), {})


@dataclass
class Counted:
    number: int

    def __post_init__(self) -> None:
        self.number += 1


@dataclass
class Half:
    number: int
    half: float = field(default=0.0, init=False)


@dataclass
class Tree:
    label: int
    children: list[Tree]


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Counted, Counted(1)),
        (dict[str, Any], {"a": Shade.DARK}),
        (dict[str, Any] | None, {"a": Level.HIGH}),
        (Tree, Tree(1, [Tree(2, [Tree(True, [])])])),
        (Open, Open(more=(1,))),  # type: ignore[call-arg]
        # JSON has only whole minutes for it.
        (dt.datetime, dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(seconds=90)))),
    ],
)
def test_what_a_class_or_an_open_place_would_change_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(EncodingError):
        codec_of(annotation).encode((value,), {})


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (dict[str, object], {"a": [1, "x"]}),
        (Tree, Tree(1, [Tree(2, [])])),
        (Half, Half(1)),
        # The hour that the zone repeats.
        (
            dt.datetime,
            dt.datetime(2026, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
        ),
    ],
)
def test_what_comes_back_equal_is_accepted(annotation: Any, value: Any) -> None:
    codec = codec_of(annotation)
    back = codec.decode(codec.encode((value,), {}))[1]["value"]
    assert type(back) is type(value)
    assert str(back) == str(value)


def test_a_class_with_fields_outside_its_constructor_is_not_taken_for_lossless() -> None:
    assert not lossless(Half)(Half(1))
    assert not lossless(Counted)(Counted(1))
    assert not lossless(Tree)(Tree(1, [Tree(True, [])]))
