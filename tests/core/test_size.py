"""Sizes are read as people write them."""

from __future__ import annotations

import pytest

from conveyor.core.size import parse_size
from conveyor.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("500000", 500_000),
        ("500000B", 500_000),
        ("256M", 256 << 20),
        ("1.5 GiB", 3 << 29),
        ("2tb", 2 << 40),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("wrong", ["", "lots", "-1", "2X", "1e6", "2 MB/s", "9" * 400])
def test_what_is_not_a_size_is_refused_with_examples(wrong: str) -> None:
    with pytest.raises(UsageError, match="a size must be a number of bytes, or like 256M or 2G"):
        parse_size(wrong)
