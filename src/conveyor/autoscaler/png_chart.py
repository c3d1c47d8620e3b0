"""Line charts in a PNG file, drawn with matplotlib, which `conveyor[charts]` installs."""

from __future__ import annotations

from collections.abc import Sequence

# Without pyplot: a figure of its own needs no display and leaves no global state behind.
from matplotlib.figure import Figure

INCHES, DPI = (9.0, 2.4), 100
COLOR = "tab:blue"


def draw_png(path: str, at: Sequence[float], lines: Sequence[tuple[str, Sequence[float]]]) -> None:
    """Write a PNG with one panel for each line, one below the other, over the same hours."""
    width, height = INCHES
    figure = Figure(figsize=(width, height * len(lines)), dpi=DPI, layout="constrained")
    hours = [(moment - at[0]) / 3600 for moment in at]
    for number, (title, values) in enumerate(lines, 1):
        axes = figure.add_subplot(len(lines), 1, number)
        # Between two looks nothing changes, so a value holds until the next one.
        axes.fill_between(hours, list(values), step="post", color=COLOR, alpha=0.25)
        axes.step(hours, list(values), where="post", color=COLOR)
        axes.set_title(title, loc="left")
        axes.set_xlabel("hours")
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, axis="y", alpha=0.4)
    figure.savefig(path, format="png")
