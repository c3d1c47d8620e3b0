"""What the operations need of a database: named statements and locks within one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from .rows import Row

Lockable = Literal["worker", "job", "queue"]
Params = Sequence[Any] | Mapping[str, Any]


class Executor(Protocol):
    """Runs named statements in one transaction on one connection."""

    @property
    def excludes_writers(self) -> bool:
        """Whether no other transaction can write meanwhile, so that rows need no locks."""
        ...

    async def rows(self, name: str, params: Params = ()) -> list[Row]:
        """Run a statement and return its rows."""
        ...

    async def many(self, name: str, params: Iterable[Params]) -> list[Row]:
        """Run a statement for each set of parameters and return all rows."""
        ...

    async def change(self, name: str, params: Iterable[Params]) -> int:
        """Run a statement for each set of parameters and return how many rows were changed.

        Where `excludes_writers`, what triggers change may count.
        """
        ...

    async def lock(self, what: Lockable, keys: Sequence[str], *, shared: bool = False) -> None:
        """Hold rows until the transaction ends, in the order of their keys.

        Waits while other transactions hold them. Not called where `excludes_writers`.
        """
        ...

    async def limit_waits(self) -> None:
        """Have this transaction wait for a lock for some seconds only, and say who holds it."""
        ...

    async def try_lock_queue(self, name: str, *, patiently: bool) -> bool:
        """Hold a queue until the transaction ends; return whether no other transaction holds it.

        `patiently`: wait for a quarter of a second, and then fail. The transaction is then repeated
        with `passes_over`.
        """
        ...
