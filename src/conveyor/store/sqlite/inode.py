"""Says which file lies at a path without a look at its times, which would cost the next commit.

Since Linux 6.13 a file whose times were looked at has its inode written by the next change, so that
the new time differs from the one that was seen (multigrain timestamps; see
Documentation/filesystems/multigrain-ts.rst of the kernel). Between two commits that makes the
second 60 µs dearer, of some 250. `os.stat` asks for the times always, `statx` for what one names.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

# Of <linux/stat.h> and <fcntl.h>: parts of an interface that does not change.
AT_FDCWD = -100
STATX_INO = 0x100
SIZE, INO_AT = 256, 32

Statx = Callable[[int, bytes, int, int, Any], int]


def _statx() -> Statx | None:
    try:
        found = ctypes.CDLL(None).statx
    except (OSError, AttributeError):  # another system, or a C library of before 2018
        return None
    found.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_void_p,
    )
    return found


STATX = _statx()


class Inode:
    """Looks at one path. Used by one thread at a time. Without `statx`, `os.stat` does."""

    def __init__(self, path: str, statx: Statx | None = STATX) -> None:
        self._path = os.fsencode(path)
        self._statx = statx
        self._answer = ctypes.create_string_buffer(SIZE)
        self._number = ctypes.c_uint64.from_buffer(self._answer, INO_AT)

    def look(self) -> int:
        """Return the number of the file that is there, or 0 when there is none."""
        statx = self._statx
        if statx is not None and not statx(AT_FDCWD, self._path, 0, STATX_INO, self._answer):
            return self._number.value
        try:
            return os.stat(self._path).st_ino
        except OSError:
            return 0
