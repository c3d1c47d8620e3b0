"""Removes a directory tree, even if a job has made it deep or removed its permissions."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# One round per level of the tree. The limit is for a process that keeps adding to it.
MAX_ROUNDS = 100_000


def remove_tree(path: str) -> None:
    """Remove a directory tree, even if it is very deep or a job has removed permissions.

    It follows no link. If the tree is another user's, that user may be changing it meanwhile.
    """
    with suppress(OSError):
        _make_usable(path)
        top = os.open(path, OPEN_DIRECTORY)
        try:
            _empty(top)
        finally:
            os.close(top)
        os.rmdir(path)


def _empty(top: int) -> None:
    # Level by level, moving subdirectories up, and not by recursion: a job that nests directories
    # deeply would exhaust the worker's stack and descriptors.
    for _ in range(MAX_ROUNDS):
        directories = _unlink_files(top)
        removed = [name for name in directories if _flatten(top, name)]
        if not removed:
            return


def _flatten(top: int, name: str) -> bool:
    """Remove a directory in `top` after moving its subdirectories to `top`."""
    with suppress(OSError):
        _make_usable(name, top)
        directory = os.open(name, OPEN_DIRECTORY, dir_fd=top)
        try:
            for inner in _unlink_files(directory):
                _make_usable(inner, directory)
                os.rename(inner, secrets.token_hex(8), src_dir_fd=directory, dst_dir_fd=top)
        finally:
            os.close(directory)
        os.rmdir(name, dir_fd=top)
        return True
    return False


def _unlink_files(directory: int) -> list[str]:
    """Remove all but the directories in a directory; return their names."""
    directories: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
            else:
                with suppress(OSError):
                    os.unlink(entry.name, dir_fd=directory)
    return directories


def _make_usable(name: str, parent: int | None = None) -> None:
    # Root needs no permissions, and must grant none: the name may be a link by now.
    if os.geteuid() != 0:
        os.chmod(name, 0o700, dir_fd=parent)
