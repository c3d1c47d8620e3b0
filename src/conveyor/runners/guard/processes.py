"""The process tree and signals: the system calls of a guard."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
from contextlib import suppress

LINUX = sys.platform == "linux"
# Not every kernel has this file. Reading the process table instead takes longer the longer it is.
HAS_CHILDREN_FILE = os.path.exists(f"/proc/self/task/{os.getpid()}/children")

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
_libc = ctypes.CDLL(None) if LINUX else None


def become_subreaper() -> None:
    """Become the new parent of all orphaned descendants (Linux; prctl(2))."""
    if _libc is not None:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent exits (Linux); exit if it already has."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(127)  # it exited before the prctl call


def forbid_new_privileges() -> None:
    """Make exec grant no privileges from now on, not even for setuid programs (Linux)."""
    # The kernel checks all arguments, each as a whole register.
    one, zero = ctypes.c_ulong(1), ctypes.c_ulong(0)
    if _libc is not None and _libc.prctl(PR_SET_NO_NEW_PRIVS, one, zero, zero, zero) != 0:
        raise PermissionError(errno.EPERM, "cannot set no_new_privs")


def descendants(root: int) -> list[int]:
    """Return all descendants of a process, zombies too; none if the system does not list them."""
    found: list[int] = []
    waiting = [root]
    table = None if HAS_CHILDREN_FILE else _process_table()
    while waiting:
        pid = waiting.pop()
        direct = children(pid) if table is None else table.get(pid, [])
        found += direct
        waiting += direct
    return found


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    if not HAS_CHILDREN_FILE:
        return _process_table().get(pid, [])
    found: list[int] = []
    with suppress(OSError):  # the process may have just exited
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def is_running(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    return _stat(pid)[0] not in b"ZX"


def is_frozen(pid: int) -> bool:
    """Whether a process is stopped (SIGSTOP, a debugger)."""
    return _stat(pid)[0] in b"Tt"


def process_group(pid: int) -> int:
    """Return the process group of a process; 0 if there is no such process."""
    with suppress(OSError):
        return os.getpgid(pid)
    return 0


def send_signal(pid: int, number: int) -> None:
    """Send a signal to a process; ignore errors."""
    with suppress(OSError):
        os.kill(pid, number)


def signal_group(leader: int, number: int) -> bool:
    """Send a signal to a whole process group atomically; return whether the group exists."""
    try:
        os.killpg(leader, number)
    except OSError:
        return False
    return True


def _process_table() -> dict[int, list[int]]:
    parents: dict[int, list[int]] = {}
    with suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit() and len(stat := _stat(int(name))) > 1:
                parents.setdefault(int(stat[1]), []).append(int(name))
    return parents


def _stat(pid: int) -> list[bytes]:
    """Return the fields from the state on; see proc_pid_stat(5)."""
    with suppress(OSError):
        # The name in parentheses may contain anything, so split after its end.
        return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return [b"X"]


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()
