"""Names and links in a directory lead to nothing outside of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conveyor.errors import UsageError
from conveyor.system.confined_files import (
    confined_directory,
    create_confined_file,
    open_confined_file,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", ".", "a//b", "a/", "a\0b"])
def test_a_name_that_leads_elsewhere_creates_nothing(root: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is not a relative path below a directory"):
        create_confined_file(str(root), name)
    assert list(root.iterdir()) == []


def test_a_file_is_created_with_its_directories_which_are_private(root: Path) -> None:
    create_confined_file(str(root), "a/b/file")
    descriptor = open_confined_file(str(root), "a/b/file")
    os.write(descriptor, b"text")
    os.close(descriptor)
    assert (root / "a/b/file").read_text() == "text"
    assert [(root / each).stat().st_mode & 0o777 for each in ("a", "a/b")] == [0o700, 0o700]


@pytest.mark.parametrize("name", ["file", "link", "dangling", "directory"])
def test_what_is_there_already_is_not_replaced(root: Path, name: str) -> None:
    outside = root.parent / "outside" / "file"
    (root / "file").write_text("mine")
    (root / "link").symlink_to(root / "file")
    (root / "dangling").symlink_to(outside)
    (root / "directory").mkdir()
    with pytest.raises(FileExistsError):
        create_confined_file(str(root), name)
    assert not outside.exists()
    assert (root / "file").read_text() == "mine"


def test_no_component_is_a_link(root: Path) -> None:
    outside = root.parent / "outside"
    (outside / "file").write_text("theirs")
    (root / "link").symlink_to(outside)
    (root / "file").symlink_to(outside / "file")
    with pytest.raises(NotADirectoryError):
        create_confined_file(str(root), "link/new")
    for name in ("link/file", "file"):
        with pytest.raises(OSError):  # noqa: PT011 - ELOOP or ENOTDIR
            open_confined_file(str(root), name)
    with pytest.raises(NotADirectoryError), confined_directory(str(root), "link"):
        pass
    assert [each.name for each in outside.iterdir()] == ["file"]


def test_a_pipe_in_place_of_a_file_blocks_nothing(root: Path) -> None:
    os.mkfifo(root / "pipe")
    os.close(open_confined_file(str(root), "pipe"))
