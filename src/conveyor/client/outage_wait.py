"""For one who waits for a job: while the server is away, that is waited for too."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ..errors import PassingError

# How long a server may be away, in seconds: a machine starts anew, or an image is fetched first.
AWAY = 300.0
# What a store gets to answer in any case, in seconds, however little of a timeout is left.
LEAST = 1.0


class Patience:
    """How long somebody waits: `timeout` seconds in all, and `AWAY` for a server that is away."""

    def __init__(
        self, timeout: float | None = None, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        self._elapsed = elapsed
        self._deadline = math.inf if timeout is None else elapsed() + timeout
        self._away: float | None = None

    @property
    def left(self) -> float:
        """What is left of the timeout, in seconds."""
        return self._deadline - self._elapsed()

    @property
    def for_an_answer(self) -> float | None:
        """How long one answer may take, in seconds; None: as long as the store itself waits."""
        return None if math.isinf(self._deadline) else max(LEAST, self.left)

    def heard(self) -> None:
        """Hear that the server answers."""
        self._away = None

    def bear(self, error: PassingError) -> None:
        """Put up with a server that does not answer, or raise the error once that is too long."""
        now = self._elapsed()
        if self._away is None:
            self._away = now
        if now >= min(self._deadline, self._away + AWAY):
            raise error
