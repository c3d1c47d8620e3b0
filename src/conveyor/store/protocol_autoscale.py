"""What a store tells whoever makes machines come and go: what waits, and who of them leads."""

from __future__ import annotations

from typing import Protocol

from ..core.pending import Pending
from .messages import Leader, Load


class ScalerStore(Protocol):
    """What a scaler needs. Any number may run at once; the one that leads acts."""

    def load(self, *, limit: int) -> Pending[list[Load]]:
        """Return what waits and runs, by queue and required labels, in this order; at most `limit`.

        Jobs that are due later do not wait, nor do those of a paused queue: no worker could be
        given one. At a queue of capacity 0 the jobs wait that producers offer. Where nothing waits
        or runs there is no row.

        In SQLite the jobs of a queue that require no label cost nothing to count; those that do
        cost about 30 ms a million, in which nothing else is done. In memory none is counted, but
        the first look at jobs of several priorities takes about a second a million.
        """
        ...

    def lead(
        self, name: str, holder: str, *, hold: float, note: str | None = None
    ) -> Pending[Leader]:
        """Take or keep the leadership `name` for `hold` seconds, if it is free or the holder's own.

        Returns who leads then: the holder, or somebody else, and then nothing has changed. What
        was taken is free again once it lapses by the store's clock; `hold=0` gives it up at once.
        `note`, of at most 1 MiB of UTF-8, replaces the last one if the holder leads by then; it
        stays when the holder changes, so that the next goes on where the last one stopped. Each
        process needs a `holder` of its own.
        """
        ...

    def leader(self, name: str) -> Pending[Leader | None]:
        """Return who leads, or led last; None if nobody ever did."""
        ...
