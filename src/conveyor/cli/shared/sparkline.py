"""Numbers as a line of blocks."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(numbers: Sequence[float]) -> str:
    """Return one block for each number; the largest is the highest. Nothing is a dot."""
    most = max(numbers, default=0)
    return "".join(
        _BLOCKS[min(7, int(8 * number / most))] if number > 0 else "·" for number in numbers
    )
