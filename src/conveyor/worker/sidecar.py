"""Starts a worker's sidecar, which renews the leases when the worker itself cannot."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import time
from contextlib import suppress
from typing import Self

from ..core.event_log import open_event_log
from ..core.log_format import logs_json
from ..core.loop_backoff import DoublingBackoff
from ..errors import ConveyorError
from ..store.messages import Lease
from ..store.protocol import Store
from ..system.crash_journal import CrashJournal
from ..system.process_exit import open_pidfd
from . import sidecar_process
from .held_jobs import HeldJobs

log = open_event_log("sidecar")

# How often it is checked whether the process still runs, and the pauses before it is started again,
# in seconds.
CHECK_EVERY, FIRST_PAUSE, LONGEST_PAUSE = 1.0, 0.1, 60.0


class Sidecar:
    """Within its context a sidecar process runs beside the worker, if it is `enabled`.

    While threads are left at the end, the process goes on: it renews their leases, and returns
    their jobs when this process has ended. Without a sidecar process a thread renews the leases.
    It also returns what a worker that failed could not report.
    """

    def __init__(
        self,
        *,
        store: Store,
        worker: str,
        lease_for: float,
        slots: int,
        journal: CrashJournal | None,
        held: HeldJobs,
        enabled: bool,
    ) -> None:
        self._store = store
        self._worker = worker
        self._lease_for = lease_for
        self._slots = slots
        self._journal = journal
        self._held = held
        self._enabled = enabled
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if self._enabled:
            self._try_to_start()
        return self

    async def keep(self) -> None:
        """Start the process again whenever it has ended, until cancelled."""
        backoff = DoublingBackoff(FIRST_PAUSE, LONGEST_PAUSE)
        started = time.monotonic()
        while self._enabled:
            await asyncio.sleep(CHECK_EVERY)
            process = self.process
            if process is not None and process.poll() is None:
                continue
            if time.monotonic() - started > LONGEST_PAUSE:
                backoff.reset()
            pause = backoff.next_pause()
            code = None if process is None else process.returncode
            log.warning("sidecar.ended code=%s restart_in=%.1f", code, pause)
            await asyncio.sleep(pause)
            self._try_to_start()
            started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        held = self._held
        if self.process is not None:
            if held.threads_left or len(held):
                pass  # it waits for the end of this process, and of their code
            elif held.unreported:
                sidecar_process.request_return(self.process)
            else:
                sidecar_process.stop(self.process)
        elif held.threads_left:
            threading.Thread(target=self._renew_left, name="conveyor-left", daemon=True).start()

    def _try_to_start(self) -> None:
        self.process = None
        try:
            self._start()
        except OSError as error:  # `keep` tries again
            log.error("sidecar.not_started error=%s", error)  # noqa: TRY400 - no traceback helps here

    def _start(self) -> None:
        journal = self._journal
        pidfd = open_pidfd(os.getpid())
        arguments = sidecar_process.SidecarArguments(
            url=self._store.url,
            worker=self._worker,
            lease_for=self._lease_for,
            pid=os.getpid(),
            pidfd=pidfd,
            journal_name="" if journal is None else journal.name,
            journal_fd=-1 if journal is None else journal.descriptor,
            slots=self._slots,
            log_json=logs_json(),
        )
        try:
            self.process = sidecar_process.start(arguments, self._store.secret)
        finally:
            if pidfd >= 0:
                os.close(pidfd)

    def _renew_left(self) -> None:
        leases = [Lease(report.id, report.lease) for report in self._held.threads_left]
        every = self._lease_for / 4
        while True:
            time.sleep(every)
            with suppress(ConveyorError, TimeoutError):
                self._store.extend(leases, lease_for=self._lease_for).result(every)
