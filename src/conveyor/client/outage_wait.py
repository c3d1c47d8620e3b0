"""How long waiting for a job also waits for a server that cannot be reached."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ..errors import PassingError, UsageError

# How long a server may be unreachable, in seconds: time to restart a machine or pull an image.
MAX_OUTAGE = 300.0
# A store always gets this long to answer, in seconds, however little of a timeout is left.
MIN_ANSWER_TIME = 1.0


class OutageWait:
    """Waits at most `timeout` seconds in all, and at most `MAX_OUTAGE` for one outage."""

    def __init__(
        self, timeout: float | None = None, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        if timeout is not None and not _is_number(timeout):
            raise UsageError(f"timeout must be a number of seconds or None, got {timeout!r}")
        if timeout is not None and timeout < 0:
            raise UsageError(f"timeout must be 0 or more seconds, got {timeout!r}")
        self._elapsed = elapsed
        self._deadline = math.inf if timeout is None else elapsed() + timeout
        self._outage_since: float | None = None

    @property
    def left(self) -> float:
        """The rest of the timeout, in seconds."""
        return self._deadline - self._elapsed()

    @property
    def answer_timeout(self) -> float | None:
        """How long one answer may take, in seconds; None for the store's own timeout."""
        return None if math.isinf(self._deadline) else max(MIN_ANSWER_TIME, self.left)

    def server_answered(self) -> None:
        """End the outage: the next one may last as long again."""
        self._outage_since = None

    def tolerate(self, error: PassingError) -> None:
        """Begin or continue an outage; raise `error` once it has lasted too long."""
        now = self._elapsed()
        if self._outage_since is None:
            self._outage_since = now
        if now >= min(self._deadline, self._outage_since + MAX_OUTAGE):
            raise error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not math.isnan(value)
