"""Reads files in a directory that another user controls, without trusting any path in it.

A root worker can read everything, so a symbolic link in place of a file, or of a directory on its
path, would give a job access to files that its user must not read. Each component of a path is
opened relative to the one before and never through a link; a file is checked after it is opened,
and must be a regular file of that user. Directories that the user could not list are skipped.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from functools import partial

from ..core.files import FILE_NAME_LIMIT, file_name
from ..errors import UsageError
from ..system.confined_files import confined_directory

# Nonblocking: by now the file may have been replaced by a pipe.
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# The mode of directories that every user may list.
LISTABLE = stat.S_IROTH | stat.S_IXOTH
MAX_MARKS = 20

Opener = Callable[[str], int]


def owned_file_opener(root: str, owner: int) -> Opener:
    """Return a function that opens a file of a user in `root`; it raises OSError for others."""
    return partial(_open_owned, root, owner)


def find_owned_files(
    root: str, patterns: Sequence[str], owner: int, marks: list[str]
) -> dict[str, tuple[str, int]]:
    """Return path and size by name of a user's files that match; add refusals to `marks`."""
    found: dict[str, tuple[str, int]] = {}
    unmatched = dict.fromkeys(patterns)
    refusals: list[str] = []
    for name, seen in sorted(_walk(root, owner), key=lambda each: each[0]):
        matched = [pattern for pattern in patterns if matches(name, pattern)]
        refusal = _refusal(name, seen, owner) if matched else None
        if refusal is not None:
            refusals.append(refusal)
        elif matched and stat.S_ISREG(seen.st_mode):
            found[name] = os.path.join(root, name), seen.st_size
            for pattern in matched:
                unmatched.pop(pattern, None)
    marks += refusals[:MAX_MARKS]
    if len(refusals) > MAX_MARKS:
        marks.append(f"{len(refusals) - MAX_MARKS:,} more files are not kept")
    marks += [f"no file matches {pattern!r}" for pattern in unmatched]
    return found


def _refusal(name: str, seen: os.stat_result, owner: int) -> str | None:
    if stat.S_ISLNK(seen.st_mode):
        return f"{name!r} is not kept: it is a symbolic link"
    if stat.S_ISREG(seen.st_mode) and seen.st_uid != owner:
        return f"{name!r} is not kept: another user owns it"
    with suppress(UsageError):
        file_name(name)
        return None
    return f"{name!r} is not kept: an artifact cannot have that name"


def _walk(root: str, owner: int) -> Generator[tuple[str, os.stat_result]]:
    """Yield everything but directories. Names that are too long are skipped, so it terminates."""
    left = [""]
    while left:
        directory = left.pop()
        with suppress(OSError), confined_directory(root, directory) as descriptor:
            seen = os.fstat(descriptor)
            if seen.st_uid != owner and seen.st_mode & LISTABLE != LISTABLE:
                continue
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    name = f"{directory}/{entry.name}".lstrip("/")
                    if len(name) > FILE_NAME_LIMIT:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        left.append(name)
                    else:
                        with suppress(FileNotFoundError):
                            yield name, entry.stat(follow_symlinks=False)


def _open_owned(root: str, owner: int, path: str) -> int:
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


def _check(seen: os.stat_result, owner: int, path: str) -> None:
    # A hard link may lead to a file elsewhere, but the user owns that one too.
    if not stat.S_ISREG(seen.st_mode) or seen.st_uid != owner:
        raise PermissionError(f"{path!r} is not a regular file that user {owner} owns")


def matches(name: str, pattern: str) -> bool:
    """Whether a file's name matches a pattern; "**" matches any number of directories."""
    parts = pattern.split("/")
    if parts[-1] == "**":  # it matches directories only
        return False
    # The positions in the pattern that a prefix of the name can reach.
    positions = _skip_empty({0}, parts)
    for component in name.split("/"):
        current = [position for position in positions if position < len(parts)]
        stay = {position for position in current if parts[position] == "**"}
        step = {
            position + 1 for position in current if fnmatch.fnmatchcase(component, parts[position])
        }
        positions = _skip_empty(stay | (step - {position + 1 for position in stay}), parts)
    return len(parts) in positions


def _skip_empty(positions: set[int], parts: Sequence[str]) -> set[int]:
    """Add the positions that are reached if a "**" matches no directory."""
    reached = set(positions)
    for position, part in enumerate(parts):
        if part == "**" and position in reached:
            reached.add(position + 1)
    return reached
