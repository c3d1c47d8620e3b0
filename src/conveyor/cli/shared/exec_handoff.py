"""Ends a worker whose threads do not: a new program in its place hands their jobs back.

No thread can be stopped from outside, but exec(2) ends all threads of a process at once and keeps
its number. So the worker's last step is to become this program. Only then, when none of the jobs'
code can run any more, does the store hear of them, and the next worker may begin.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import msgspec

from ...errors import ConveyorError
from ...store.messages import Report
from ...store.open import TOKEN, open_store
from ...system import crash_journal

BOOT = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from conveyor.cli.shared.exec_handoff import main; main()"
)
# How long the store may take to hear it, in seconds. After that, others find the worker dead.
PATIENCE = 3.0


class Leaving(msgspec.Struct, frozen=True):
    """What is left to do: tell the store, and exit with a code."""

    url: str
    worker: str
    reports: tuple[Report, ...]
    code: int


def leave(
    url: str, worker: str, reports: Sequence[Report], code: int, secret: str = ""
) -> NoReturn:
    """End every thread of this process, report, and exit with `code`.

    `secret` opens the store beside its url.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # nobody reads it, or it is closed
            stream.flush()
    # What is ignored stays ignored: a further signal must not cut this short.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    # No folder may be writable here, and the disk may be full.
    with crash_journal.anonymous_file() as file:
        file.write(msgspec.json.encode(Leaving(url, worker, tuple(reports), code)))
        file.seek(0)
        os.dup2(file.fileno(), 0)
        if secret:
            os.environ[TOKEN] = secret
        os.execv(sys.executable, [sys.executable, "-c", BOOT, *sys.path])  # noqa: S606 - ourselves


def main() -> NoReturn:
    """Do what stdin says."""
    left = msgspec.json.decode(sys.stdin.buffer.read(), type=Leaving)
    # A store may take longer than that to open.
    watch = threading.Timer(PATIENCE, os._exit, [left.code])
    watch.daemon = True
    watch.start()
    try:
        store = open_store(left.url)
        store.settle(left.reports).result(PATIENCE)
        store.leave(left.worker).result(PATIENCE)
        crash_journal.remove(store.folder, left.worker)
        store.close()
    except (ConveyorError, TimeoutError) as error:
        sys.stderr.write(
            f"conveyor: cannot return {len(left.reports)} jobs to the queue yet: {error}\n"
        )
        sys.stderr.flush()
    os._exit(left.code)
