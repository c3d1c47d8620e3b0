"""Hints between processes: a burst that finds no room in a busy listener's socket is not lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conveyor.store.messages import Hint
from conveyor.store.sqlite.notifier import Notifier

PATIENCE = 60.0


class Listening:
    """A listener that is busy with the first hint until it is let go on."""

    def __init__(self, path: str) -> None:
        self.bell = Notifier(path)
        self.heard: list[tuple[str, ...]] = []
        self.is_busy = threading.Event()
        self.goes_on = threading.Event()
        self.heard_last = threading.Event()
        self.bell.listen(["cancel", "work"], self._hear)

    def _hear(self, hint: Hint) -> None:
        if hint.kind == "work":
            self.is_busy.set()
            assert self.goes_on.wait(PATIENCE)
            return
        self.heard.append(hint.subjects)
        if not hint.subjects or "last" in hint.subjects:
            self.heard_last.set()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "jobs.db")


@pytest.fixture
def busy(path: str) -> Iterator[Listening]:
    made = Listening(path)
    yield made
    made.goes_on.set()
    made.bell.close()


@pytest.fixture
def bell(path: str, busy: Listening) -> Iterator[Notifier]:
    """Another process's side; the listener is kept busy from now on."""
    made = Notifier(path)
    made.notify(Hint("work", ("mail",)))
    assert busy.is_busy.wait(PATIENCE)
    yield made
    made.close()


def ring(bell: Notifier, times: int) -> None:
    names = [f"job-{number}" for number in range(times - 1)]
    for name in (*names, "last"):
        bell.notify(Hint("cancel", (name,)))


def assert_nothing_is_lost(busy: Listening, times: int) -> None:
    """Let the listener go on: it hears of all, or that there is anything."""
    busy.goes_on.set()
    assert busy.heard_last.wait(PATIENCE)
    heard = {name for subjects in busy.heard for name in subjects}
    assert () in busy.heard or len(heard) == times


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_few_hints_come_as_one_with_all_subjects(
    bell: Notifier, busy: Listening, times: int
) -> None:
    ring(bell, times)
    busy.goes_on.set()
    assert busy.heard_last.wait(PATIENCE)
    names = (*(f"job-{number}" for number in range(times - 1)), "last")
    assert busy.heard in ([names], [()])  # the latter where a system has little room


@pytest.mark.parametrize("times", [11, 12, 13, 50, 2000])
def test_more_than_find_room_come_as_a_hint_of_anything(
    bell: Notifier, busy: Listening, times: int
) -> None:
    ring(bell, times)
    assert_nothing_is_lost(busy, times)


def test_it_does_not_matter_that_the_sender_has_gone(path: str, busy: Listening) -> None:
    sender = Notifier(path)
    sender.notify(Hint("work"))
    assert busy.is_busy.wait(PATIENCE)
    ring(sender, 50)
    sender.close()
    assert_nothing_is_lost(busy, 50)


def test_a_datagram_of_anything_is_one(bell: Notifier, busy: Listening) -> None:
    bell.notify(Hint("cancel", ("job",)))
    bell.notify(Hint("cancel"))
    busy.goes_on.set()
    assert busy.heard_last.wait(PATIENCE)
    assert busy.heard == [()]


def test_one_that_does_not_listen_takes_nothing_from_the_others(bell: Notifier, path: str) -> None:
    other = Listening(path)
    for _ in range(3):
        ring(bell, 2000)
    assert other.heard_last.wait(PATIENCE)
    other.bell.close()


def test_one_that_closed_is_not_rung_any_more(path: str, bell: Notifier) -> None:
    for _ in range(3):
        other = Listening(path)
        ring(bell, 2)
        assert other.heard_last.wait(PATIENCE)
        other.bell.close()


def test_a_hint_that_cannot_be_sent_is_no_error(path: str) -> None:
    bell = Notifier(path)
    folder = Path(f"{path}.bells")
    (folder / "1-gone.cancel").symlink_to("nowhere")
    (folder / "2-file.cancel").touch()
    folder.rename(folder.with_name("moved"))
    bell.notify(Hint("cancel", ("job",)))
    bell.close()
