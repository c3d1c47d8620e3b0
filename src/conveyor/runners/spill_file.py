"""A file for what does not fit into memory: output of jobs that waits for a slow store."""

from __future__ import annotations

import os
import tempfile
from typing import BinaryIO

import msgspec


class Spilt(msgspec.Struct, frozen=True):
    """Where some bytes lie in the file."""

    position: int
    size: int


class Spill:
    """Keeps bytes in a file that has no name, and so is gone with this process.

    It is begun when it is needed, and emptied when nothing in it is. Not for several threads.
    """

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self._end = 0
        self._used = 0

    def put(self, data: bytes | bytearray) -> Spilt:
        """Keep bytes; OSError when the disk is full."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="conveyor-", buffering=0)  # noqa: SIM115 - kept
        os.pwrite(self._file.fileno(), data, self._end)
        spilt = Spilt(self._end, len(data))
        self._end += len(data)
        self._used += len(data)
        return spilt

    def take(self, spilt: Spilt) -> bytes:
        """Return bytes, and keep them no longer."""
        assert self._file is not None, "something was put there"
        data = os.pread(self._file.fileno(), spilt.size, spilt.position)
        self.drop(spilt)
        return data

    def drop(self, spilt: Spilt) -> None:
        """Keep bytes no longer."""
        self._used -= spilt.size
        if not self._used and self._file is not None:
            self._file.close()
            self._file = None
            self._end = 0
