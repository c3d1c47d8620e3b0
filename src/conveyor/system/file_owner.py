"""Creates what lies beside a store: for the store's owner, and for those who may write the store.

Whoever may write the database may read and write all of it, and nobody else may do either, whatever
the umask. So a database of mode 0600 is private, and one of mode 0660 is shared with its group.

Only what this process has just created is given or opened to others: root must not give away a file
that somebody has put, or linked, in its place.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

PRIVATE_FILE, PRIVATE_DIRECTORY = 0o600, 0o700
# Linux's open flag for a file that is neither read nor written; elsewhere there is none.
O_PATH: int = getattr(os, "O_PATH", 0)


def create_file(path: str, flags: int, *, like: str) -> int:
    """Open a file, and create it if it does not exist, for those who may write `like`."""
    with suppress(FileNotFoundError):
        return os.open(path, flags)
    try:
        return create_new_file(path, flags, like=like)
    except FileExistsError:  # another process was faster
        return os.open(path, flags | os.O_CREAT, PRIVATE_FILE)


def create_new_file(path: str, flags: int, *, like: str) -> int:
    """Create a file for those who may write `like`; FileExistsError if there is one."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    _share(descriptor, like=like)
    return descriptor


def withhold_file(descriptor: int, *, like: str) -> None:
    """Take this user's own file from those who may not write `like`; another's stays as it is."""
    with suppress(OSError):  # there is no store yet
        allowed = _allowed_mode(os.fstat(descriptor), os.stat(like))
        found = os.fstat(descriptor)
        mode = stat.S_IMODE(found.st_mode)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and mode & ~allowed:
            os.fchmod(descriptor, mode & allowed)


def create_directory(path: str, *, like: str) -> None:
    """Create a directory if it does not exist, for those who may write `like`."""
    try:
        os.mkdir(path, PRIVATE_DIRECTORY)
    except FileExistsError:
        return
    with suppress(OSError):  # it was replaced meanwhile
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _share(descriptor, like=like)
        finally:
            os.close(descriptor)


def share_socket(name: str, directory: int) -> None:
    """Share a socket that was just bound in an open directory with those who may write there."""
    with suppress(OSError):
        seen = os.fstat(directory)
        if os.geteuid() == 0:
            os.chown(name, seen.st_uid, seen.st_gid, dir_fd=directory, follow_symlinks=False)
        if O_PATH:
            # A link in its place must not be followed, and Linux has no such chmod for a name.
            descriptor = os.open(name, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    os.chmod(f"/proc/self/fd/{descriptor}", _file_mode(seen))
            finally:
                os.close(descriptor)


def _share(descriptor: int, *, like: str) -> None:
    """Give an open file that was just created to the owner and the writers of `like`."""
    try:
        seen = os.stat(like)
    except OSError:  # there is no store yet: it will be private
        return
    with suppress(OSError):
        os.fchown(descriptor, seen.st_uid if os.geteuid() == 0 else -1, seen.st_gid)
    created = os.fstat(descriptor)
    mode = _allowed_mode(created, seen)
    if stat.S_ISDIR(created.st_mode):
        mode |= (mode & 0o444) >> 2
        # What others create in a shared directory belongs to the same group.
        mode |= stat.S_ISGID if mode & stat.S_IRWXG else 0
    os.fchmod(descriptor, mode)


def _allowed_mode(file: os.stat_result, like: os.stat_result) -> int:
    """Return the mode of a file that those who may write `like`, and no others, may use."""
    mode = _file_mode(like)
    # This user may not be in that group.
    return mode if file.st_gid == like.st_gid else mode & ~stat.S_IRWXG


def _file_mode(like: os.stat_result) -> int:
    writers = like.st_mode & 0o222 | stat.S_IWUSR
    return writers | writers << 1
