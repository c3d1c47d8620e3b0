"""Working directories of jobs: one per job, private to it, removed when it has ended.

They are `<tmp>/conveyor-<uid>-<random>/<number>`. Others can create files in <tmp>, but not guess
the name that a worker chooses for its directory. The worker holds a lock (flock) on it; the kernel
releases the lock when the worker exits, for whatever reason, and the next worker of the same user
removes the leftovers. Nothing is created until a job needs it.

A workdir may be given to another user, who can then traverse the directory above it but not list
it.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import secrets
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress

from ..system.fork_hooks import call_in_forked_child
from .machine_fault import MachineError, MachineFault
from .rmtree import remove_tree

CREATE_TRIES = 100
# What a probe writes: more than the last free block of a full disk.
PROBE_SIZE = 1 << 16
# Other users may enter but not list; each workdir has its own permissions.
TRAVERSE_ONLY = 0o711
# How long a worker that exits waits for its cleanup of leftovers, and for the removal of its own
# directory, in seconds. What is left is removed by the next worker.
CLEANUP_TIMEOUT, CLOSE_TIMEOUT = 1.0, 3.0

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class WorkdirRoot:
    """The directory of one worker, with its jobs' workdirs. Safe in any thread.

    `remove` removes a directory with all it contains.
    """

    def __init__(self, remove: Callable[[str], None] = remove_tree) -> None:
        self.remove = remove
        self._name = _new_name()
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
        except OSError as error:
            return MachineFault(f"no job's folder can be created: {error}")
        finally:
            if workdir.created:
                workdir.remove()
        return None

    @property
    def path(self) -> str:
        """The path of this worker's directory."""
        return os.path.join(_temporary_directory(), self._name)

    def remove_stale(self) -> None:
        """Remove the leftovers of this user's dead workers, in a thread."""
        with suppress(RuntimeError):  # this machine cannot start a thread
            cleaner = threading.Thread(target=_remove_stale, name="conveyor-cleanup", daemon=True)
            cleaner.start()
            self._cleaner = cleaner

    def create(self) -> None:
        """Create and lock this worker's directory; OSError if it cannot be created.

        If a job has removed it, another one is created.
        """
        with self._lock:
            if self._descriptor >= 0 and not _is_at(self._descriptor, self.path):
                self.release()
                self._name = _new_name()
            if self._descriptor < 0:
                self._descriptor = _create_and_lock(self.path)
                call_in_forked_child(self.release)

    def allow_traversal(self) -> None:
        """Let other users traverse this worker's directory, to a workdir that is theirs."""
        with self._lock:
            os.chmod(self._descriptor, TRAVERSE_ONLY)

    def close(self, *, in_use: bool = False, timeout: float = CLOSE_TIMEOUT) -> None:
        """Remove this worker's directory; if a job is still `in_use` of it, only when empty.

        If that takes more than `timeout` seconds, it goes on until the process exits, and the
        directory stays locked until then.
        """
        if self._cleaner is not None:
            self._cleaner.join(CLEANUP_TIMEOUT)
        if self._descriptor < 0:
            return
        if not in_use:
            with suppress(RuntimeError):  # no thread: the next worker removes it
                closer = threading.Thread(target=self._remove, name="conveyor-close", daemon=True)
                closer.start()
                closer.join(timeout)
            return
        with self._lock, suppress(OSError):  # not empty
            os.rmdir(self.path)
            self.release()

    def _remove(self) -> None:
        with self._lock:
            self.remove(self.path)
            self.release()

    def release(self) -> None:
        """Close the directory, and with it the lock."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class Workdir:
    """The working directory of one job."""

    __slots__ = ("_number", "_path", "_root", "created")

    def __init__(self, root: WorkdirRoot, number: int) -> None:
        self._root = root
        self._number = number
        self._path = ""
        self.created = False

    @property
    def path(self) -> str:
        """Its path, even before it is created."""
        if not self._path:
            self._path = os.path.join(self._root.path, str(self._number))
        return self._path

    def create(self) -> str:
        """Create it, unless it exists, and return its path; MachineError if that fails."""
        if not self.created:
            try:
                self._root.create()
                if os.path.dirname(self.path) != self._root.path:  # a child process knows this path
                    raise FileNotFoundError(errno.ENOENT, "a job has removed it", self.path)
                os.mkdir(self.path, 0o700)
            except OSError as error:
                raise MachineError(error.errno, error.strerror, error.filename) from error
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
        self._root.remove(self.path)


def _temporary_directory() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError as error:  # none is writable
        raise MachineError(error.errno, str(error)) from error


def _prefix() -> str:
    return f"conveyor-{os.getuid()}-"


def _new_name() -> str:
    return _prefix() + secrets.token_hex(8)


def _create_and_lock(path: str) -> int:
    for _ in range(CREATE_TRIES):
        os.mkdir(path, 0o700)
        # The cleanup of another worker may remove it before it is locked.
        with suppress(FileNotFoundError):
            descriptor = os.open(path, OPEN_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(descriptor, path):
                return descriptor
            os.close(descriptor)
    raise MachineError(errno.EAGAIN, "another process keeps removing it", path)


def _is_at(descriptor: int, path: str) -> bool:
    """Whether an open directory still is the one at a path."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    return False


def _remove_stale() -> None:
    with suppress(OSError):
        folder = _temporary_directory()
        for name in os.listdir(folder):
            if name.startswith(_prefix()):
                _remove_if_dead(os.path.join(folder, name))


def _remove_if_dead(path: str) -> None:
    with suppress(OSError):
        descriptor = os.open(path, OPEN_DIRECTORY)
        try:
            if os.fstat(descriptor).st_uid == os.getuid():  # others can choose such names, too
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(path)
        finally:
            os.close(descriptor)
