"""`conveyor top`: the system at a glance, live in a terminal, or once into a pipe."""

from __future__ import annotations

import sys
import threading
import time

import click

from ..core.overview import Overview
from ..errors import AccessError, UnavailableError
from ..store.protocol import Store
from .shared.options import json_option, url_option
from .shared.output import print_json
from .shared.signals import handle_signals
from .shared.store_access import open_configured_store

# How often the screen is drawn, and how often it is looked whether to stop, in seconds.
EVERY, LOOK_EVERY = 1.0, 0.1
# How many queues are asked for: as many as a terminal has lines.
QUEUES = 200


@click.command("top")
@click.option("--once", is_flag=True, help="Print once, and exit.")
@click.option(
    "--minutes",
    default=60,
    type=click.IntRange(5, 1440),
    show_default=True,
    help="How much of the past to show.",
)
@json_option
@url_option
def top_command(once: bool, minutes: int, as_json: bool, url: str | None) -> None:
    with open_configured_store(url) as store:
        if as_json:
            print_json(store.overview(minutes=minutes, queues=1000).result())
        elif once or not sys.stdout.isatty():
            _print_once(store.overview(minutes=minutes, queues=1000).result())
        else:
            _show(store, minutes)


def _print_once(overview: Overview) -> None:
    # Imported here because rich is slow to import, and JSON needs none of it.
    from .shared.drawn_table import UNBOUNDED, open_console  # noqa: PLC0415
    from .shared.top_screen import draw_once  # noqa: PLC0415

    console = open_console()
    width = console.width if sys.stdout.isatty() else UNBOUNDED
    for line in draw_once(overview, width):
        console.print(line, soft_wrap=True)


def _show(store: Store, minutes: int) -> None:
    """Draw the screen every second until Ctrl-C, which ends it well."""
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from .shared.drawn_table import open_console  # noqa: PLC0415
    from .shared.top_screen import draw_screen  # noqa: PLC0415

    stopped = threading.Event()
    console = open_console()
    overview = _read(store, minutes, stopped)  # the first one may fail
    note, seen = "", time.monotonic()
    with (
        handle_signals(lambda _signal, _count: stopped.set()),
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while overview is not None and not stopped.is_set():
            width, height = console.size
            lines = draw_screen(overview, width, height - 1, note=note)
            live.update(Text("\n").join(lines), refresh=True)
            stopped.wait(EVERY)
            try:
                newer = _read(store, minutes, stopped)
            except AccessError:
                raise
            except (UnavailableError, TimeoutError) as error:
                note = f"{error} (this is from {time.monotonic() - seen:.0f} s ago)"
            else:
                overview, note, seen = newer, "", time.monotonic()


def _read(store: Store, minutes: int, stopped: threading.Event) -> Overview | None:
    """Return the overview; None if the wait for it was stopped."""
    pending = store.overview(minutes=minutes, queues=QUEUES)
    while not stopped.is_set():
        try:
            return pending.result(LOOK_EVERY)
        except TimeoutError:
            continue
    return None
