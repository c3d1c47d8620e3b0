"""The board: which jobs a worker has begun, as others can read it after its death."""

from __future__ import annotations

import os
from pathlib import Path

from conveyor import board
from conveyor.board import Board
from conveyor.ids import IdMaker


def test_it_shows_what_was_begun_and_has_not_ended() -> None:
    first, second, third = (IdMaker().make(1_000_000.0) for _ in range(3))
    shown = Board(2)
    shown.open()
    place = shown.begin(first)
    shown.begin(second)
    assert board.read(shown.path) == {first, second}
    shown.end(place)
    shown.begin(third)
    assert board.read(shown.path) == {second, third}
    shown.close()
    assert not os.path.exists(shown.path)


def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    assert board.read("") is None
    assert board.read(str(tmp_path / "nothing")) is None
    board.remove(str(tmp_path / "nothing"))


def test_a_board_that_was_never_opened_notes_nothing() -> None:
    closed = Board(1)
    closed.end(closed.begin("job"))
    closed.end(closed.begin("job"))
    closed.close()
    assert board.read(closed.path) is None
