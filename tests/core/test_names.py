"""Names of queues, and queue names with a weight."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor import UsageError
from conveyor.core.names import parse_weighted_queue, weighted_queue


@pytest.mark.parametrize(
    ("text", "declared", "queue", "weight"),
    [
        ("mail", (), "mail", 1),
        ("mail:4", (), "mail", 4),
        ("mail:1000", (), "mail", 1000),
        ("eu:1", (), "eu", 1),
        ("eu:1", ("eu:1",), "eu:1", 1),
        ("eu:1", ("eu", "eu:1"), "eu:1", 1),
        ("eu:1:4", ("eu:1",), "eu:1", 4),
        ("eu:west:2", (), "eu:west", 2),
        ("eu:west", ("eu:west",), "eu:west", 1),
    ],
)
def test_a_declared_name_counts_before_a_weight(
    text: str, declared: tuple[str, ...], queue: str, weight: int
) -> None:
    assert parse_weighted_queue(text, declared) == (queue, weight)


@pytest.mark.parametrize(
    "text", ["", ":", ":3", "a:", "a:0", "a:1001", "a:often", "a:²", "a:٣", "a:-1"]
)
def test_a_wrong_weight_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="weight 1 to 1000"):
        parse_weighted_queue(text)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=190))
def test_every_name_can_be_written_so_that_it_is_meant(name: str) -> None:
    assert parse_weighted_queue(weighted_queue(name)) == (name, 1)
