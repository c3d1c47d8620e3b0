"""A worker's health in a file: written by the worker every second, judged by a probe.

The probe has no connection to the worker, and wants none: a worker whose event loop is blocked, or
whose store does not answer, does not write, and that is what the age of the file says.
"""

from __future__ import annotations

import os
from contextlib import suppress

import msgspec

from ..core.job import WorkerInfo
from ..system.process_identity import boot_id, pid_started

# Many times what a worker takes between two writes, so that a slow moment is not an illness.
FRESH = 15.0
READY, QUIET, DRAINING = "ready", "quiet", "draining"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker was at one moment. `boot_id` and `pid_started` tell its pid from others'."""

    worker: str
    state: str
    running: int
    slots: int
    at: float
    pid: int
    pid_started: float
    boot_id: str


class Verdict(msgspec.Struct, frozen=True):
    """Whether all is well, and why."""

    ok: bool
    text: str


def health(info: WorkerInfo, now: float) -> Health:
    """Return what is to be known of a worker."""
    return Health(
        worker=info.id,
        state=state_of(info),
        running=info.running,
        slots=info.slots,
        at=now,
        pid=info.pid,
        pid_started=info.pid_started,
        boot_id=info.boot_id,
    )


def state_of(info: WorkerInfo) -> str:
    """Return whether a worker takes jobs, in a word."""
    return DRAINING if info.draining else QUIET if info.quiet else READY


def judge(found: Health | None, *, now: float, gone: bool = False, ready: bool = False) -> Verdict:
    """Decide whether a worker lives; with `ready`, also whether it takes jobs.

    `gone` says that its process was looked for where it would be seen, and is not there. A moment
    far ahead is as wrong as one long past: the clock was set.
    """
    if found is None:
        return Verdict(ok=False, text="no worker has written it")
    who = f"worker {found.worker}"
    if gone:
        return Verdict(ok=False, text=f"{who} is gone: there is no process {found.pid} of its age")
    if abs(now - found.at) > FRESH:
        return Verdict(ok=False, text=f"{who} was last heard of {now - found.at:.0f} s ago")
    said = f"{who} is {found.state}, {found.running} of {found.slots} slots busy"
    return Verdict(ok=not ready or found.state == READY, text=said)


def is_gone(found: Health) -> bool:
    """Whether the process is surely not there any more. False where it cannot be seen from here."""
    seen_from_here = found.boot_id != "" and found.boot_id == boot_id()
    return seen_from_here and pid_started(found.pid) != found.pid_started


def read(path: str) -> Health | None:
    """Return what was written last; None if there is nothing that can be read."""
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=Health)
    except (OSError, msgspec.MsgspecError):
        return None


def write(path: str, found: Health) -> None:
    """Replace the file as a whole, so that a reader finds the old or the new. OSError says why not.

    It need not survive a power cut, so nothing is synced.
    """
    new = f"{path}.new"
    with open(new, "wb") as file:
        file.write(msgspec.json.encode(found) + b"\n")
    os.replace(new, path)


def remove(path: str) -> None:
    """Remove the file: there is no worker of which it could tell."""
    with suppress(OSError):
        os.unlink(path)
