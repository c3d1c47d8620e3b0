"""Stops a process tree: SIGTERM, grace, SIGKILL, until nothing of it runs any more."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

# How often the tree is looked at while it is given time: often at first, then less so.
FIRST_LOOK = 0.01
LONGEST_LOOK = 0.5
# How long after SIGKILL the kernel gets to take the processes away.
KILL = 5.0
PROC = Path("/proc/self/stat").exists()


async def stop_tree(leader: int, grace: float, ended: asyncio.Future[Any]) -> tuple[str, ...]:
    """Stop the session that `leader` leads with all descendants; return what it took, in words.

    `ended` is done once the leader itself is not to be waited for any more. The leader must not
    be reaped before this returns: until then nobody else can be given its number.
    """
    started = time.monotonic()
    tree = Tree(leader, ended)
    notes = [f"SIGTERM to {_count(tree.signal(signal.SIGTERM))}"]
    if not await _gone(tree, grace):
        left = tree.signal(signal.SIGKILL)
        notes.append(f"SIGKILL to {_count(left)} after {time.monotonic() - started:.1f} s")
        if not await _gone(tree, KILL, again=signal.SIGKILL):
            notes.append(f"held by the kernel in spite of SIGKILL: {sorted(tree.running())}")
    return tuple(notes)


def kill_group(leader: int) -> None:
    """Kill what is left of a process group whose leader is not yet reaped."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


class Tree:
    """The processes of a session and all their descendants, also those that left the session.

    Each is known by its number and the time it started, so that a number which the kernel has
    given to somebody else is not taken for the old process. Where there is no /proc, only the
    leader and its group are known.
    """

    def __init__(self, leader: int, ended: asyncio.Future[Any]) -> None:
        self._leader = leader
        self._ended = ended
        self._known: dict[int, int] = {}
        self.look()

    def look(self) -> None:
        """Find members that were not known yet. Who was a member once stays one."""
        everybody = _processes()
        children: dict[int, list[int]] = defaultdict(list)
        for pid, process in everybody.items():
            children[process.parent].append(pid)
        session = [pid for pid, process in everybody.items() if process.session == self._leader]
        waiting = [self._leader, *session, *self.running()]
        seen: set[int] = set()
        while waiting:
            pid = waiting.pop()
            if pid not in seen and pid in everybody:
                seen.add(pid)
                self._known.setdefault(pid, everybody[pid].started)
                waiting.extend(children[pid])

    def running(self) -> set[int]:
        """Return the members that still have to end."""
        found = _processes(self._known)
        alive = {
            pid
            for pid, started in self._known.items()
            if pid in found and found[pid].started == started and found[pid].alive
        }
        if not PROC:
            alive = {self._leader}
        return alive - {self._leader} if self._ended.done() else alive

    def signal(self, number: signal.Signals) -> int:
        """Send a signal to every running member; return how many that were."""
        running = self.running()
        # The group at once, so that a member which is just forking cannot slip through.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._leader, number)
        for pid in running - {self._leader}:
            with suppress(ProcessLookupError, PermissionError):
                if os.getpgid(pid) != self._leader:
                    os.kill(pid, number)
        return len(running)

    async def wait(self, seconds: float) -> None:
        """Wait, but not longer than until the leader has ended."""
        if self._ended.done():
            await asyncio.sleep(seconds)
        else:
            await asyncio.wait([self._ended], timeout=seconds)


class Process(NamedTuple):
    """A line of the process table."""

    parent: int
    session: int
    started: int
    alive: bool


async def _gone(tree: Tree, seconds: float, again: signal.Signals | None = None) -> bool:
    deadline = time.monotonic() + seconds
    pause = FIRST_LOOK
    while tree.running():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        await tree.wait(min(pause, left))
        pause = min(LONGEST_LOOK, pause * 2)
        tree.look()
        if again is not None:
            tree.signal(again)
    return True


def _count(processes: int) -> str:
    return "1 process" if processes == 1 else f"{processes} processes"


def _processes(pids: Iterable[int] | None = None) -> dict[int, Process]:
    """Return the process table, or the part of it that is asked for; see proc_pid_stat(5)."""
    if not PROC:
        return {}
    if pids is None:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    found: dict[int, Process] = {}
    for pid in pids:
        with suppress(OSError):
            # The name stands in parentheses and may hold anything, so count from its end.
            stat = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
            found[pid] = Process(int(stat[1]), int(stat[3]), int(stat[19]), stat[0] not in b"ZX")
    return found


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()
