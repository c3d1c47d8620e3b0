"""Who descends from whom, and signals to them: what a guard asks and tells the kernel."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
from contextlib import suppress

LINUX = sys.platform == "linux"
# Not every kernel has it. The process table tells the same, but the more slowly the more there are.
CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
_libc = ctypes.CDLL(None) if LINUX else None


def subreap() -> None:
    """Become the parent of all descendants whose own parent ends (Linux; prctl(2))."""
    if _libc is not None:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """Be killed when the parent ends (Linux); end now if it already has."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(127)  # it ended before the kernel was told to look


def no_new_privileges() -> None:
    """Gain no rights by any program that is executed from now on, setuid or not (Linux)."""
    # The kernel looks at all of these, and at each as a whole register.
    one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
    if _libc is not None and _libc.prctl(PR_SET_NO_NEW_PRIVS, one, none, none, none) != 0:
        raise PermissionError(errno.EPERM, "no_new_privs cannot be set")


def below(root: int) -> list[int]:
    """Return all that descend from a process, zombies as well; none where no system tells."""
    found: list[int] = []
    waiting = [root]
    table = None if CHILDREN else _table()
    while waiting:
        pid = waiting.pop()
        these = children(pid) if table is None else table.get(pid, [])
        found += these
        waiting += these
    return found


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    if not CHILDREN:
        return _table().get(pid, [])
    found: list[int] = []
    with suppress(OSError):  # it may have just ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def is_running(pid: int) -> bool:
    """Whether a process has not ended. A zombie has."""
    return _stat(pid)[0] not in b"ZX"


def is_frozen(pid: int) -> bool:
    """Whether a process is stopped (SIGSTOP, a debugger)."""
    return _stat(pid)[0] in b"Tt"


def group(pid: int) -> int:
    """Return the process group of a process; 0 when it is not there."""
    with suppress(OSError):
        return os.getpgid(pid)
    return 0


def send(pid: int, number: int) -> None:
    """Send a signal to a process, if it is there and may be sent one."""
    with suppress(OSError):
        os.kill(pid, number)


def send_group(leader: int, number: int) -> bool:
    """Send a signal to a process group, all at once; say whether there is such a group."""
    try:
        os.killpg(leader, number)
    except OSError:
        return False
    return True


def _table() -> dict[int, list[int]]:
    parents: dict[int, list[int]] = {}
    with suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit() and len(stat := _stat(int(name))) > 1:
                parents.setdefault(int(stat[1]), []).append(int(name))
    return parents


def _stat(pid: int) -> list[bytes]:
    """Return the state, the parent and so on; see proc_pid_stat(5)."""
    with suppress(OSError):
        # The name stands in parentheses and may hold anything, so count from its end.
        return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return [b"X"]


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()
