"""Exits although threads still run: execs a new program, which returns their jobs.

A thread cannot be stopped from outside, but exec(2) ends all threads of a process at once and keeps
its pid. So the worker's last step is to become this program. Only then, when no code of the jobs
can run any more, are the jobs returned to the store, and another worker may begin them.
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

from ...core.foreign_text import escape_line
from ...errors import ConveyorError
from ...store.messages import Report
from ...store.open import TOKEN, open_store
from ...system import crash_journal
from ...system.own_program import own_program
from .exit_codes import UNREACHABLE

# How long the store may take, in seconds. After that, other workers rescue the jobs.
STORE_TIMEOUT = 3.0


class HandOff(msgspec.Struct, frozen=True):
    """What is left to do: report to the store, which `token` opens, and exit with a code."""

    url: str
    worker: str
    reports: tuple[Report, ...]
    code: int
    token: str = ""


def hand_off_and_exit(
    url: str, worker: str, reports: Sequence[Report], code: int, secret: str = ""
) -> NoReturn:
    """End every thread of this process, report, and exit with `code`.

    `secret` is the token of the store at `url`, or "".
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # it has no reader, or is closed
            stream.flush()
    # Blocked signals stay blocked across exec: another one must not interrupt this.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    # A file in memory, because no directory may be writable and the disk may be full.
    with crash_journal.anonymous_file() as file:
        file.write(msgspec.json.encode(HandOff(url, worker, tuple(reports), code, secret)))
        file.seek(0)
        os.dup2(file.fileno(), 0)
        # Every process of this user can read the environment.
        os.environ.pop(TOKEN, None)
        os.execv(sys.executable, own_program(__name__))  # noqa: S606 - ourselves


def main() -> NoReturn:
    """Carry out the hand-off that stdin describes."""
    left = msgspec.json.decode(sys.stdin.buffer.read(), type=HandOff)
    with suppress(OSError):
        os.ftruncate(0, 0)  # it contains the token
    # Opening the store may also take too long.
    watch = threading.Timer(STORE_TIMEOUT, os._exit, [left.code or UNREACHABLE])
    watch.daemon = True
    watch.start()
    try:
        store = open_store(left.url, token=left.token)
        store.settle(left.reports).result(STORE_TIMEOUT)
        store.leave(left.worker).result(STORE_TIMEOUT)
        crash_journal.remove(store.folder, left.worker)
        store.close()
    except (ConveyorError, TimeoutError) as error:
        sys.stderr.write(
            f"conveyor: cannot return {len(left.reports)} jobs to the queue yet: "
            f"{escape_line(str(error))}\n"
        )
        sys.stderr.flush()
        os._exit(left.code or UNREACHABLE)
    os._exit(left.code)
