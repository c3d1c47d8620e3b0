"""Charts over time for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"


def draw_text_chart(
    title: str, at: Sequence[float], values: Sequence[float], *, width: int = 72, height: int = 6
) -> list[str]:
    """Return the lines of a chart; each column shows the highest value of its time span."""
    columns = peaks(at, values, width)
    top = max(columns, default=0.0) or 1.0
    margin = len(f"{top:g}")
    lines = [title]
    for row in reversed(range(height)):
        filled = (round(8 * (height * value / top - row)) for value in columns)
        bar = "".join(BLOCKS[max(0, min(8, eighths))] for eighths in filled)
        label = f"{top:g}" if row == height - 1 else "0" if row == 0 else ""
        lines.append(f"{label:>{margin}} │{bar}".rstrip())
    hours = (at[-1] - at[0]) / 3600 if at else 0.0
    scale = f"0 h{f'{hours:.1f} h':>{max(1, len(columns) - 3)}}"
    return [*lines, f"{'':>{margin}} └{'─' * len(columns)}", f"{'':>{margin}}  {scale}"]


def peaks(at: Sequence[float], values: Sequence[float], width: int) -> list[float]:
    """Return the highest value in each of `width` equal time spans.

    A span without a value repeats the last one: values are recorded only when they may change.
    """
    if not at:
        return []
    duration = (at[-1] - at[0]) or 1.0
    found: list[float] = []
    last = values[0]
    for moment, value in zip(at, values, strict=True):
        column = min(width - 1, int((moment - at[0]) / duration * width))
        while len(found) < column:
            found.append(last)
        if len(found) == column:
            found.append(value)
        found[column] = max(found[column], value)
        last = value
    return found + [last] * (width - len(found))
