"""A worker's health file: the worker writes it every second, a probe reads it.

The probe needs no connection to the worker. A worker whose event loop is blocked, or whose store
does not answer, does not write, so the age of the file shows it.
"""

from __future__ import annotations

import os
from contextlib import suppress

import msgspec

from ..core.foreign_text import escape_json
from ..core.job import WorkerInfo
from ..core.serving_workers import describe_sickness
from ..core.unreadable import UNREADABLE
from ..system.process_identity import boot_id, pid_started

# The age, in seconds, at which the file is stale: many times the pause between two writes, so that
# a slow moment does not count.
FRESH = 15.0
READY, QUIET, DRAINING, SICK = "ready", "quiet", "draining", "sick"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a worker at one moment. `boot_id` and `pid_started` make its pid unique.

    `sick` maps the kinds of job that its machine cannot start to the reasons.
    """

    worker: str
    state: str
    running: int
    slots: int
    at: float
    pid: int
    pid_started: float
    boot_id: str
    sick: dict[str, str] = msgspec.field(default_factory=dict)


class HealthVerdict(msgspec.Struct, frozen=True):
    """Whether a worker is healthy, and why."""

    ok: bool
    text: str


def health(info: WorkerInfo, now: float) -> Health:
    """Return the health of a worker from its description."""
    return Health(
        worker=info.id,
        state=state_of(info),
        running=info.running,
        slots=info.slots,
        at=now,
        pid=info.pid,
        pid_started=info.pid_started,
        boot_id=info.boot_id,
        sick=info.sick,
    )


def state_of(info: WorkerInfo) -> str:
    """Return the state of a worker: draining, quiet, sick or ready."""
    if info.draining:
        return DRAINING
    if info.quiet:
        return QUIET
    return SICK if info.sick else READY


def judge(
    found: Health | None, *, now: float, gone: bool = False, ready: bool = False
) -> HealthVerdict:
    """Decide whether a worker is alive; with `ready`, also whether it claims jobs.

    `gone`: its process would be visible here, and does not exist. A timestamp far in the future is
    as wrong as an old one: the clock was set.
    """
    if found is None:
        return HealthVerdict(ok=False, text="no worker has written the health file")
    name = f"worker {found.worker}"
    if gone:
        return HealthVerdict(ok=False, text=f"{name} is gone: process {found.pid} has ended")
    if abs(now - found.at) > FRESH:
        return HealthVerdict(
            ok=False, text=f"{name} last wrote its health {now - found.at:.0f} s ago"
        )
    text = f"{name} is {found.state}, {found.running} of {found.slots} slots busy"
    if found.sick:
        text += f"; this machine cannot start {describe_sickness(found.sick)}"
    return HealthVerdict(ok=not ready or found.state == READY, text=text)


def is_gone(found: Health) -> bool:
    """Whether the process has surely ended. False where it is not visible from here."""
    is_visible = found.boot_id != "" and found.boot_id == boot_id()
    return is_visible and pid_started(found.pid) != found.pid_started


def read(path: str) -> Health | None:
    """Return what was written last; None if nothing can be read."""
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=Health)
    except (OSError, *UNREADABLE):
        return None


def write(path: str, found: Health) -> None:
    """Replace the file atomically; only this user can read it. OSError if that fails.

    It need not survive a power cut, so nothing is synced.
    """
    new = f"{path}.new"
    # Created anew: in /tmp it may be another user's file, or a link to one of ours.
    with suppress(FileNotFoundError):
        os.unlink(new)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(escape_json(msgspec.json.encode(found).decode()).encode() + b"\n")
    os.replace(new, path)


def remove(path: str) -> None:
    """Remove the file, as the worker has ended."""
    with suppress(OSError):
        os.unlink(path)
