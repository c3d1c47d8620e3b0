"""Draws on a terminal: tables, with columns as wide as their cells."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .short_ids import SHORT_ID, shorten_id

# More columns than any table has.
UNBOUNDED = 1 << 20


def open_console(*, stderr: bool = False) -> Console:
    """Return what draws. What others wrote goes to it escaped, and as `Text`, not as markup."""
    return Console(stderr=stderr, no_color="NO_COLOR" in os.environ, highlight=False)


def draw_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, ends_of_ids: bool
) -> None:
    """Draw a table of cells that are escaped.

    `ends_of_ids`: if it is too wide, show only the end of the ids in the first column.
    """
    console = open_console()
    table = _table(headings, rows)
    unbounded = console.options.update(max_width=UNBOUNDED)
    if ends_of_ids and console.measure(table, options=unbounded).maximum > console.width:
        table = _table(headings, [(shorten_id(job_id), *rest) for job_id, *rest in rows])
        table.columns[0].min_width = SHORT_ID
    console.print(table)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(*headings, box=None, pad_edge=False)
    # The rest of a name, on a line of its own, would look like another row.
    table.columns[0].no_wrap = True
    for row in rows:
        # Text, because rich would take a name in brackets for markup.
        table.add_row(*map(Text, row))
    return table
