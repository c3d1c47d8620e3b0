"""`conveyor stats`: what happened in a queue, or in all, over the last time."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import click

from ..core.duration import parse_duration
from ..core.history import COUNTERS, MINUTES_KEPT, HistoryPoint, QueueHistory
from ..core.spans import span
from ..errors import UsageError
from .shared.completions import complete_queues
from .shared.options import json_option, url_option
from .shared.output import print_json, print_line, print_table, terminal_width
from .shared.sparkline import sparkline
from .shared.store_access import open_configured_store

# How many rows a table and points a line have, unless a step is given.
MOST_ROWS, MOST_COLUMNS = 24, 36
# Steps that people think in, in seconds.
STEPS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
HEADINGS = {
    "enqueued": "ENQUEUED",
    "started": "STARTED",
    "completed": "COMPLETED",
    "retried": "RETRIED",
    "returned": "RETURNED",
    "discarded": "DISCARDED",
    "cancelled": "CANCELLED",
}
# What a table does without if it is too wide, or if there is nothing of it.
DISPENSABLE = ("returned", "cancelled", "retried", "discarded", "started")
DAY = 86_400.0


@click.command("stats")
@click.argument("queue", required=False, shell_complete=complete_queues)
@click.option(
    "--since",
    metavar="DURATION",
    default="1h",
    show_default=True,
    help="How far to look back; 7 days are kept.",
)
@click.option("--step", metavar="DURATION", help="Length of a row; a multiple of 1m.")
@json_option
@url_option
def stats_command(
    queue: str | None, since: str, step: str | None, as_json: bool, url: str | None
) -> None:
    back = parse_duration(since, positive=True)
    if back > MINUTES_KEPT:
        raise UsageError(f"--since {since}: the history is kept for 7 days (7d)")
    chosen = _choose_step(back, MOST_ROWS) if step is None else parse_duration(step)
    with open_configured_store(url) as store:
        # A step that has just begun would be a row of almost nothing at the beginning.
        begin = store.now() - back + chosen
        found = store.queue_history(queue, since=begin, step=chosen).result()
        if as_json:
            print_json(found)
            return
        fine = float(_choose_step(back, MOST_COLUMNS))
        line = store.queue_history(queue, since=store.now() - back + fine, step=fine).result()
    _print_lines(line)
    names = _choose_columns(found.points)
    headings = ("TIME", *(HEADINGS[name] for name in names), "WAIT p95", "RUN p95")
    print_table(headings, [_row(point, names, back) for point in found.points])


def _choose_step(back: float, most: int) -> float:
    return float(next((step for step in STEPS if back / step <= most), STEPS[-1]))


def _choose_columns(points: Sequence[HistoryPoint]) -> list[str]:
    """Return which counters are shown: on a terminal, as many as have room and say something."""
    names = list(COUNTERS)
    if not sys.stdout.isatty():
        return names
    for name in DISPENSABLE[:-1]:
        if not any(getattr(point, name) for point in points):
            names.remove(name)
    for name in DISPENSABLE:
        if _width(names) <= terminal_width():
            break
        if name in names:
            names.remove(name)
    return names


def _width(names: Sequence[str]) -> int:
    return len("Mon 12:00") + sum(2 + len(HEADINGS[name]) for name in names) + 2 * 10


def _print_lines(history: QueueHistory) -> None:
    each = span(history.step)
    for name in ("enqueued", "completed"):
        numbers = [getattr(point, name) for point in history.points]
        most = f"at most {max(numbers):,} in {each}; {sum(numbers):,} in all"
        print_line(f"{name:<9} {sparkline(numbers)}  {most}")
    print_line()


def _row(point: HistoryPoint, names: Sequence[str], back: float) -> tuple[str, ...]:
    at = time.strftime("%a %H:%M" if back > DAY / 2 else "%H:%M", time.localtime(point.at))
    numbers = (f"{getattr(point, name):,}" for name in names)
    times = (
        "-" if spread.p95 is None else span(spread.p95) for spread in (point.waiting, point.running)
    )
    return (at, *numbers, *times)
