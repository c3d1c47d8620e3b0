"""Sizes in bytes as people write them: 500000, "256M", "1.5GiB"; units are powers of 1024."""

from __future__ import annotations

import re

from ..errors import UsageError

SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", re.IGNORECASE)
# Longer text is no size.
LONGEST_TEXT = 100


def parse_size(text: str) -> int:
    """Return a size in bytes; UsageError if it cannot be read."""
    parts = SIZE.fullmatch(text.strip()) if len(text) <= LONGEST_TEXT else None
    if parts is None:
        raise UsageError(f"a size must be a number of bytes, or like 256M or 2G, got {text!r:.200}")
    number, unit = parts.groups()
    return int(float(number) * 1024 ** " KMGT".index(unit.upper() or " "))
