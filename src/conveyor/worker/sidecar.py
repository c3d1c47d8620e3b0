"""Sees to it that a worker's leases are kept while its event loop cannot, and after its end."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from ..errors import ConveyorError
from ..store.messages import Lease, Report
from ..store.protocol import Store
from ..system.crash_journal import CrashJournal
from ..system.process_exit import open_pidfd
from . import sidecar_process


class Keeping:
    """Within its context a keeper runs beside the worker, where `keep` and the store let it.

    With jobs `left` at the end, whose code still runs, that goes on: to keep their leases, and to
    hand them back when this process ends. Where there is no keeper a thread keeps them.
    """

    def __init__(
        self,
        *,
        store: Store,
        worker: str,
        lease_for: float,
        places: int,
        board: Callable[[], CrashJournal | None],
        left: Sequence[Report],
        keep: bool,
    ) -> None:
        self._store = store
        self._worker = worker
        self._lease_for = lease_for
        self._places = places
        self._board = board
        self._left = left
        self._keep = keep and store.is_multi_process
        self.keeper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if self._keep:
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._left:
            if self.keeper is not None:
                sidecar_process.stop(self.keeper)
        elif self.keeper is None:
            threading.Thread(target=self._keep_left, name="conveyor-left", daemon=True).start()

    def _start(self) -> None:
        board = self._board()
        pidfd = open_pidfd(os.getpid())
        ward = sidecar_process.Ward(
            url=self._store.url,
            worker=self._worker,
            lease_for=self._lease_for,
            pid=os.getpid(),
            pidfd=pidfd,
            begun="" if board is None else board.name,
            held=-1 if board is None else board.descriptor,
            places=self._places,
        )
        self.keeper = sidecar_process.start(ward, self._store.secret)
        if pidfd >= 0:
            os.close(pidfd)

    def _keep_left(self) -> None:
        leases = [Lease(report.id, report.lease) for report in self._left]
        every = self._lease_for / 4
        while True:
            time.sleep(every)
            with suppress(ConveyorError, TimeoutError):
                self._store.extend(leases, lease_for=self._lease_for).result(every)
