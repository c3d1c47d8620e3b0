"""How long a failed job waits for its next attempt."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.core.retry import LONGEST_DELAY, Exponential, Fixed, Steps, parse_backoff, retry_delay
from conveyor.errors import UsageError


@pytest.mark.parametrize(
    ("rule", "pauses"),
    [
        (Fixed(5), [5, 5, 5]),
        (Steps((1, 10)), [1, 10, 10]),
        (Exponential(2, factor=3, jitter=0), [2, 6, 18]),
        (Exponential(100, longest=250, jitter=0), [100, 200, 250]),
    ],
)
def test_pauses_follow_the_rule(rule: Any, pauses: list[float]) -> None:
    assert [retry_delay(rule, attempt) for attempt in (1, 2, 3)] == pauses


rules = st.one_of(
    st.builds(Fixed, st.floats(0, 1e12)),
    st.builds(Steps, st.lists(st.floats(0, 1e12), min_size=1).map(tuple)),
    st.builds(
        Exponential, st.floats(0, 1e9), st.floats(1, 1000), st.floats(0, 1e12), st.floats(0, 1)
    ),
)


@given(rules, st.integers(1, 10_000), st.floats(0, 1))
def test_no_pause_is_negative_or_longer_than_the_longest(
    rule: Any, attempt: int, drawn: float
) -> None:
    assert 0 <= retry_delay(parse_backoff(rule), attempt, lambda: drawn) <= LONGEST_DELAY


@pytest.mark.parametrize("wrong", [True, "soon", [], [-1], ["x"], Fixed(-1), Exponential(jitter=2)])
def test_a_backoff_that_cannot_be_meant_is_refused(wrong: object) -> None:
    with pytest.raises(UsageError, match="backoff"):
        parse_backoff(wrong)


@given(st.floats(0, 1e6), st.floats(1, 10), st.floats(0, 1e6), st.floats(0, 1), st.floats(0, 1))
def test_jitter_only_shortens_a_pause_and_by_no_more_than_its_share(
    first: float, factor: float, longest: float, jitter: float, drawn: float
) -> None:
    whole = retry_delay(Exponential(first, factor, longest, jitter=0), 3)
    drawn_pause = retry_delay(Exponential(first, factor, longest, jitter), 3, lambda: drawn)
    assert whole * (1 - jitter) * 0.999999 <= drawn_pause <= whole


@pytest.mark.parametrize(("drawn", "seconds"), [(0.0, 8), (0.25, 6), (1.0, 0)])
def test_full_jitter_waits_between_nothing_and_the_whole_pause(
    drawn: float, seconds: float
) -> None:
    assert retry_delay(Exponential(8, factor=1, jitter=1), 1, lambda: drawn) == seconds
