"""Durations are read as people write them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from conveyor.core.duration import parse_duration
from conveyor.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        (1.5, 1.5),
        ("5m", 300),
        ("1h30m", 5400),
        ("2d", 172800),
        ("250ms", 0.25),
        (dt.timedelta(minutes=2), 120),
        (" 1h 30m ", 5400),
        (0, 0),
        ("1w", 7 * 86400),
        ("3h", 3 * 3600),
        ("1w2d3h4m5s6ms", 788645.006),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: Any, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("wrong", ["", "soon", "5 parsecs", "m5", "9" * 200_000, True, None, [1]])
def test_what_is_not_a_duration_is_refused_with_an_example(wrong: Any) -> None:
    with pytest.raises(UsageError, match="a duration must be a number of seconds or a string like"):
        parse_duration(wrong)


@pytest.mark.parametrize("wrong", ["nan", "inf", float("nan"), float("inf")])
def test_a_duration_must_be_finite(wrong: Any) -> None:
    with pytest.raises(UsageError, match=f"a duration must be finite, got {wrong!r}"):
        parse_duration(wrong)


@pytest.mark.parametrize("wrong", [-1, "-5", dt.timedelta(seconds=-1)])
def test_a_duration_must_not_be_negative(wrong: Any) -> None:
    with pytest.raises(UsageError, match="a duration must be 0 or more seconds, got"):
        parse_duration(wrong)


@pytest.mark.parametrize("wrong", ["36526d", 3.2e9, dt.timedelta.max])
def test_a_duration_is_at_most_a_century(wrong: Any) -> None:
    assert parse_duration("36525d") == 36525 * 86400
    with pytest.raises(UsageError, match=r"a duration must be at most 100 years \(36525d\), got"):
        parse_duration(wrong)


@pytest.mark.parametrize("wrong", [0, "0s", -1])
def test_where_it_must_be_positive_zero_is_refused_and_the_error_names_the_value(
    wrong: Any,
) -> None:
    with pytest.raises(UsageError, match=f"--every must be more than 0 seconds, got {wrong!r}"):
        parse_duration(wrong, positive=True, name="--every")
