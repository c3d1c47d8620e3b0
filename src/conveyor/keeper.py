"""Renews one worker's leases from outside, so that no job can stall that: a process of its own.

A job that blocks the event loop, or a C call that holds the GIL, stops every thread of the worker;
a small process beside it goes on. It ends with its worker, and it stays its hand while the worker
is frozen, because a stopped worker is not to be told from a dead one by those who wait for it.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys

from .errors import ConveyorError
from .identity import is_frozen
from .store import open_store

# It finds modules where the worker does.
BOOT = "import sys; sys.path[:] = sys.argv[5:]; from conveyor.keeper import main; main()"


def start(url: str, worker: str, lease_for: float) -> subprocess.Popen[bytes]:
    """Start a keeper for a worker of this process. Closing its stdin ends it."""
    arguments = [url, worker, str(lease_for), str(os.getpid())]
    command = [sys.executable, "-c", BOOT, *arguments, *sys.path]
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )


def stop(keeper: subprocess.Popen[bytes]) -> None:
    """End a keeper and wait for it."""
    if keeper.stdin is not None:
        keeper.stdin.close()
    try:
        keeper.wait(5)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()


def keep(url: str, worker: str, lease_for: float, parent: int) -> None:
    """Renew until the worker is gone."""
    store = None
    while not _worker_ended(lease_for / 4):
        if os.getppid() != parent:
            return
        if is_frozen(parent):
            continue
        try:
            store = store or open_store(url)
            store.extend_worker(worker, lease_for=lease_for).result(timeout=lease_for / 4)
        except (ConveyorError, TimeoutError):
            continue  # the worker renews as well, and says what is wrong


def _worker_ended(seconds: float) -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable)


def main() -> None:
    """Keep as the command line says: url, worker, seconds, pid of the worker."""
    url, worker, lease_for, parent = sys.argv[1:5]
    keep(url, worker, float(lease_for), int(parent))
