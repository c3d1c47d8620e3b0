"""A worker's file beside the store: which jobs it has begun, and by its lock that it still lives.

A worker claims jobs ahead. When it is killed, whoever rescues its jobs cannot tell the begun ones
from the others by the store, as telling it would cost a transaction a job. A memory-mapped file
costs a copy of 36 bytes, and the kernel keeps it when the process dies. It is for one host:
a process that may not read it has to blame them all. An agent has no folder beside the store; its
file has no name, and only its keeper knows it.

The worker holds a lock (flock) on the file, and so does its keeper, which has the same open file.
The kernel lets go of it when both have ended, however that happened. Whoever can take it knows that
the worker is dead, also where the worker's pid says nothing: in another container.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
import weakref
from contextlib import suppress
from functools import partial
from typing import BinaryIO

from ..core.job import WorkerInfo
from ..errors import UnavailableError
from .process_identity import same_boot

# A job's id, as text. A place that begins with NUL is free.
WIDTH = 36


class Board:
    """The worker's side: a file in `folder`, called `name`, once it is open.

    Without a folder the file has no name either.
    """

    def __init__(self, folder: str, worker: str, places: int) -> None:
        self.name = ""
        self.descriptor = -1
        self._folder = folder
        self._worker = worker
        self._size = places * WIDTH
        self._map: mmap.mmap | None = None
        self._free = list(range(0, self._size, WIDTH))

    def open(self) -> None:
        """Make the file; UnavailableError if that cannot be done."""
        path = os.path.join(self._folder, self._worker)
        try:
            self.descriptor = self._file(path) if self._folder else _nameless()
            # Not just its length: a page that finds no room on the disk when it is first written
            # is a SIGBUS.
            os.write(self.descriptor, bytes(self._size))
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            self._map = mmap.mmap(self.descriptor, self._size)
        except OSError as error:
            self.let_go()
            remove(self._folder, self._worker)
            raise UnavailableError(
                f"{path} cannot be made: {error}. A worker keeps a file beside its store, so there "
                "must be room, and the folder must be writable."
            ) from error
        self.name = self._worker if self._folder else ""
        # A child that a job forks is not the worker, and must not seem to be.
        os.register_at_fork(after_in_child=partial(_let_go, weakref.ref(self)))

    def _file(self, path: str) -> int:
        os.makedirs(self._folder, mode=0o755, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

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

    def wipe(self) -> None:
        """Note that the end of this process is not to be blamed on any job."""
        if self._map is not None:
            self._map[:] = bytes(self._size)

    def close(self) -> None:
        """Remove the file."""
        remove(self._folder, self.name)
        self.let_go()

    def let_go(self) -> None:
        """Close the file, and with it the lock, unless the keeper has it too."""
        if self._map is not None:
            self._map.close()  # it has a descriptor of its own
            self._map = None
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def nameless_file() -> BinaryIO:
    """Open a file that has no name. In memory where that is possible: no folder may be writable."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("conveyor"), "w+b")
    return tempfile.TemporaryFile()


def _nameless() -> int:
    with nameless_file() as file:
        return os.dup(file.fileno())


def read(folder: str, name: str) -> frozenset[str] | None:
    """Return the ids of the jobs that were begun and not ended; None if that cannot be known."""
    if not folder or not name:
        return None
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return _begun(file.read())
    except OSError:
        return None


def read_open(descriptor: int, places: int) -> frozenset[str]:
    """`read` for who has the file open, be it removed or not."""
    return _begun(os.pread(descriptor, places * WIDTH, 0))


def _begun(data: bytes) -> frozenset[str]:
    entries = (data[start : start + WIDTH] for start in range(0, len(data), WIDTH))
    return frozenset(
        entry.rstrip(b"\0").decode(errors="replace") for entry in entries if entry[:1] != b"\0"
    )


def is_held(folder: str, name: str) -> bool | None:
    """Say whether the worker, or its keeper, still holds its file; None if that cannot be known."""
    if not folder or not name:
        return None
    try:
        descriptor = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system that knows no such locks
        return None
    finally:
        os.close(descriptor)
    return False


def has_died(worker: WorkerInfo, folder: str, here: str) -> bool:
    """Whether a worker of this machine is surely dead and nobody sees to its jobs any more.

    `here` is this process's `boot_id()`. Never guessed from its silence, and not known of one
    without a file here: its keeper may be seeing to its jobs.
    """
    return is_held(folder, worker.begun) is False and same_boot(worker.boot_id, here)


def remove(folder: str, name: str) -> None:
    """Remove a dead worker's file, if it is still there."""
    if folder and name and os.path.basename(name) == name:
        with suppress(OSError):
            os.unlink(os.path.join(folder, name))


def _let_go(reference: weakref.ref[Board]) -> None:
    board = reference()
    if board is not None:
        board.let_go()
