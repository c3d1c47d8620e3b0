"""Folders in which jobs work: one a job, private to it, gone when it has ended.

They lie in `conveyor-<uid>/<worker>/` in the folder for temporary files. A worker holds a lock
(flock) on its own; the kernel lets go of it when the worker has ended, however that happened, and
the next worker of the same user removes what it left. Nothing is there until a job needs it.

A folder may be given to another user, who can then pass through those above it and not list them.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import stat
import tempfile
import threading
import weakref
from contextlib import suppress
from functools import partial

from ..errors import UsageError
from .rmtree import remove

TRIES = 100
# Others may enter, and see nothing; what is in there has to let them in itself.
PASSAGE = 0o711
# How long a worker that ends waits for its sweeping, in seconds.
JOIN = 1.0


class Scratch:
    """The folders of one worker's jobs. Any thread may ask for one."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._lock = threading.Lock()
        self._held = -1
        self._numbers = itertools.count(1)
        self._sweeper: threading.Thread | None = None

    def place(self) -> Place:
        """Return a folder for a job; it is not made yet."""
        return Place(self, next(self._numbers))

    @property
    def path(self) -> str:
        """Where this worker's jobs have their folders."""
        return os.path.join(_shared(), self._worker)

    def sweep(self) -> None:
        """Remove, beside everything else, what dead workers of this user have left."""
        with suppress(OSError):
            if os.path.isdir(_shared()):
                self._sweeper = threading.Thread(target=_sweep, name="conveyor-sweep", daemon=True)
                self._sweeper.start()

    def open(self) -> None:
        """Make this worker's folder and lock it, if that was not done; UsageError if unsafe."""
        with self._lock:
            if self._held < 0:
                self._held = _make_and_hold(self.path)
                # A child that a job forks is not the worker, and must not seem to be.
                os.register_at_fork(after_in_child=partial(_let_go, weakref.ref(self)))

    def let_through(self) -> None:
        """Let others pass through this worker's folder to one that was given to them."""
        with self._lock:
            os.chmod(self._held, PASSAGE)
        os.chmod(_shared(), PASSAGE)

    def close(self, *, in_use: bool = False) -> None:
        """Remove it, and what no other worker needs; if it is still `in_use`, only when empty."""
        if self._sweeper is not None:
            self._sweeper.join(JOIN)
        with self._lock:
            if self._held < 0:
                return
            if not in_use:
                remove(self.path)
            with suppress(OSError):  # somebody is there
                if in_use:
                    os.rmdir(self.path)
                self.let_go()
                os.rmdir(_shared())

    def let_go(self) -> None:
        """Close the file, and with it the lock."""
        held, self._held = self._held, -1
        if held >= 0:
            os.close(held)


class Place:
    """One job's folder."""

    __slots__ = ("_number", "_scratch", "made")

    def __init__(self, scratch: Scratch, number: int) -> None:
        self._scratch = scratch
        self._number = number
        self.made = False

    @property
    def path(self) -> str:
        """Where it is, made or not."""
        return os.path.join(self._scratch.path, str(self._number))

    def make(self) -> str:
        """Make it, if that was not done, and return where it is."""
        if not self.made:
            self._scratch.open()
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            self.made = True
        return self.path

    def give(self, uid: int, gid: int) -> None:
        """Give it with all that is in it to another user, which only root can."""
        # Nobody else can enter before the last step.
        for folder, _, names in os.walk(self.path, topdown=False):
            for name in names:
                os.chown(os.path.join(folder, name), uid, gid, follow_symlinks=False)
            os.chown(folder, uid, gid, follow_symlinks=False)
        self._scratch.let_through()

    def remove(self) -> None:
        """Remove it with all that is in it."""
        remove(self.path)


def _shared() -> str:
    return os.path.join(tempfile.gettempdir(), f"conveyor-{os.getuid()}")


def _make_and_hold(path: str) -> int:
    shared = os.path.dirname(path)
    for _ in range(TRIES):
        with suppress(FileExistsError):
            os.mkdir(shared, 0o700)
        _check(shared)
        # Whoever sweeps, or ends, may remove either folder in between.
        with suppress(FileNotFoundError):
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(held, fcntl.LOCK_EX)
            if os.path.isdir(path) and os.path.samestat(os.fstat(held), os.stat(path)):
                return held
            os.close(held)
    raise UsageError(f"the folder {path!r} cannot be made: others remove it again and again")


def _check(shared: str) -> None:
    found = os.lstat(shared)
    safe = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o066
    if not safe:
        raise UsageError(
            f"{shared!r} must be a folder of this user that nobody else may look into (0700 or "
            "0711), and it is not: jobs are given no folder in it. Remove it, or set TMPDIR."
        )


def _sweep() -> None:
    with suppress(OSError, UsageError):
        shared = _shared()
        _check(shared)
        for name in os.listdir(shared):
            _remove_if_dead(os.path.join(shared, name))
        os.rmdir(shared)


def _remove_if_dead(path: str) -> None:
    with suppress(OSError):
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(path)
        finally:
            os.close(held)


def _let_go(reference: weakref.ref[Scratch]) -> None:
    scratch = reference()
    if scratch is not None:
        scratch.let_go()
