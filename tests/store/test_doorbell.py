"""Hints between processes: a burst that finds no room in a busy listener's socket is not lost."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conveyor.store.doorbell import Doorbell
from conveyor.store.messages import Hint

# More than any system keeps for a listener that does not listen: net.unix.max_dgram_qlen.
BURST = 2000
PATIENCE = 20.0
RINGING = """
import sys
from conveyor.store.doorbell import Doorbell
from conveyor.store.messages import Hint
bell = Doorbell(sys.argv[1], last=20.0)
for number in range(int(sys.argv[2])):
    bell.ring(Hint("cancel", (f"job-{number}",)))
print("rung", flush=True)
"""


class Busy:
    """A listener that is busy with the first hint until it is let go on."""

    def __init__(self, path: str) -> None:
        self.bell = Doorbell(path)
        self.heard: list[str] = []
        self.goes_on = threading.Event()
        self.heard_any = threading.Event()
        self.bell.listen(["cancel"], self._hear)

    def _hear(self, hint: Hint) -> None:
        assert self.goes_on.wait(PATIENCE)
        self.heard += hint.subjects
        if not hint.subjects:
            self.heard_any.set()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "jobs.db")


@pytest.fixture
def busy(path: str) -> Iterator[Busy]:
    made = Busy(path)
    yield made
    made.goes_on.set()
    made.bell.close()


def ring(bell: Doorbell) -> None:
    for number in range(BURST):
        bell.ring(Hint("cancel", (f"job-{number}",)))


def test_a_burst_that_found_no_room_is_followed_by_a_hint_of_anything(
    path: str, busy: Busy
) -> None:
    bell = Doorbell(path)
    ring(bell)
    busy.goes_on.set()
    assert busy.heard_any.wait(PATIENCE)
    assert len(busy.heard) < BURST, "there was room for all, so this shows nothing"
    bell.close()


def test_so_it_is_for_a_listener_that_has_become_free_only_for_a_while(
    path: str, busy: Busy
) -> None:
    bell = Doorbell(path)
    ring(bell)
    busy.goes_on.set()
    assert busy.heard_any.wait(PATIENCE)
    busy.goes_on.clear()
    busy.heard_any.clear()
    ring(bell)
    busy.goes_on.set()
    assert busy.heard_any.wait(PATIENCE)
    bell.close()


def test_one_that_closes_waits_a_moment_until_what_it_owes_finds_room(
    path: str, busy: Busy
) -> None:
    bell = Doorbell(path, last=PATIENCE)
    ring(bell)
    closing = threading.Thread(target=bell.close)
    closing.start()
    busy.goes_on.set()
    closing.join(PATIENCE)
    assert busy.heard_any.wait(PATIENCE)


def test_one_that_closes_does_not_wait_for_a_listener_that_never_listens(
    path: str, busy: Busy
) -> None:
    bell = Doorbell(path)
    ring(bell)
    bell.close()
    assert not busy.goes_on.is_set()


def test_a_program_that_ends_and_closes_nothing_leaves_no_debts(path: str, busy: Busy) -> None:
    argv = [sys.executable, "-c", RINGING, path, str(BURST)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"rung\n"
        busy.goes_on.set()
        assert program.wait(PATIENCE) == 0
    assert busy.heard_any.wait(PATIENCE)
