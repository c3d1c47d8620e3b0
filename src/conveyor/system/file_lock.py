"""A lock between processes, on a file of its own beside the database.

SQLite's own locks are POSIX locks: any descriptor of the same file that is closed anywhere in the
process drops them all (https://www.sqlite.org/howtocorrupt.html, 2.2). flock on another file does
not have that flaw, so it is what keeps two Conveyor processes from writing at once.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
import weakref
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial

from ..errors import UnavailableError

# How long to try, in seconds, before saying that somebody does not let go. A process whose job
# holds the GIL in the middle of a write lets go when the job does.
PATIENCE = 30.0
SHORTEST, LONGEST = 0.0002, 0.01


class FileLock:
    """One process's hold on the lock file. For one thread at a time."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        # A child that a job forks would hold the lock on if we are killed in the middle of a write.
        os.register_at_fork(after_in_child=partial(_let_go, weakref.ref(self)))

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Keep everybody else out."""
        # Taken inside, so that a Ctrl-C at the wrong moment lets go of it; letting go of what is
        # not held does no harm.
        try:
            self._acquire(fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    @contextmanager
    def shared(self) -> Generator[None]:
        """Keep writers out."""
        try:
            self._acquire(fcntl.LOCK_SH)
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file."""
        descriptor, self._fd = self._fd, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _acquire(self, mode: int) -> None:
        for _ in retries(f"{self.path} is locked by another process"):
            try:
                fcntl.flock(self._fd, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            return


def _let_go(reference: weakref.ref[FileLock]) -> None:
    lock = reference()
    if lock is not None:
        lock.close()


def retries(what: str, patience: float = PATIENCE) -> Iterator[None]:
    """Yield for each try, with short random pauses between; UnavailableError after `patience` s.

    Random pauses starve nobody: with SQLite's own, one of four writers was seen to wait 4 s.
    """
    deadline = time.monotonic() + patience
    pause = SHORTEST
    while True:
        yield
        if time.monotonic() >= deadline:
            raise UnavailableError(
                f"{what}, for {patience:g} s now. Is a process stopped in the middle of a write, "
                "or is somebody holding a transaction open?"
            )
        time.sleep(pause * (0.5 + random.random()))  # noqa: S311 - jitter is no secret
        pause = min(LONGEST, pause * 1.5)
