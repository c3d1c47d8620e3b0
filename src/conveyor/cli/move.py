"""`conveyor move`: moves everything from one store to another, which is usually PostgreSQL."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Any

import click

from ..core.job import State
from ..errors import UsageError
from ..store.move.move import Moved, address_of, find_obstacles, mark_of, move, undo
from ..store.move.verification import Report, Summary, summarize
from ..store.open import check_store_exists, open_for_move
from ..store.sql.store import SqlStore
from .shared.exit_codes import FAILED, OK
from .shared.options import json_option
from .shared.output import print_json, print_line, print_stderr, print_table

# How often a terminal shows how far a move has come, in seconds.
REDRAW = 0.2
HEADINGS = ("QUEUE", *(state.value.upper() for state in State))


@click.command("move")
@click.argument("source", metavar="FROM_URL")
@click.argument("target", metavar="TO_URL", required=False)
@click.option(
    "--check",
    is_flag=True,
    help="Change nothing; print what would be moved. Exit with 1 if something is in the way, or if "
    "damaged rows would stay.",
)
@click.option(
    "--undo", is_flag=True, help="Open FROM_URL again, after a move or an interrupted one."
)
@json_option
def move_command(source: str, target: str | None, check: bool, undo: bool, as_json: bool) -> int:
    if undo and (target or check):
        raise UsageError("--undo takes FROM_URL alone")
    if not (target or check or undo):
        raise UsageError("name where to move the jobs: `conveyor move FROM_URL TO_URL`")
    check_store_exists(source)
    with _opened(source) as opened:
        if undo:
            return _undo(opened)
        if check:
            return _check(opened, as_json=as_json)
        _refuse_obstacles(opened)
        with _opened(str(target)) as to, _progress() as report:
            moved = move(opened, to, report)
        return _print_moved(opened, to, moved, as_json=as_json)


@contextmanager
def _opened(url: str) -> Generator[SqlStore]:
    with closing(open_for_move(url)) as store:
        yield store


def _refuse_obstacles(source: SqlStore) -> None:
    """Raise UsageError if something is in the way, before the target is made."""
    obstacles = [] if mark_of(source) else find_obstacles(source)
    if obstacles:
        raise UsageError("nothing was moved. In the way: " + "; ".join(obstacles))


def _undo(source: SqlStore) -> int:
    mark = undo(source)
    place = address_of(source)
    if mark.is_done:
        print_stderr(
            f"{place} is open again, with the jobs as they were when they were moved to "
            f"{mark.other}. Those that have run there since would run again: stop that store."
        )
    else:
        print_stderr(
            f"{place} is open again. Delete {mark.other}: it has a part of the jobs, and stays "
            "closed."
        )
    return OK


def _check(source: SqlStore, *, as_json: bool) -> int:
    obstacles = find_obstacles(source)
    with _progress() as report:
        summary = summarize(source, report)
    if as_json:
        print_json({**_as_json(summary), "obstacles": obstacles})
    else:
        _print_summary(summary)
        for each in obstacles:
            print_stderr(f"in the way: {each}")
    return FAILED if obstacles or summary.left_count else OK


def _print_moved(source: SqlStore, target: SqlStore, moved: Moved | None, *, as_json: bool) -> int:
    here, there = address_of(source), address_of(target)
    if moved is None:
        print_stderr(f"the jobs of {here} were moved to {there} before: nothing to do")
        return OK
    if as_json:
        print_json({**_as_json(moved.source), "differences": list(moved.differences)})
    elif not moved.differences:
        _print_summary(moved.source)
    for each in moved.differences:
        print_stderr(f"differs: {each}")
    if moved.differences:
        print_stderr(
            f"{there} is not what was in {here}, so {here} is open again. Delete {there}, and "
            "report this."
        )
        return FAILED
    for each in moved.left:
        print_stderr(f"left in {here}, because it is damaged: {each}")
    if moved.source.left_count > len(moved.source.left):
        print_stderr(f"{moved.source.left_count:,} rows are damaged; the first of them are listed")
    print_stderr(
        f"moved from {here} to {there}: the counts and checksums of both are equal. "
        f"{here} is closed now."
    )
    print_stderr(f"Start workers and producers with CONVEYOR_URL={shlex.quote(there)}")
    return FAILED if moved.left else OK


def _print_summary(summary: Summary) -> None:
    queues = sorted({queue for queue, _ in summary.states})
    rows = [[queue, *(f"{summary.states[queue, state]:,}" for state in State)] for queue in queues]
    print_table(HEADINGS, rows)
    print_line(", ".join(f"{name}: {count:,}" for name, count in summary.counts.items() if count))
    print_line(f"checksum of all jobs: {summary.checksums['jobs']}")
    if summary.left_count:
        print_stderr(f"{summary.left_count:,} rows are damaged and would stay where they are")


def _as_json(summary: Summary) -> dict[str, Any]:
    states: dict[str, dict[str, int]] = {}
    for (queue, state), count in sorted(summary.states.items()):
        states.setdefault(queue, {})[state] = count
    return {
        "queues": states,
        "counts": summary.counts,
        "checksums": summary.checksums,
        "damaged": summary.left,
    }


@contextmanager
def _progress() -> Generator[Report]:
    """Show on a terminal how far a move has come, on one line."""
    drawn = 0.0

    def report(part: str, count: int) -> None:
        nonlocal drawn
        if time.monotonic() >= drawn + REDRAW:
            drawn = time.monotonic()
            sys.stderr.write(f"\r\x1b[K{part}: {count:,}")
            sys.stderr.flush()

    if not sys.stderr.isatty():
        yield lambda _part, _count: None
        return
    try:
        yield report
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
