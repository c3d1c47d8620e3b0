"""The part of a store that joins transactions of the application, in the same database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ..core.job import NewJob, WhenFull
from .messages import Accepted


@runtime_checkable
class TransactionalStore(Protocol):
    """A store in a database of the application. What is called here takes effect at its commit.

    `connection` is one of the kinds in caller_connection.py. Unless `in_coroutine`, these methods
    never suspend. A UsageError says what is wrong with the connection.
    """

    @property
    def schema(self) -> str:
        """The schema with its tables."""
        ...

    async def insert_within(
        self,
        connection: object,
        jobs: Sequence[NewJob],
        *,
        capacity: int | None,
        when_full: WhenFull,
        in_coroutine: bool,
    ) -> Accepted:
        """Accept the jobs, all of one queue, or raise QueueFullError; `when_full` must not wait."""
        ...
