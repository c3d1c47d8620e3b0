"""Writes to a stderr that may be a pipe which nobody reads: what does not fit is dropped.

A write to a full pipe blocks, and with it the event loop or the thread that handles signals.
"""

from __future__ import annotations

import logging
import select
from typing import Any

from ..core.log_format import TEXT_FORMAT, JsonFormatter, TextFormatter

# How long a message may wait for room, in seconds, and how long once one had to be dropped.
PATIENCE, NO_PATIENCE = 1.0, 0.0


def has_room(stream: Any, seconds: float) -> bool:
    """Whether a short text can be written within some seconds without blocking."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
    except (OSError, ValueError, AttributeError):  # it is closed, or no file
        return True
    return bool(poll.poll(1000 * seconds))


class DroppingHandler(logging.StreamHandler[Any]):
    """Logs to a stream, and drops records for which there is no room in time."""

    def __init__(self) -> None:
        super().__init__()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, after a line that says how many were dropped before."""
        if not has_room(self.stream, NO_PATIENCE if self._dropped else PATIENCE):
            self._dropped += 1
            return
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self.stream.write(f"{dropped} log records were dropped: nobody read stderr\n")
        super().emit(record)


def log_to_stderr(*, as_json: bool = False) -> None:
    """Have everything that this process logs printed on stderr."""
    handler = DroppingHandler()
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter(TEXT_FORMAT))
    logging.getLogger().addHandler(handler)
