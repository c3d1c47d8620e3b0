"""Bounds the log lines that clients and jobs can cause: an event is logged once a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

# Seconds between two records of the same event.
EVERY = 1.0
MAX_EVENTS = 1000
# Whatever a client sends, the server's log lines come from these.
LOGGERS = ("conveyor.server", "uvicorn.error", "asyncio")
# A job can cause any number of lines of these, and a store that does not answer as well.
WORKER_LOGGERS = ("conveyor.event_loop", "conveyor.output_sender", "conveyor.job_files")


class RepeatFilter(logging.Filter):
    """Drops a record if its event was logged within a second; the next one says how many were.

    Records are of the same event if they have the same format string, whatever its arguments: they
    may come from the client. `elapsed` is a monotonic clock.
    """

    def __init__(self, elapsed: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._elapsed = elapsed
        # event -> when it was last logged, and how often it was dropped since
        self._events: dict[tuple[str, object], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record."""
        # asyncio appends the exception and the socket, in further lines.
        format_string = str(record.msg).partition("\n")[0]
        event = format_string, record.exc_info[0] if record.exc_info else None
        now = self._elapsed()
        logged_at, dropped = self._events.get(event, (-EVERY, 0))
        if now - logged_at < EVERY:
            self._events[event] = logged_at, dropped + 1
            return False
        if len(self._events) >= MAX_EVENTS:
            self._events.clear()
        self._events[event] = now, 0
        if dropped:
            record.msg, record.args = f"{record.getMessage()} dropped={dropped}", ()
        return True


@contextmanager
def bounded_log(
    names: Sequence[str] = LOGGERS, elapsed: Callable[[], float] = time.monotonic
) -> Generator[None]:
    """Bound the log lines of these loggers within the context."""
    repeats = RepeatFilter(elapsed)
    for name in names:
        logging.getLogger(name).addFilter(repeats)
    try:
        yield
    finally:
        for name in names:
            logging.getLogger(name).removeFilter(repeats)
