"""Reads files in a directory that another user controls, without trusting any path in it.

A root worker can read everything, so a symbolic link in place of a file, or of a directory on its
path, would give a job access to files that its user must not read. Each component of a path is
opened relative to the one before and never through a link; a file is checked after it is opened,
and must be a regular file of that user. Directories that the user could not list are skipped.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import partial

from ..system.confined_files import confined_directory

# Nonblocking: by now the file may have been replaced by a pipe.
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# The mode of directories that every user may list.
LISTABLE = stat.S_IROTH | stat.S_IXOTH

Opener = Callable[[str], int]


def file_opener(root: str, owner: int | None) -> Opener:
    """Return a function that opens a regular file in `root`, of a user if one is given.

    It raises OSError for everything else.
    """
    return partial(_open_regular, root, owner)


def is_listable(seen: os.stat_result, owner: int) -> bool:
    """Whether a user could list a directory, who is its owner or any other user."""
    return seen.st_uid == owner or seen.st_mode & LISTABLE == LISTABLE


def _open_regular(root: str, owner: int | None, path: str) -> int:
    directory, name = os.path.split(os.path.relpath(path, root))
    with confined_directory(root, directory) as parent:
        # Checked before opening too: opening some devices, a tape for example, has side effects.
        _check(os.stat(name, dir_fd=parent, follow_symlinks=False), owner, path)
        descriptor = os.open(name, FILE_FLAGS, dir_fd=parent)
    try:
        _check(os.fstat(descriptor), owner, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(seen: os.stat_result, owner: int | None, path: str) -> None:
    # A hard link may lead to a file elsewhere, but the user owns that one too.
    if not stat.S_ISREG(seen.st_mode):
        raise PermissionError(f"{path!r} is not a regular file")
    if owner is not None and seen.st_uid != owner:
        raise PermissionError(f"{path!r} is not a file that user {owner} owns")
