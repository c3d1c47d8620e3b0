"""Renews one worker's leases from outside, and sees to its jobs when it dies: a small process.

A job that blocks the event loop, or a C call that holds the GIL, stops every thread of the worker;
a process beside it goes on. It stays its hand while the worker is frozen, because a stopped worker
is not to be told from a dead one by those who wait for it. When the worker dies it gives the jobs
back at once, with what is known of how that happened: nobody else was there to see it.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time

import msgspec

from ..errors import ConveyorError
from ..store.open import TOKEN, open_store
from ..store.protocol import Store
from ..system import crash_journal
from ..system.process_exit import ExitWatcher
from ..system.process_identity import is_frozen

# It finds modules where the worker does.
BOOT = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from conveyor.worker.sidecar_process import main; main()"
)
# What the worker says before it ends in good order; without it, it has died.
BYE = b"bye\n"
# How often it looks at the worker, in seconds.
LOOK = 5.0
# How long a process that has let go of everything may take to be gone, in seconds.
END = 30.0
BATCH = 1000
# How often, and how long in all, it tries to give the jobs back to a store that does not answer.
AGAIN, PATIENCE = 0.5, 60.0


class Ward(msgspec.Struct, frozen=True):
    """The worker that is kept: its store, id, lease and process.

    `pidfd` was opened by itself, so that its number cannot have become somebody else's. `held` is
    its open file that says what it has begun, with room for so many `places`; `begun` is the name
    of that beside the store.
    """

    url: str
    worker: str
    lease_for: float
    pid: int
    pidfd: int = -1
    begun: str = ""
    held: int = -1
    places: int = 0


def start(ward: Ward, secret: str = "") -> subprocess.Popen[bytes]:
    """Start a keeper. It shares the lock on the worker's file, and what opens the store."""
    told = msgspec.json.encode(ward).decode()
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-c", BOOT, told, *sys.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=os.environ | {TOKEN: secret} if secret else None,
        pass_fds=[each for each in (ward.pidfd, ward.held) if each >= 0],
        start_new_session=True,
    )


def stop(keeper: subprocess.Popen[bytes]) -> None:
    """End a keeper and wait for it."""
    if keeper.stdin is not None:
        try:
            keeper.stdin.write(BYE)
            keeper.stdin.close()
        except BrokenPipeError:
            pass  # it was killed
    try:
        keeper.wait(5)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()


def keep(ward: Ward) -> None:
    """Renew until the worker is gone, and give back what it leaves."""
    watcher = ExitWatcher(ward.pid, ward.pidfd)
    store: Store | None = None
    every = ward.lease_for / 4
    look = min(LOOK, every)
    renewed = time.monotonic()
    while (said := _hear(look, ward.pidfd)) is None:
        watcher.sample_memory()
        if time.monotonic() - renewed < every - look / 2 or is_frozen(ward.pid):
            continue
        try:
            store = store or open_store(ward.url)
            store.extend_worker(ward.worker, lease_for=ward.lease_for).result(every)
            renewed = time.monotonic()
        except (ConveyorError, TimeoutError):
            continue  # the worker renews as well, and says what is wrong
    if said != BYE and watcher.wait(END):
        _give_back(ward, watcher.describe(), store)


def _hear(seconds: float, pidfd: int) -> bytes | None:
    """Return what the worker says, nothing at all if it has ended; None if it is silent."""
    # A fork of the worker may hold the pipe open, so its end alone would not do.
    ears = [0, pidfd] if pidfd >= 0 else [0]
    readable, _, _ = select.select(ears, [], [], seconds)
    if 0 in readable:
        return os.read(0, len(BYE))
    return b"" if readable else None


def _give_back(ward: Ward, evidence: str, store: Store | None) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            store = store or open_store(ward.url)
            begun = crash_journal.read_open(ward.held, ward.places) if ward.held >= 0 else None
            while len(_rescue(store, ward.worker, begun, evidence)) == BATCH:
                continue
            store.leave(ward.worker).result(PATIENCE)
            crash_journal.remove(store.folder, ward.begun)
        except (ConveyorError, TimeoutError):
            time.sleep(AGAIN)
        else:
            return


def _rescue(store: Store, worker: str, begun: frozenset[str] | None, evidence: str) -> list[str]:
    pending = store.rescue(dead=[worker], begun=begun, evidence=evidence, limit=BATCH)
    return pending.result(PATIENCE)


def main() -> None:
    """Keep the worker that the command line names."""
    keep(msgspec.json.decode(sys.argv[1], type=Ward))
