"""A bounded queue never accepts more than its capacity."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.core.capacity import Accept, Admission, Offer, Refuse, admit, fits, room


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


@pytest.mark.parametrize(
    ("given", "decision"),
    [
        ({"capacity": None, "size": 99}, Accept()),
        ({"capacity": 1, "depth": 1, "size": 0}, Accept()),
        ({"capacity": 2, "depth": 1}, Accept()),
        ({"capacity": 2, "size": 2}, Accept()),
        ({"capacity": 2, "depth": 2}, Offer()),
        ({"capacity": 2, "size": 3}, Refuse(hopeless=True)),
        ({"capacity": 2, "offers": 1}, Offer()),
        ({"capacity": 2, "depth": 2, "when_full": "refuse"}, Refuse()),
        ({"capacity": 2, "depth": 1, "when_full": "refuse"}, Accept()),
        ({"capacity": 0}, Offer()),
        ({"capacity": 0, "when_full": "refuse"}, Offer()),
        ({"capacity": 0, "size": 2}, Refuse(hopeless=True)),
        ({"capacity": 2, "depth": 1, "when_full": "drop_oldest"}, Accept()),
        ({"capacity": 2, "depth": 2, "available": 1, "when_full": "drop_oldest"}, Accept(1)),
        ({"capacity": 2, "depth": 3, "available": 2, "when_full": "drop_oldest"}, Accept(2)),
        ({"capacity": 2, "depth": 2, "available": 0, "when_full": "drop_oldest"}, Refuse()),
        ({"capacity": 2, "size": 3, "when_full": "drop_oldest"}, Refuse(hopeless=True)),
    ],
)
def test_a_full_queue_waits_refuses_or_drops_as_it_was_told(
    given: dict[str, Any], decision: Admission
) -> None:
    defaults = {"size": 1, "depth": 0, "available": 0, "offers": 0, "when_full": "wait"}
    assert admit(**(defaults | given)) == decision


def test_an_offer_fits_as_long_as_there_is_room_for_all_of_it() -> None:
    assert fits(2, depth=3, capacity=5)
    assert not fits(3, depth=3, capacity=5)
    assert fits(10**6, depth=3, capacity=None)
