"""`conveyor top`: a screen, a pipe, and JSON."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from rich.cells import cell_len
from shell import Command
from terminal import Service

from conveyor import Conveyor
from conveyor.cli.shared.top_screen import draw_screen
from conveyor.core.job import NewJob, WorkerInfo
from conveyor.core.overview import Overview
from conveyor.store.memory.store import MemoryStore
from conveyor.testing import FakeClock

SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
SIZES = [(24, 80), (10, 40), (50, 200), (6, 20)]


def troubled(queues: int = 3) -> Overview:
    """Return an overview with problems, long names, and wide letters."""
    clock = FakeClock()
    store = MemoryStore(clock)
    for number in range(queues):
        name = f"{'日本' * 30}{number}"
        store.insert([NewJob(id=f"j{number}", task="t", queue=name)]).result()
        if number % 2:
            store.set_paused(name, paused=True).result()
    clock.advance(100.0)
    who = {"id": "w" * 90, "host": "h", "boot_id": "b", "pid": 1, "pid_started": 1.0}
    store.beat(WorkerInfo(**who, started_at=1.0, slots=4, queues=())).result()
    return store.overview().result()


@pytest.mark.parametrize(("lines", "columns"), SIZES)
@pytest.mark.parametrize("queues", [0, 1, 30])
def test_a_screen_fits_the_terminal(lines: int, columns: int, queues: int) -> None:
    drawn = draw_screen(troubled(queues), columns, lines, note="the store cannot be reached" * 9)
    assert len(drawn) <= lines
    assert max(cell_len(line.plain) for line in drawn) <= columns


def test_a_screen_shows_what_is_wrong_first_and_says_what_it_leaves_out() -> None:
    shown = [line.plain for line in draw_screen(troubled(30), 80, 24)]
    assert shown[0].startswith("✗ 15 of 30 queues are in trouble")
    assert any(line.startswith("and ") and "more lines of problems" in line for line in shown)
    assert any(re.fullmatch(r"and \d+ more", line) for line in shown)


def test_levels_are_told_apart_without_colours() -> None:
    shown = "\n".join(line.plain for line in draw_screen(troubled(), 200, 50))
    assert {"✗", "▲"} <= set(shown)


def test_a_pipe_gets_the_overview_once(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    ran = conveyor("top")
    assert ran.code == 0
    assert "All is well" in ran.out
    assert re.search(r"^● mail +1 ", ran.out, re.MULTILINE)
    assert "\x1b" not in ran.out


def test_json_is_the_overview(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    found = msgspec.convert(conveyor("top", "--json", "--minutes", "30").data, Overview)
    assert (found.waiting, found.minutes, len(found.history.points)) == (1, 30, 30)


@pytest.fixture
def top(folder: Path) -> Iterator[Callable[..., Service]]:
    started: list[Service] = []

    def begin(*args: str) -> Service:
        started.append(Service(folder, "top", *args, lines=24, columns=80))
        return started[-1]

    yield begin
    for service in started:
        service.close()


@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_screen_changes_by_itself_until_it_is_stopped_and_is_left_clean(
    top: Callable[..., Service], belt: Conveyor, number: signal.Signals
) -> None:
    belt.functions["send"].enqueue("ann")
    screen = top()
    screen.read_until(b"waiting 1")
    belt.functions["send"].enqueue("bob")
    screen.read_until(b"waiting 2")
    printed = screen.stop(number)
    assert printed.count("\x1b[?1049h") == printed.count("\x1b[?1049l") == 1
    assert printed.count("\x1b[?25l") == printed.count("\x1b[?25h")
    screens = printed.split("\x1b[H")[1:]
    plain = [SEQUENCE.sub("", each).split("\n") for each in screens]
    assert all(len(lines) <= 24 for lines in plain)


@pytest.mark.alone
def test_once_on_a_terminal_prints_and_ends(top: Callable[..., Service], belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    screen = top("--once")
    screen.read_until(b"OUT/s")
    assert screen.process.wait(30) == 0
