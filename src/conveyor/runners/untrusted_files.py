"""Looks into a folder in which another user does what it likes, and believes nothing it sees.

A worker that is root could read everything, so a link in place of a file, or of a folder on the
way to it, would show a job what its user must not see. Each step of a path is opened from the one
before and follows no link; what is read is a regular file of that user, and is looked at once it is
open. Names that the user could not list itself are not looked at either.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import PurePosixPath

from ..core.files import FILE_NAME_LIMIT, file_name
from ..errors import UsageError

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without waiting for the other side, should it be a pipe by now.
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Folders that everybody may list.
OPEN = stat.S_IROTH | stat.S_IXOTH
MOST_MARKS = 20

Opener = Callable[[str], int]


def opener(root: str, owner: int) -> Opener:
    """Return what opens the files of a user in a folder, by path; it raises OSError for others."""
    return partial(_open_owned, root, owner)


def find_owned(
    root: str, patterns: Sequence[str], owner: int, marks: list[str]
) -> dict[str, tuple[str, int]]:
    """Return path and size, by name, of a user's files that patterns fit; `marks` say why not."""
    found: dict[str, tuple[str, int]] = {}
    unfitting = dict.fromkeys(patterns)
    odd: list[str] = []
    for name, seen in sorted(_walk(root, owner), key=lambda each: each[0]):
        fitting = [pattern for pattern in patterns if fits(name, pattern)]
        trouble = _trouble(name, seen, owner) if fitting else None
        if trouble is not None:
            odd.append(trouble)
        elif fitting and stat.S_ISREG(seen.st_mode):
            found[name] = os.path.join(root, name), seen.st_size
            for pattern in fitting:
                unfitting.pop(pattern, None)
    marks += odd[:MOST_MARKS]
    marks += [f"{len(odd) - MOST_MARKS:,} more are none either"] if len(odd) > MOST_MARKS else []
    marks += [f"no file fits {pattern!r}" for pattern in unfitting]
    return found


def _trouble(name: str, seen: os.stat_result, owner: int) -> str | None:
    if stat.S_ISLNK(seen.st_mode):
        return f"{name!r} is a link, and no artifact"
    if stat.S_ISREG(seen.st_mode) and seen.st_uid != owner:
        return f"{name!r} is another user's, and no artifact"
    with suppress(UsageError):
        file_name(name)
        return None
    return f"{name!r} cannot be the name of an artifact"


def _walk(root: str, owner: int) -> Generator[tuple[str, os.stat_result]]:
    """Yield all but folders, by name. Those with too long a name are nothing, so it has an end."""
    left = [""]
    while left:
        folder = left.pop()
        with suppress(OSError), _opened_folder(root, folder) as descriptor:
            seen = os.fstat(descriptor)
            if seen.st_uid != owner and seen.st_mode & OPEN != OPEN:
                continue
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    name = f"{folder}/{entry.name}".lstrip("/")
                    if len(name) > FILE_NAME_LIMIT:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        left.append(name)
                    else:
                        with suppress(FileNotFoundError):
                            yield name, entry.stat(follow_symlinks=False)


def _open_owned(root: str, owner: int, path: str) -> int:
    folder, name = os.path.split(os.path.relpath(path, root))
    with _opened_folder(root, folder) as parent:
        # Looked at before too, as opening alone can do something: to a tape, for one.
        _check(os.stat(name, dir_fd=parent, follow_symlinks=False), owner, path)
        descriptor = os.open(name, FILE, dir_fd=parent)
    try:
        _check(os.fstat(descriptor), owner, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(seen: os.stat_result, owner: int, path: str) -> None:
    # A file with several names may be anywhere else, but then it is the user's own there too.
    if not stat.S_ISREG(seen.st_mode) or seen.st_uid != owner:
        raise PermissionError(f"{path!r} is no regular file of the user {owner}")


@contextmanager
def _opened_folder(root: str, name: str) -> Generator[int]:
    descriptor = os.open(root, FOLDER)
    try:
        for part in PurePosixPath(name).parts:
            inner = os.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def fits(name: str, pattern: str) -> bool:
    """Whether a pattern fits a file's name; "**" stands for any folders, also for none."""
    wanted = pattern.split("/")
    if wanted[-1] == "**":  # it fits folders only
        return False
    at = _passing_over({0}, wanted)
    for part in name.split("/"):
        on = [place for place in at if place < len(wanted)]
        stay = {place for place in on if wanted[place] == "**"}
        step = {place + 1 for place in on if fnmatch.fnmatchcase(part, wanted[place])}
        at = _passing_over(stay | (step - {place + 1 for place in stay}), wanted)
    return len(wanted) in at


def _passing_over(places: set[int], wanted: Sequence[str]) -> set[int]:
    """Add where one is after folders that are not there."""
    reached = set(places)
    for place, part in enumerate(wanted):
        if part == "**" and place in reached:
            reached.add(place + 1)
    return reached
