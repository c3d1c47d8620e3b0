"""Which file lies at a path is known, however the system is asked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from conveyor.store.sqlite.inode import STATX, STATX_INO, Inode, Statx


@pytest.mark.parametrize("statx", [STATX, None, lambda *_: -1], ids=["statx", "stat", "refused"])
def test_a_file_that_takes_the_place_of_another_is_another(
    statx: Statx | None, tmp_path: Path
) -> None:
    here, other = tmp_path / "wäl", tmp_path / "other"
    inode = Inode(str(here), statx)
    assert inode.look() == 0
    here.write_text("one")
    other.write_text("two")
    first = inode.look()
    assert first == os.stat(here).st_ino
    assert inode.look() == first
    other.replace(here)
    assert inode.look() == os.stat(here).st_ino != first
    here.unlink()
    assert inode.look() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")
def test_linux_is_asked_for_the_number_and_nothing_else(tmp_path: Path) -> None:
    assert STATX is not None
    asked: list[int] = []

    def statx(folder: int, path: bytes, flags: int, mask: int, answer: object) -> int:
        asked.append(mask)
        return STATX(folder, path, flags, mask, answer)

    inode = Inode(str(tmp_path), statx)
    assert inode.look() == os.stat(tmp_path).st_ino
    assert asked == [STATX_INO]
