"""How many requests are under way, and whether one may hold up the loop for the disk's sake.

To hand a commit to the store's thread and hear of its end takes as long as the commit itself, and
is worth that when many share one. A request that is alone has nobody to share with, and nobody whom
it holds up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from ..core.pending import blocking

# A disk that took longer twice in a row, in seconds, is not waited for again in the next while. A
# single time says nothing, as one commit of hundreds makes a checkpoint, unless it was LONG.
QUICK, LONG, WHILE = 0.005, 0.1, 1.0


class Traffic:
    """Counts requests. `elapsed` tells how much time has passed since some moment, in seconds."""

    def __init__(self, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._elapsed = elapsed
        self._going = 0
        self._was_slow = False
        self._slow_until = 0.0

    @contextmanager
    def going(self) -> Generator[None]:
        """Count a request that is under way."""
        self._going += 1
        try:
            yield
        finally:
            self._going -= 1

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Leave the one that waits out of account."""
        self._going -= 1
        try:
            yield
        finally:
            self._going += 1

    def moment(self) -> AbstractContextManager[None]:
        """Have what takes a moment done here and now, if that holds nobody up."""
        if self._going > 1 or self._elapsed() < self._slow_until:
            return nullcontext()
        return self._here()

    @contextmanager
    def _here(self) -> Generator[None]:
        began = self._elapsed()
        with blocking():
            yield
        ended = self._elapsed()
        took = ended - began
        is_slow = took > QUICK
        if is_slow and (self._was_slow or took > LONG):
            self._slow_until = ended + WHILE
        self._was_slow = is_slow
