"""Which jobs a worker has begun, in a file that outlives it: a crash is blamed on those alone.

A worker claims jobs ahead. When it is killed, whoever rescues its jobs cannot tell the begun ones
from the others by the store, as telling it would cost a transaction a job. A memory-mapped file
costs a copy of 36 bytes, and the kernel keeps it when the process dies. It is for one host:
a process that may not read it has to blame them all.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from contextlib import suppress

# A job's id, as text. A place that begins with NUL is free.
WIDTH = 36


class Board:
    """The worker's side. `path` is where others can read it, once it is open."""

    def __init__(self, places: int) -> None:
        self.path = ""
        self._size = places * WIDTH
        self._map: mmap.mmap | None = None
        self._free = list(range(0, self._size, WIDTH))

    def open(self) -> None:
        """Make the file. Without one nothing is noted, and a crash is blamed on all."""
        descriptor, self.path = tempfile.mkstemp(prefix="conveyor-begun-")
        try:
            os.truncate(descriptor, self._size)
            self._map = mmap.mmap(descriptor, self._size)
        finally:
            os.close(descriptor)

    def begin(self, job_id: str) -> int:
        """Note that a job's code begins; returns the place to give to `end`."""
        place = self._free.pop()
        if self._map is not None:
            noted = job_id.encode()
            if len(noted) != WIDTH:  # an id that is not ours
                noted = noted[:WIDTH].ljust(WIDTH, b"\0")
            self._map[place : place + WIDTH] = noted
        return place

    def end(self, place: int) -> None:
        """Note that the job's code has ended."""
        if self._map is not None:
            self._map[place] = 0
        self._free.append(place)

    def close(self) -> None:
        """Remove the file."""
        if self._map is not None:
            self._map.close()
            self._map = None
        remove(self.path)


def read(path: str) -> frozenset[str] | None:
    """Return the ids of the jobs that were begun and not ended; None if that cannot be known."""
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return None
    entries = (data[start : start + WIDTH] for start in range(0, len(data), WIDTH))
    return frozenset(
        entry.rstrip(b"\0").decode(errors="replace") for entry in entries if entry[:1] != b"\0"
    )


def remove(path: str) -> None:
    """Remove a dead worker's file, if it is still there."""
    if path:
        with suppress(OSError):
            os.unlink(path)
