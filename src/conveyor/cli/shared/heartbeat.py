"""Says once a second that the worker lives: to a health file, and to the service manager."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from ...core.clock import elapsed
from ...core.job import WorkerInfo
from ...errors import UsageError
from ...system.sd_notify import READY, STOPPING, WATCHDOG, notify, status
from ...worker import health

log = logging.getLogger("conveyor.heartbeat")

# Rounds of upkeep are more frequent than this when much is due.
APART = 0.5


class Pulse:
    """What a worker calls after each round of upkeep. An empty name means that nobody listens."""

    def __init__(
        self, health_file: str, manager: str, *, elapsed: Callable[[], float] = elapsed
    ) -> None:
        self._file = health_file
        self._manager = manager
        self._elapsed = elapsed
        self._told_at = float("-inf")
        self._told = ""
        self._failed = False
        if health_file:
            _check(health_file)
            # What a worker before this one wrote says nothing of this one.
            health.remove(health_file)

    def tell(self, info: WorkerInfo) -> None:
        """Tell how the worker is, unless it was told just now."""
        now, state = self._elapsed(), health.state_of(info)
        if state == self._told and now - self._told_at < APART:
            return
        lines = [WATCHDOG, status(f"{state}, {info.running} of {info.slots} slots busy")]
        if not self._told:
            lines.insert(0, READY)
        if info.draining and self._told != state:
            lines.insert(0, STOPPING)
        self._told_at, self._told = now, state
        notify(self._manager, *lines)
        if self._file:
            self._write(info)

    def close(self) -> None:
        """Tell that there is no worker any more."""
        notify(self._manager, STOPPING)
        if self._file:
            health.remove(self._file)

    def _write(self, info: WorkerInfo) -> None:
        try:
            health.write(self._file, health.health(info, time.time()))
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning("health.write_failed file=%s error=%s", self._file, error)
            self._failed = True


def _check(path: str) -> None:
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise UsageError(f"health_file {path!r}: the directory {folder!r} is not writable")
