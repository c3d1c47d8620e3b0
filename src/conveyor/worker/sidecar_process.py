"""Renews one worker's leases from outside, and returns its jobs when it dies: a small process.

A job that blocks the event loop, or a C call that holds the GIL, stops every thread of the worker;
a process beside it goes on. It does not renew while the worker is frozen, because others cannot
distinguish a frozen worker from a dead one. When the worker dies, it returns the jobs at once, with
evidence of how that happened: no other process was there to observe it.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from ..core.command_policy import without_secrets
from ..core.pending import run_sync
from ..errors import AccessError, ConveyorError
from ..job_log import log_discards
from ..store.call_style import BlockingCalls
from ..store.open import open_store
from ..store.page_walk import read_workers
from ..store.protocol import Store
from ..system import crash_journal
from ..system.own_program import own_program
from ..system.process_exit import ExitWatcher
from ..system.process_identity import is_frozen
from ..system.stderr_pipe import log_to_stderr

# What the worker writes before it ends in good order; without it, it has died.
BYE = b"bye\n"
# What it writes if the store did not accept the outcomes of its jobs: they are returned now.
RETURN = b"ret\n"
# How often it looks at the worker, in seconds.
LOOK_EVERY = 5.0
# How long a process that has closed everything may take to be gone, in seconds.
EXIT_WITHIN = 30.0
BATCH = 1000
# After this time it looks again for jobs, in seconds: where calls cross a network, a claim can be
# committed after the process that sent it is gone.
LOOK_AGAIN_AFTER = 1.0
# How often, and how long in all, it tries to return the jobs to a store that does not answer.
RETRY_AFTER, RETRY_FOR = 0.5, 60.0


class SidecarArguments(msgspec.Struct, frozen=True):
    """What a sidecar needs to know of its worker: its store, id, lease, process and log format.

    The worker opened `pidfd` itself, so that its pid cannot belong to another process by now.
    `journal_fd` is its open crash journal, with room for `slots` jobs; `journal_name` is the name
    of that file beside the store.
    """

    url: str
    worker: str
    lease_for: float
    pid: int
    pidfd: int = -1
    journal_name: str = ""
    journal_fd: int = -1
    slots: int = 0
    log_json: bool = False


def start(arguments: SidecarArguments, secret: str = "") -> subprocess.Popen[bytes]:
    """Start a sidecar. It shares the lock on the crash journal, and the token of the store."""
    encoded = msgspec.json.encode(arguments).decode()
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        own_program(__name__, encoded),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=without_secrets(os.environ),
        pass_fds=[each for each in (arguments.pidfd, arguments.journal_fd) if each >= 0],
        start_new_session=True,
    )
    assert process.stdin is not None, "it is a pipe"
    with suppress(BrokenPipeError):  # it was killed
        # Not in its environment, which every process of this user can read.
        process.stdin.write(secret.encode() + b"\n")
        process.stdin.flush()
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a sidecar and wait for it."""
    if process.stdin is not None:
        try:
            process.stdin.write(BYE)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it was killed
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def request_return(process: subprocess.Popen[bytes]) -> None:
    """Have a sidecar return the worker's jobs, for as long as it tries, and exit."""
    if process.stdin is not None:
        with suppress(BrokenPipeError):  # it was killed
            process.stdin.write(RETURN)
            process.stdin.close()


def watch(arguments: SidecarArguments, secret: str) -> None:
    """Renew until the worker is gone, and return the jobs that it leaves."""
    watcher = ExitWatcher(arguments.pid, arguments.pidfd)
    store: Store | None = None
    every = arguments.lease_for / 4
    look_every = min(LOOK_EVERY, every)
    renewed = time.monotonic()
    while (message := _read_message(look_every, arguments.pidfd)) is None:
        watcher.sample_memory()
        if time.monotonic() - renewed < every - look_every / 2 or is_frozen(arguments.pid):
            continue
        try:
            store = store or open_store(arguments.url, token=secret)
            store.extend_worker(arguments.worker, lease_for=arguments.lease_for).result(every)
            renewed = time.monotonic()
        except (ConveyorError, TimeoutError):
            continue  # the worker renews as well, and logs what is wrong
    if message == RETURN:
        return_jobs(arguments, "", store, secret)
    elif message != BYE and watcher.wait(EXIT_WITHIN):
        return_jobs(arguments, watcher.describe(), store, secret)


def return_jobs(
    arguments: SidecarArguments,
    evidence: str,
    store: Store | None,
    secret: str,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Return the jobs of the worker, which has ended, and remove it from the store."""
    deadline = time.monotonic() + RETRY_FOR
    while time.monotonic() < deadline:
        try:
            store = store or open_store(arguments.url, token=secret)
            begun = _read_journal(arguments)
            _rescue_all(store, arguments.worker, begun, evidence)
            if _claims_may_be_late(store) and _is_known(store, arguments.worker):
                pause(LOOK_AGAIN_AFTER)
                _rescue_all(store, arguments.worker, begun, evidence)
            store.leave(arguments.worker).result(RETRY_FOR)
            crash_journal.remove(store.folder, arguments.journal_name)
        except AccessError:  # the token was revoked: the leases expire
            return
        except (ConveyorError, TimeoutError):
            pause(RETRY_AFTER)
        else:
            return


def _read_message(timeout: float, pidfd: int) -> bytes | None:
    """Return what the worker writes, nothing at all if it has ended; None after the timeout."""
    # A fork of the worker may hold the pipe open, so its end alone would not do.
    sources = [0, pidfd] if pidfd >= 0 else [0]
    readable, _, _ = select.select(sources, [], [], timeout)
    if 0 in readable:
        return os.read(0, len(BYE))
    return b"" if readable else None


def _claims_may_be_late(store: Store) -> bool:
    # A server's claims are confirmed by the worker, or return by themselves.
    return store.can_be_partitioned and not store.answers_can_be_lost


def _is_known(store: Store, worker: str) -> bool:
    """Whether a worker has not left the store: then it has died."""
    known = run_sync(read_workers(BlockingCalls(), store, RETRY_FOR))
    return any(each.id == worker for each in known)


def _read_journal(arguments: SidecarArguments) -> frozenset[str] | None:
    if arguments.journal_fd < 0:
        return None
    return crash_journal.read_open(arguments.journal_fd, arguments.slots)


def _rescue_all(store: Store, worker: str, begun: frozenset[str] | None, evidence: str) -> None:
    rescued = BATCH
    while rescued == BATCH:
        pending = store.rescue(dead=[worker], begun=begun, evidence=evidence, limit=BATCH)
        rescued = len(pending.result(RETRY_FOR))
    log_discards(store.discards)


def main() -> None:
    """Run beside the worker that the command line describes."""
    arguments = msgspec.json.decode(sys.argv[1], type=SidecarArguments)
    log_to_stderr(as_json=arguments.log_json)
    watch(arguments, _read_secret())


def _read_secret() -> str:
    """Read the first line of stdin, and nothing of what follows."""
    line = b""
    while (byte := os.read(0, 1)) not in (b"\n", b""):
        line += byte
    return line.decode()
