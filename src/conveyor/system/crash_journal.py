"""A worker's crash journal: the jobs that it is running, and a lock that shows it is alive.

A worker claims jobs ahead. When it is killed, the store cannot tell the started jobs from the
others: recording each start there would cost a transaction per job. A memory-mapped file costs a
copy of 36 bytes, and the kernel keeps it when the process dies. Only processes of the same host
can read it; without it, all claimed jobs count as started. An agent has no folder beside the
store, so its journal is an anonymous file that only its sidecar process shares.

The worker holds a lock (flock) on the file, and so does its sidecar, which inherits the open file.
The kernel releases the lock when both have exited, for whatever reason. Any process that can take
the lock knows that the worker is dead, even in another container, where its pid means nothing.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from collections.abc import Collection
from contextlib import suppress
from typing import BinaryIO

from ..core.job import WorkerInfo
from ..errors import UnavailableError
from .file_owner import create_directory, create_new_file
from .fork_hooks import call_in_forked_child
from .process_identity import same_boot

# The length of a job's id as text. An entry that begins with NUL is free.
WIDTH = 36


class CrashJournal:
    """The worker's side: the file `name` in `folder`, with `entries` entries.

    Without a folder the file is anonymous and `name` is empty.
    """

    def __init__(self, folder: str, worker: str, entries: int) -> None:
        self.name = ""
        self.descriptor = -1
        self._folder = folder
        self._worker = worker
        self._size = entries * WIDTH
        self._map: mmap.mmap | None = None
        self._free = list(range(0, self._size, WIDTH))

    def open(self) -> None:
        """Create and lock the file; UnavailableError if that fails."""
        path = os.path.join(self._folder, self._worker)
        try:
            self.descriptor = self._create(path) if self._folder else _open_anonymous()
            # Setting the length is not enough: writing to a page for which the disk has no room
            # raises SIGBUS.
            os.write(self.descriptor, bytes(self._size))
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            self._map = mmap.mmap(self.descriptor, self._size)
        except OSError as error:
            self.release()
            remove(self._folder, self._worker)
            raise UnavailableError(
                f"cannot create {path}: {error}. A worker writes a journal beside its store; "
                "make the directory writable and free some disk space."
            ) from error
        self.name = self._worker if self._folder else ""
        call_in_forked_child(self.release)

    def _create(self, path: str) -> int:
        store, _ = os.path.splitext(self._folder)
        create_directory(self._folder, like=store)
        return create_new_file(path, os.O_RDWR | os.O_CLOEXEC, like=self._folder)

    def record_start(self, job_id: str) -> int:
        """Record that a job's code starts; return the entry to pass to `record_end`."""
        entry = self._free.pop()
        if self._map is not None:
            recorded = job_id.encode()
            if len(recorded) != WIDTH:  # an id that Conveyor did not make
                recorded = recorded[:WIDTH].ljust(WIDTH, b"\0")
            self._map[entry : entry + WIDTH] = recorded
        return entry

    def record_end(self, entry: int) -> None:
        """Record that the job's code has ended."""
        if self._map is not None:
            self._map[entry] = 0
        self._free.append(entry)

    def clear(self) -> None:
        """Remove all entries, so that no job is blamed for the exit of this process."""
        if self._map is not None:
            self._map[:] = bytes(self._size)

    def close(self) -> None:
        """Remove the file."""
        remove(self._folder, self.name)
        self.release()

    def release(self) -> None:
        """Close the file, and with it the lock, unless the sidecar holds it too."""
        if self._map is not None:
            self._map.close()  # it has a descriptor of its own
            self._map = None
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def anonymous_file() -> BinaryIO:
    """Open a file without a name, in memory if possible: perhaps no folder is writable."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("conveyor"), "w+b")
    return tempfile.TemporaryFile()


def _open_anonymous() -> int:
    with anonymous_file() as file:
        return os.dup(file.fileno())


def read(folder: str, name: str) -> frozenset[str] | None:
    """Return the ids of the jobs that had started and not ended; None if unknown."""
    if not folder or not name:
        return None
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return _job_ids(file.read())
    except OSError:
        return None


def read_open(descriptor: int, entries: int) -> frozenset[str]:
    """Like `read`, for a process that has the file open, even if it was removed."""
    return _job_ids(os.pread(descriptor, entries * WIDTH, 0))


def _job_ids(data: bytes) -> frozenset[str]:
    entries = (data[start : start + WIDTH] for start in range(0, len(data), WIDTH))
    return frozenset(
        entry.rstrip(b"\0").decode(errors="replace") for entry in entries if entry[:1] != b"\0"
    )


def is_locked(folder: str, name: str) -> bool | None:
    """Whether the worker, or its sidecar, still holds its file; None if unknown."""
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
    except OSError:  # the file system does not support flock
        return None
    finally:
        os.close(descriptor)
    return False


def find_unlocked(folder: str, known: Collection[str]) -> frozenset[str]:
    """Return the names in `folder`, except `known` ones, whose worker and sidecar have exited.

    One that was created at this moment may be among them.
    """
    try:
        names = os.listdir(folder) if folder else []
    except OSError:  # no worker has made it yet
        names = []
    return frozenset(
        name for name in names if name not in known and is_locked(folder, name) is False
    )


def has_died(worker: WorkerInfo, folder: str, here: str) -> bool:
    """Whether a worker of this machine is certainly dead and its sidecar has exited too.

    `here` is this process's `boot_id()`. Silence is no proof. A worker without a file in `folder`
    never counts as dead: its sidecar may be returning its jobs.
    """
    return is_locked(folder, worker.begun) is False and same_boot(worker.boot_id, here)


def remove(folder: str, name: str) -> None:
    """Remove a worker's file, if it exists."""
    if folder and name and os.path.basename(name) == name:
        with suppress(OSError):
            os.unlink(os.path.join(folder, name))
