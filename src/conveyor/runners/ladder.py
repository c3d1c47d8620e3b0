"""Stops a process tree: SIGTERM, grace, SIGKILL, and a sweep of what left the session."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

# How often the tree is looked at while it is given time.
LOOK = 0.05
KILL = 5.0


async def stop_tree(pid: int, grace: float) -> tuple[str, ...]:
    """Stop the session that `pid` leads, with all descendants; return what it took, in words.

    `pid` stays a child of this process and is reaped by whoever started it. Returns when none of
    the tree runs any more, or `KILL` seconds after SIGKILL when the kernel does not let go.
    """
    started = time.monotonic()
    tree = members(pid)
    notes = [f"SIGTERM to {len(tree)} process(es)"]
    _signal(pid, tree, signal.SIGTERM)
    if not await _gone(pid, tree, grace):
        tree |= members(pid)
        left = [each for each in tree if _runs(each)]
        notes.append(f"SIGKILL to {len(left)} after {time.monotonic() - started:.1f} s")
        _signal(pid, tree, signal.SIGKILL)
        if not await _gone(pid, tree, KILL):
            notes.append("something did not die: it hangs in the kernel")
    return tuple(notes)


def sweep(pid: int, tree: set[int]) -> int:
    """Kill what is left of a tree whose leader has ended; return how many that were."""
    left = [each for each in tree | members(pid) if each != pid and _runs(each)]
    _signal(pid, set(left), signal.SIGKILL)
    return len(left)


def members(leader: int) -> set[int]:
    """Return the leader, its descendants, and whoever else is in the leader's session."""
    children: dict[int, list[int]] = defaultdict(list)
    found = {leader}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None:
            parent, session = int(stat[1]), int(stat[3])
            children[parent].append(int(entry.name))
            if session == leader:
                found.add(int(entry.name))
    waiting = list(found)
    while waiting:
        for child in children[waiting.pop()]:
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


async def _gone(pid: int, tree: set[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(_runs(each) for each in tree):
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(LOOK)
        tree |= members(pid) if _runs(pid) else set()
    return True


def _signal(leader: int, tree: set[int], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)
    for pid in tree - {leader}:
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) != leader:
                os.kill(pid, number)


def _runs(pid: int) -> bool:
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the third on: state, parent, group, session …"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
