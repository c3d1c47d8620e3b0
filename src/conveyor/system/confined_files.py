"""Opens and creates files below a directory, where no name and no link can lead elsewhere.

Each component of a path is opened relative to the one before and never through a link, so it does
not matter what other processes do to the path meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress

from ..errors import UsageError

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Nonblocking: a pipe may be there.
FILE_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def confined_directory(
    root: str, name: str, *, create: bool = False, mode: int = 0o700
) -> Generator[int]:
    """Open the directory `name` below `root`, or `root` itself for ""; yield its descriptor.

    With `create`, what is missing is created with that `mode`. OSError if a component is a link
    or no directory; UsageError for a name that is not a path below a directory.
    """
    components = _components(name) if name else []
    descriptor = os.open(root, DIRECTORY_FLAGS)
    try:
        for component in components:
            if create:
                with suppress(FileExistsError):
                    os.mkdir(component, mode, dir_fd=descriptor)
            inner = os.open(component, DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def create_confined_file(root: str, name: str) -> None:
    """Create the file `name` below `root`, and its directories.

    OSError if anything is there already, even a link; UsageError as above.
    """
    *directories, last = _components(name)
    with confined_directory(root, "/".join(directories), create=True) as parent:
        os.close(os.open(last, FILE_FLAGS | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=parent))


def open_confined_file(root: str, name: str) -> int:
    """Open the file `name` below `root` for reading and writing; return its descriptor."""
    *directories, last = _components(name)
    with confined_directory(root, "/".join(directories)) as parent:
        return os.open(last, FILE_FLAGS, dir_fd=parent)


def _components(name: str) -> list[str]:
    components = name.split("/")
    if "\0" in name or any(each in ("", ".", "..") for each in components):
        raise UsageError(f"{name!r} is not a relative path below a directory")
    return components
