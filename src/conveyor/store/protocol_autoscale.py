"""The part of the store protocol for autoscalers: the load, and which autoscaler leads."""

from __future__ import annotations

from typing import Protocol

from ..core.pending import Pending
from .messages import Leader, Load


class ScalerStore(Protocol):
    """For autoscalers. Any number may run at once; only the leader acts."""

    def load(self, *, limit: int, queue: str | None = None) -> Pending[list[Load]]:
        """Return the load by queue and required labels, in this order; at most `limit` rows.

        With `queue`, only that of one queue, at a cost that does not depend on the others.

        Jobs that are due later and jobs of a paused queue do not count as waiting: no worker could
        claim them. At a queue of capacity 0, offered jobs count. There is no row for nothing.

        In SQLite the jobs of a queue that require no label cost nothing to count; those that do
        cost about 30 ms a million, in which nothing else is done. In memory none is counted, but
        the first look at jobs of several priorities takes about a second a million.
        """
        ...

    def lead(
        self, name: str, holder: str, *, hold: float, note: str | None = None
    ) -> Pending[Leader]:
        """Take or keep the leadership `name` for `hold` seconds, if it is free or the holder's own.

        Returns the leader: the holder, or another one, and then nothing has changed. Leadership
        lapses by the store's clock; `hold=0` gives it up at once. `note`, at most 1 MiB of UTF-8,
        replaces the last note if the holder leads; a note outlives its holder, so that the next
        leader continues from it. Each process needs its own `holder`.
        """
        ...

    def leader(self, name: str) -> Pending[Leader | None]:
        """Return the current or last leader; None if there never was one."""
        ...
