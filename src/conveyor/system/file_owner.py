"""Gives what root creates beside a store to the store's owner, whom it would lock out.

Only what this process has just created changes its owner: root must not give away a file that
somebody has put, or linked, in its place.
"""

from __future__ import annotations

import os
from contextlib import suppress


def create_file(path: str, flags: int, mode: int, *, like: str) -> int:
    """Open a file, and create it if it does not exist; root's belongs to the owner of `like`."""
    with suppress(FileNotFoundError):
        return os.open(path, flags)
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:  # another process was faster
        return os.open(path, flags | os.O_CREAT, mode)
    give_file(descriptor, like=like)
    return descriptor


def create_directory(path: str, mode: int = 0o777, *, like: str) -> None:
    """Create a directory if it does not exist; root's belongs to the owner of `like`."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    with suppress(OSError):  # it was replaced meanwhile
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            give_file(descriptor, like=like)
        finally:
            os.close(descriptor)


def give_socket(name: str, directory: int) -> None:
    """Give a socket that root has bound in an open directory to the owner of the directory."""
    if os.geteuid() == 0:
        with suppress(OSError):
            seen = os.fstat(directory)
            os.chown(name, seen.st_uid, seen.st_gid, dir_fd=directory, follow_symlinks=False)


def give_file(descriptor: int, *, like: str) -> None:
    """Give an open file that root has just created to the owner of `like`."""
    if os.geteuid() == 0:
        with suppress(OSError):  # there is no such owner yet: the store is root's own
            seen = os.stat(like)
            os.fchown(descriptor, seen.st_uid, seen.st_gid)
