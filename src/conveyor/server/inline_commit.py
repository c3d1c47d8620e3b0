"""Decides whether a request may commit in the event loop instead of the store's thread.

Handing a commit to the store's thread and waiting for it takes as long as the commit itself. It is
worth that when many requests share one commit. A lone request has no other to share with, and
blocking the event loop for its commit delays no other request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from ..core.pending import blocking

# In seconds. After two SLOW commits in a row, or a VERY_SLOW one, no commit is made in the event
# loop for the PAUSE. One slow commit means nothing: one in hundreds includes a checkpoint.
SLOW, VERY_SLOW, PAUSE = 0.005, 0.1, 1.0


class InlineCommit:
    """Counts the requests in progress. `elapsed` is a monotonic clock."""

    def __init__(self, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._elapsed = elapsed
        self._requests = 0
        self._last_was_slow = False
        self._paused_until = 0.0

    @contextmanager
    def count_request(self) -> Generator[None]:
        """Count a request that is in progress."""
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    @contextmanager
    def exclude_waiting(self) -> Generator[None]:
        """Do not count a request while it only waits."""
        self._requests -= 1
        try:
            yield
        finally:
            self._requests += 1

    def commit_here_if_alone(self) -> AbstractContextManager[None]:
        """Make the store commit in this thread within the context, if no other request waits."""
        if self._requests > 1 or self._elapsed() < self._paused_until:
            return nullcontext()
        return self._commit_here()

    @contextmanager
    def _commit_here(self) -> Generator[None]:
        started = self._elapsed()
        with blocking():
            yield
        ended = self._elapsed()
        took = ended - started
        is_slow = took > SLOW
        if is_slow and (self._last_was_slow or took > VERY_SLOW):
            self._paused_until = ended + PAUSE
        self._last_was_slow = is_slow
