"""A lock between processes: flock on a separate file beside the database.

SQLite's own locks are POSIX locks: closing any descriptor of the same file anywhere in the process
drops them all (https://www.sqlite.org/howtocorrupt.html, 2.2). flock on another file does not have
that flaw, so it keeps two Conveyor processes from writing at once.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager

from ..errors import UnavailableError
from .file_owner import create_file, withhold_file
from .fork_hooks import call_in_forked_child

# How long to try to lock, in seconds. A process whose job holds the GIL in the middle of a write
# unlocks only when the job releases the GIL.
LOCK_TIMEOUT = 30.0
# The pause between two tries, in seconds.
MIN_PAUSE, MAX_PAUSE = 0.0002, 0.01


class FileLock:
    """One process's lock on the file. For one thread at a time.

    A new file is for those who may write the file `like`.
    """

    def __init__(self, path: str, *, like: str) -> None:
        self.path = path
        self._fd = create_file(path, os.O_RDWR | os.O_CLOEXEC, like=like)
        # Whoever can read it can lock it. Older versions created it with the umask.
        withhold_file(self._fd, like=like)
        # A child that a job forks would keep the lock if this process is killed during a write.
        call_in_forked_child(self.close)

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Hold the lock; no other process can read or write."""
        # Acquired inside `try`, so that a Ctrl-C at any moment releases it; unlocking a file that
        # is not locked does no harm.
        try:
            self._acquire(fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    @contextmanager
    def shared(self) -> Generator[None]:
        """Hold a shared lock; no other process can write."""
        try:
            self._acquire(fcntl.LOCK_SH)
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        descriptor, self._fd = self._fd, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _acquire(self, mode: int) -> None:
        for _ in lock_attempts(f"{self.path} is locked by another process"):
            try:
                fcntl.flock(self._fd, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            return


def lock_attempts(what: str, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Yield for each try, with short random pauses between; UnavailableError after `timeout` s.

    Random pauses prevent starvation: with SQLite's own pauses, one of four writers waited 4 s.
    """
    deadline = time.monotonic() + timeout
    pause = MIN_PAUSE
    while True:
        yield
        if time.monotonic() >= deadline:
            raise UnavailableError(
                f"{what} for more than {timeout:g} s: find out whether that process is stopped "
                "(SIGSTOP) or holds a transaction open"
            )
        time.sleep(pause * (0.5 + random.random()))  # noqa: S311 - jitter is no secret
        pause = min(MAX_PAUSE, pause * 1.5)
