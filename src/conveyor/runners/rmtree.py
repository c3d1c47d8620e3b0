"""Removes a folder with all that is in it, whatever a job has done to it."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A tree is gone after as many rounds as it is deep. Who adds to it all the time is not waited for.
ROUNDS = 100_000


def remove(path: str) -> None:
    """Remove a folder, also where a job has taken rights away or gone very deep.

    No link is followed. If it is another user's, that user may be at work in it meanwhile.
    """
    with suppress(OSError):
        _make_usable(path)
        top = os.open(path, FOLDER)
        try:
            _empty(top)
        finally:
            os.close(top)
        os.rmdir(path)


def _empty(top: int) -> None:
    # Level by level, what lies in a folder being brought up, rather than by recursion: a job that
    # nests folders would exhaust the stack and the descriptors of the worker.
    for _ in range(ROUNDS):
        folders = _unlink_all_but_folders(top)
        gone = [name for name in folders if _dissolve(top, name)]
        if not gone:
            return


def _dissolve(top: int, name: str) -> bool:
    """Remove a folder of `top`, whose own folders come to lie in `top`."""
    with suppress(OSError):
        _make_usable(name, top)
        folder = os.open(name, FOLDER, dir_fd=top)
        try:
            for inner in _unlink_all_but_folders(folder):
                _make_usable(inner, folder)
                os.rename(inner, secrets.token_hex(8), src_dir_fd=folder, dst_dir_fd=top)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=top)
        return True
    return False


def _unlink_all_but_folders(folder: int) -> list[str]:
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                with suppress(OSError):
                    os.unlink(entry.name, dir_fd=folder)
    return folders


def _make_usable(name: str, parent: int | None = None) -> None:
    # Root needs no rights, and must give none: the name may be a link by now.
    if os.geteuid() != 0:
        os.chmod(name, 0o700, dir_fd=parent)
