"""A bounded queue never accepts more than its capacity."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from conveyor.core.capacity import Accept, Offer, Refuse, admit, room


@given(
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 3),
    st.integers(0, 9),
    st.sampled_from(["wait", "refuse", "drop_oldest"]),
)
def test_nothing_is_accepted_beyond_the_bound(
    size: int, depth: int, available: int, offers: int, capacity: int, when_full: Any
) -> None:
    available = min(available, depth)
    decision = admit(
        size=size, depth=depth, available=available, offers=offers, capacity=capacity,
        when_full=when_full,
    )  # fmt: skip
    match decision:
        case Accept(drop):
            assert size == 0 or depth - drop + size <= capacity
            assert drop <= available
        case Offer():
            assert when_full == "wait" or capacity == 0
            assert size <= max(capacity, 1)
        case Refuse():
            assert size > 0


def test_room_is_what_is_left_and_unbounded_without_a_bound() -> None:
    assert room(depth=3, capacity=5) == 2
    assert room(depth=7, capacity=5) == 0
    assert room(depth=0, capacity=0) == 0
    assert room(depth=10**9, capacity=None) > 10**9
