"""The SQL store: the shared operations over one database's driver.

A database is added by a driver, a folder with its schema, and a `Dialect`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from ...core.pending import Pending
from ...system.file_threads import FileThreads
from ..blobs.protocol import BlobStore
from ..messages import Discards, HintKind, Listener
from ..operation_store import OperationStore, operations_of
from .operations import (
    admin,
    artifacts,
    autoscale,
    bulk,
    claim,
    enqueue,
    failures,
    integrity,
    job_lists,
    maintenance,
    marks,
    minutes,
    running_jobs,
    stacks,
    tasks,
    tokens,
    workers,
)
from .transaction import Tx

T = TypeVar("T")

OPERATIONS = operations_of(
    admin,
    artifacts,
    autoscale,
    bulk,
    claim,
    enqueue,
    failures,
    integrity,
    job_lists,
    maintenance,
    stacks,
    marks,
    minutes,
    running_jobs,
    tasks,
    tokens,
    workers,
)


class Driver(Protocol):
    """One database: its connections, its transactions, and hints between its processes."""

    @property
    def url(self) -> str:
        """The address by which another process on this machine reaches the same jobs."""
        ...

    @property
    def folder(self) -> str:
        """Where workers leave files that others on this machine may read."""
        ...

    @property
    def discards(self) -> Discards:
        """Jobs that committed transactions of this process discarded, until they are logged."""
        ...

    @property
    def blobs(self) -> BlobStore:
        """Where the contents of files are."""
        ...

    def now(self) -> float:
        """Return the time by the database's clock, which every transaction uses as well."""
        ...

    def submit(
        self, operation: Callable[[Tx], Coroutine[Any, Any, T]], *, reads: bool
    ) -> Pending[T]:
        """Run an operation completely or not at all, in the order of the calls.

        `reads` promises that it changes nothing.
        """
        ...

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        """Call `listener` for hints of these kinds from any process; returns how to stop."""
        ...

    def close(self) -> None:
        """Finish what was submitted, then release every resource."""
        ...


class SqlStore(OperationStore):
    """Jobs in an SQL database. May be used by any thread, and after a fork by the child too."""

    is_durable = is_multi_process = True

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver.blobs)
        self._driver = driver
        self._file_threads = FileThreads()

    @property
    def url(self) -> str:
        return self._driver.url

    @property
    def folder(self) -> str:
        return self._driver.folder

    @property
    def discards(self) -> Discards:
        return self._driver.discards

    def now(self) -> float:
        return self._driver.now()

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        return self._driver.listen(kinds, listener)

    def close(self) -> None:
        self._driver.close()

    def transact(
        self, operation: Callable[[Tx], Coroutine[Any, Any, T]], *, reads: bool
    ) -> Pending[T]:
        """Run an operation that is none of the protocol's, completely or not at all."""
        return self._driver.submit(operation, reads=reads)

    def _run(
        self, name: str, args: tuple[object, ...], kwargs: Mapping[str, object], *, reads: bool
    ) -> Pending[Any]:
        operation = OPERATIONS[name]
        return self._driver.submit(lambda tx: operation(tx, *args, **kwargs), reads=reads)

    def _run_blocking(self, work: Callable[[], T]) -> Pending[T]:
        return self._file_threads.run(work)
