"""Reports every second that the worker is alive, to a health file and the service manager."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from ...core.clock import elapsed
from ...core.event_log import open_event_log
from ...core.job import WorkerInfo
from ...errors import UsageError
from ...system.sd_notify import READY, STOPPING, WATCHDOG, notify, status
from ...worker import health

log = open_event_log("heartbeat")

# Maintenance rounds are more frequent than this when much is due. In seconds.
MIN_INTERVAL = 0.5


class Heartbeat:
    """Reports after each maintenance round. An empty file name or manager address disables it."""

    def __init__(
        self, health_file: str, manager: str, *, elapsed: Callable[[], float] = elapsed
    ) -> None:
        self._file = health_file
        self._manager = manager
        self._elapsed = elapsed
        self._reported_at = float("-inf")
        self._reported_state = ""
        self._failed = False
        if health_file:
            _check(health_file)
            # The file of an earlier worker must not describe this one.
            health.remove(health_file)

    def report(self, info: WorkerInfo) -> None:
        """Report the state of the worker, unless it was reported just now."""
        now, state = self._elapsed(), health.state_of(info)
        if state == self._reported_state and now - self._reported_at < MIN_INTERVAL:
            return
        lines = [WATCHDOG, status(f"{state}, {info.running} of {info.slots} slots busy")]
        if not self._reported_state:
            lines.insert(0, READY)
        if info.draining and self._reported_state != state:
            lines.insert(0, STOPPING)
        self._reported_at, self._reported_state = now, state
        notify(self._manager, *lines)
        if self._file:
            self._write(info)

    def close(self) -> None:
        """Report that the worker has ended."""
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
    if os.path.isdir(path):
        raise UsageError(f"health_file {path!r} is a directory; name a file in it")
