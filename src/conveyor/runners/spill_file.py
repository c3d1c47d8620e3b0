"""A temporary file for output that does not fit into memory while it waits for a slow store."""

from __future__ import annotations

import os
import tempfile
from typing import BinaryIO

import msgspec


class SpilledChunk(msgspec.Struct, frozen=True):
    """The position of some bytes in the file."""

    position: int
    size: int


class SpillFile:
    """Keeps bytes in an anonymous file, which vanishes with this process.

    It is created when needed, and closed when nothing in it is used. Not safe for several threads.
    """

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self._end = 0
        self._used = 0

    def append(self, data: bytes | bytearray) -> SpilledChunk:
        """Write bytes; OSError if the disk is full."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="conveyor-", buffering=0)  # noqa: SIM115 - kept
        os.pwrite(self._file.fileno(), data, self._end)
        chunk = SpilledChunk(self._end, len(data))
        self._end += len(data)
        self._used += len(data)
        return chunk

    def pop(self, chunk: SpilledChunk) -> bytes:
        """Return the bytes of a chunk, and free it."""
        assert self._file is not None, "the chunk was written to it"
        data = os.pread(self._file.fileno(), chunk.size, chunk.position)
        self.free(chunk)
        return data

    def free(self, chunk: SpilledChunk) -> None:
        """Free a chunk."""
        self._used -= chunk.size
        if not self._used and self._file is not None:
            self._file.close()
            self._file = None
            self._end = 0
