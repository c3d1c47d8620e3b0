"""How a process ended, as far as the kernel tells somebody who is not its parent.

The parent alone gets the exit status from wait(2). Others can read it of a zombie in
proc_pid_stat(5), field 52, and from Linux 6.15 on through a pidfd that was opened in time
(PIDFD_GET_INFO in linux/pidfd.h).
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


class Witness:
    """Watches a process of this machine until after its death.

    Give it what `open_pidfd` returned while that process surely lived.
    """

    def __init__(self, pid: int, pidfd: int) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._most = 0
        self._ooms = oom_kills()
        self.look()

    def look(self) -> None:
        """Note how much memory it has used so far."""
        self._most = max(self._most, peak(self._pid))

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, at most so long; say whether it has."""
        if self._pidfd < 0:
            return True
        return bool(select.select([self._pidfd], [], [], seconds)[0])

    def tell(self) -> str:
        """Say how it ended and what memory it used."""
        ooms = oom_kills()
        killed = self._ooms is not None and ooms is not None and ooms > self._ooms
        return evidence(exit_status(self._pid, self._pidfd), self._most, out_of_memory=killed)


def open_pidfd(pid: int) -> int:
    """Return a descriptor that stands for a process; -1 where there is no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, an old one, or forbidden by a sandbox
        return -1


def evidence(status: int | None, most: int, *, out_of_memory: bool) -> str:
    """Put into words how a process ended. `most` is the most bytes of memory it was seen to use."""
    parts: list[str] = []
    if status is not None:
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            parts.append(f"it exited with {code}")
        else:
            parts.append(f"it was killed by {signal.Signals(-code).name}")
    if out_of_memory:
        parts.append("the kernel killed for want of memory in its control group")
    elif status is not None and os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
        parts.append("which is also what the kernel does when memory runs out")
    if most:
        parts.append(f"it was seen to use {most / (1 << 20):.0f} MiB")
    return ", ".join(parts)


def exit_status(pid: int, pidfd: int) -> int | None:
    """Return the wait status of a process that has ended; None where that is not to be had."""
    with suppress(OSError, ValueError):
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
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
    [told] = struct.unpack_from("=Q", info, 0)
    return struct.unpack_from("=i", info, _EXIT_AT)[0] if told & _WITH_EXIT else None


def peak(pid: int) -> int:
    """Return how much memory a process has used at most, in bytes; 0 where that cannot be seen."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0


def oom_kills() -> int | None:
    """Return how often the kernel has killed in our control group for want of memory."""
    for path in _memory_events():
        with suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return None


def _memory_events() -> list[Path]:
    """Return where that may stand: cgroup v2 first, then v1 (cgroups(7))."""
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
