"""Working directories of jobs: one per job, private to it, removed when it has ended.

They are `<tmp>/conveyor-<uid>/<worker>/<number>`. A worker holds a lock (flock) on its own
directory; the kernel releases the lock when the worker exits, for whatever reason, and the next
worker of the same user removes the leftovers. Nothing is created until a job needs it.

A workdir may be given to another user, who can then traverse the directories above it but not list
them.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import stat
import tempfile
import threading
from contextlib import suppress

from ..errors import UsageError
from ..system.fork_hooks import call_in_forked_child
from .machine_fault import MachineError, MachineFault
from .rmtree import remove_tree

CREATE_TRIES = 100
# What a probe writes: more than the last free block of a full disk.
PROBE_SIZE = 1 << 16
# Other users may enter but not list; each workdir has its own permissions.
TRAVERSE_ONLY = 0o711
# How long a worker that exits waits for its cleanup of leftovers, in seconds.
CLEANUP_TIMEOUT = 1.0


class WorkdirRoot:
    """The directory of one worker, with its jobs' workdirs. Safe in any thread."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._lock = threading.Lock()
        self._descriptor = -1
        self._numbers = itertools.count(1)
        self._cleaner: threading.Thread | None = None

    def new_workdir(self) -> Workdir:
        """Return a workdir for a job; it is not created yet."""
        return Workdir(self, next(self._numbers))

    def probe(self) -> MachineFault | None:
        """Create a workdir and write to it; return the fault that prevents that."""
        workdir = self.new_workdir()
        try:
            with open(os.path.join(workdir.create(), "probe"), "wb") as file:
                file.write(bytes(PROBE_SIZE))
        except (OSError, UsageError) as error:
            return MachineFault(f"no job's folder can be created: {error}")
        finally:
            if workdir.created:
                workdir.remove()
        return None

    @property
    def path(self) -> str:
        """The path of this worker's directory."""
        return os.path.join(_user_directory(), self._worker)

    def remove_stale(self) -> None:
        """Remove the leftovers of this user's dead workers, in a thread."""
        with suppress(OSError):
            if os.path.isdir(_user_directory()):
                self._cleaner = threading.Thread(
                    target=_remove_stale, name="conveyor-cleanup", daemon=True
                )
                self._cleaner.start()

    def create(self) -> None:
        """Create and lock this worker's directory once; UsageError if it would be unsafe."""
        with self._lock:
            if self._descriptor < 0:
                self._descriptor = _create_and_lock(self.path)
                call_in_forked_child(self.release)

    def allow_traversal(self) -> None:
        """Let other users traverse this worker's directory, to a workdir that is theirs."""
        with self._lock:
            os.chmod(self._descriptor, TRAVERSE_ONLY)
        os.chmod(_user_directory(), TRAVERSE_ONLY)

    def close(self, *, in_use: bool = False) -> None:
        """Remove this worker's directory; if a job is still `in_use` of it, only when empty."""
        if self._cleaner is not None:
            self._cleaner.join(CLEANUP_TIMEOUT)
        with self._lock:
            if self._descriptor < 0:
                return
            if not in_use:
                remove_tree(self.path)
            with suppress(OSError):  # not empty
                if in_use:
                    os.rmdir(self.path)
                self.release()
                os.rmdir(_user_directory())

    def release(self) -> None:
        """Close the directory, and with it the lock."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class Workdir:
    """The working directory of one job."""

    __slots__ = ("_number", "_root", "created")

    def __init__(self, root: WorkdirRoot, number: int) -> None:
        self._root = root
        self._number = number
        self.created = False

    @property
    def path(self) -> str:
        """Its path, even before it is created."""
        return os.path.join(self._root.path, str(self._number))

    def create(self) -> str:
        """Create it, unless it exists, and return its path."""
        if not self.created:
            self._root.create()
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            self.created = True
        return self.path

    def give_to(self, uid: int, gid: int) -> None:
        """Make another user the owner of it and of all it contains; only root can."""
        # Bottom up: that user cannot enter before the last step.
        for directory, _, names in os.walk(self.path, topdown=False):
            for name in names:
                os.chown(os.path.join(directory, name), uid, gid, follow_symlinks=False)
            os.chown(directory, uid, gid, follow_symlinks=False)
        self._root.allow_traversal()

    def remove(self) -> None:
        """Remove it and all it contains."""
        remove_tree(self.path)


def _user_directory() -> str:
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError as error:  # none is writable
        raise MachineError(error.errno, str(error)) from error
    return os.path.join(folder, f"conveyor-{os.getuid()}")


def _create_and_lock(path: str) -> int:
    parent = os.path.dirname(path)
    for _ in range(CREATE_TRIES):
        with suppress(FileExistsError):
            os.mkdir(parent, 0o700)
        _check_permissions(parent)
        # Another worker that cleans up, or exits, may remove either directory in between.
        with suppress(FileNotFoundError):
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.path.isdir(path) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
            os.close(descriptor)
    raise UsageError(f"cannot create directory {path!r}: another process keeps removing it")


def _check_permissions(directory: str) -> None:
    found = os.lstat(directory)
    safe = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o066
    if not safe:
        raise UsageError(
            f"{directory!r} must be a directory that this user owns and no other user can list "
            "(mode 0700 or 0711); remove it, or set TMPDIR to another directory"
        )


def _remove_stale() -> None:
    with suppress(OSError, UsageError):
        parent = _user_directory()
        _check_permissions(parent)
        for name in os.listdir(parent):
            _remove_if_dead(os.path.join(parent, name))
        os.rmdir(parent)


def _remove_if_dead(path: str) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(path)
        finally:
            os.close(descriptor)
