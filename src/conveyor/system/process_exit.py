"""Finds out how a process ended, as far as a process can that is not its parent.

Only the parent gets the exit status from wait(2). Other processes can read a zombie's status in
proc_pid_stat(5), field 52, and since Linux 6.15 through a pidfd that was opened while the process
ran (PIDFD_GET_INFO in linux/pidfd.h).
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
from contextlib import suppress
from pathlib import Path

# struct pidfd_info, its first version: 64 bytes, the mask first and the exit status last.
_INFO_SIZE = 64
_GET_INFO = (3 << 30) | (_INFO_SIZE << 16) | (0xFF << 8) | 11
_WITH_EXIT = 1 << 3
_EXIT_AT = 60


class ExitWatcher:
    """Watches a process of this machine until it has exited, and describes its exit.

    `pidfd` is what `open_pidfd` returned while the process was certainly alive.
    """

    def __init__(self, pid: int, pidfd: int) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._peak = 0
        self._ooms = oom_kills()
        self.sample_memory()

    def sample_memory(self) -> None:
        """Update the peak of the memory that it has used."""
        self._peak = max(self._peak, peak_memory(self._pid))

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for its exit; return whether it has exited."""
        if self._pidfd < 0:
            return True
        return bool(select.select([self._pidfd], [], [], seconds)[0])

    def describe(self) -> str:
        """Describe how it ended and how much memory it used."""
        ooms = oom_kills()
        oom = self._ooms is not None and ooms is not None and ooms > self._ooms
        return describe_exit(exit_status(self._pid, self._pidfd), self._peak, out_of_memory=oom)


def open_pidfd(pid: int) -> int:
    """Return a pidfd; -1 if the system has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, an old kernel, or forbidden by a sandbox
        return -1


def describe_exit(status: int | None, peak: int, *, out_of_memory: bool) -> str:
    """Describe how a process ended. `peak` is its highest known memory use, in bytes."""
    parts: list[str] = []
    if status is not None:
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            parts.append(f"it exited with {code}")
        else:
            parts.append(f"it was killed by {signal.Signals(-code).name}")
    if out_of_memory:
        parts.append("the kernel's OOM killer killed a process in its cgroup")
    elif status is not None and os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
        parts.append("possibly by the kernel's OOM killer")
    if peak:
        parts.append(f"its memory use peaked at {peak / (1 << 20):.0f} MiB or more")
    return ", ".join(parts)


def exit_status(pid: int, pidfd: int) -> int | None:
    """Return the wait status of a process that has ended; None if the kernel does not reveal it."""
    with suppress(OSError, ValueError):
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        if stat[0] == "Z":
            return int(stat[49])
    if pidfd < 0:
        return None
    info = bytearray(_INFO_SIZE)
    struct.pack_into("=Q", info, 0, _WITH_EXIT)
    try:
        fcntl.ioctl(pidfd, _GET_INFO, info)
    except OSError:
        return None
    [mask] = struct.unpack_from("=Q", info, 0)
    return struct.unpack_from("=i", info, _EXIT_AT)[0] if mask & _WITH_EXIT else None


def peak_memory(pid: int) -> int:
    """Return a process's peak memory use in bytes; 0 if unknown."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0


def oom_kills() -> int | None:
    """Return the number of OOM kills in this process's cgroup; None if unknown."""
    for path in _memory_events():
        with suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return None


def _memory_events() -> list[Path]:
    """Return the files that may count OOM kills: cgroup v2 first, then v1 (cgroups(7))."""
    paths: list[Path] = []
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            root = Path("/sys/fs/cgroup")
            if not controllers:
                paths.insert(0, root / group.lstrip("/") / "memory.events")
            elif "memory" in controllers.split(","):
                paths.append(root / "memory" / group.lstrip("/") / "memory.oom_control")
    return paths
