"""Opens the SQL store over a schema of a PostgreSQL database."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ...core.capacity import is_rendezvous
from ...core.clock import Clock
from ...core.job import NewJob, WhenFull, WorkerInfo
from ...core.pending import Pending
from ...core.retry import Draw
from ...core.storable import check_jobs
from ...errors import ConveyorError, UsageError
from ..caller_connection import caller_connection
from ..messages import NO_CLAIMANT, Accepted, Claimant, Offered, Order, Report, Want
from ..sql.operations.claim import exchange
from ..sql.operations.enqueue import insert
from ..sql.store import SqlStore
from ..sql.transaction import Tx
from . import quick_exchange, quick_insert, quick_join
from .address import parse_address
from .driver import PostgresDriver
from .quick_prune import QuickPrune

# How many workers are remembered that have sent a heartbeat by this store.
KNOWN_WORKERS = 10_000


class PostgresStore(SqlStore):
    """Jobs in a PostgreSQL database that many machines share.

    The schema must exist: `conveyor migrate` makes it. `password` is for an address without one.
    `draw` supplies the randomness of retry jitter. `for_move` also opens a store whose jobs are
    moved.
    """

    is_local = keeps_call_order = False
    can_be_partitioned = True

    def __init__(
        self,
        url: str,
        *,
        password: str = "",
        clock: Clock | None = None,
        draw: Draw = random.random,
        for_move: bool = False,
    ) -> None:
        address = parse_address(url, password)
        self.schema = address.schema
        # Passed to the worker's other processes beside the address, which everybody can see.
        self.secret = address.secret
        self._postgres = PostgresDriver(address, clock=clock, draw=draw, for_move=for_move)
        self._pruning = QuickPrune()
        self._known_workers: set[str] = set()
        super().__init__(self._postgres)

    async def insert_within(
        self,
        connection: object,
        jobs: Sequence[NewJob],
        *,
        capacity: int | None,
        when_full: WhenFull,
        in_coroutine: bool,
    ) -> Accepted:
        """Accept the jobs in the transaction of a connection of the application."""
        caller = caller_connection(connection, in_coroutine=in_coroutine)
        if is_rendezvous(capacity):
            raise UsageError(
                f"queue {jobs[0].queue!r} has capacity 0, so a worker takes each job from a "
                "producer that waits, which is not possible within a transaction: give the queue "
                "a capacity, or enqueue without connection= after the commit"
            )
        check_jobs(jobs)
        if quick_join.is_plain(jobs) and await self._postgres.insert_within(caller, jobs, capacity):
            return quick_insert.answer(jobs)

        async def operation(tx: Tx) -> Accepted:
            answer = await insert(tx, jobs, capacity=capacity, when_full=when_full)
            assert isinstance(answer, Accepted), "only at a rendezvous, or who waits, offers"
            return answer

        name = jobs[0].queue
        bounded = f"the exact bound of queue {name!r} needs READ COMMITTED"
        return await self._postgres.run_within(
            caller, operation, rereads="" if capacity is None else bounded
        )

    def _beat(self, worker: WorkerInfo) -> Pending[Order]:
        """Record a heartbeat. Only the first one of a worker may make a mark of its release."""
        if not worker.release or worker.id in self._known_workers:
            return self._postgres.beat(worker)
        answer: Pending[Order] = super()._run("beat", (worker,), {}, reads=False)

        def note() -> None:
            with suppress(ConveyorError):
                answer.result()
                if len(self._known_workers) >= KNOWN_WORKERS:
                    self._known_workers.clear()
                self._known_workers.add(worker.id)

        answer.when_done(note)
        return answer

    def _run(
        self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, reads: bool
    ) -> Pending[Any]:
        if name == "insert" and quick_insert.is_plain(
            args[0], kwargs["capacity"], again=kwargs["again"]
        ):

            def general(*, again: bool) -> Callable[[Tx], Coroutine[Any, Any, Accepted | Offered]]:
                given: dict[str, Any] = {**kwargs, "again": again}
                return lambda tx: insert(tx, args[0], **given)

            return self._postgres.insert(args[0], kwargs["capacity"], general)
        if name == "beat":
            return self._beat(*args, **kwargs)
        if name == "prune":
            return self._postgres.submit(
                lambda tx: self._pruning.prune(tx, *args, **kwargs), reads=False
            )
        if name in _EXCHANGES:
            reports, wants, claimant, limit = _EXCHANGES[name](*args, **kwargs)
            if quick_exchange.is_plain(reports):
                return self._postgres.exchange(
                    reports,
                    wants,
                    claimant,
                    limit=limit,
                    general=lambda tx: exchange(tx, reports, wants, claimant, limit=limit),
                )
        return super()._run(name, args, kwargs, reads=reads)


_Exchange = tuple[Sequence[Report], Sequence[Want], Claimant, int]


def _claim(wants: Sequence[Want], claimant: Claimant, *, limit: int) -> _Exchange:
    return (), wants, claimant, limit


def _settle(reports: Sequence[Report]) -> _Exchange:
    return reports, (), NO_CLAIMANT, 0


def _exchange(
    reports: Sequence[Report], wants: Sequence[Want], claimant: Claimant, *, limit: int
) -> _Exchange:
    return reports, wants, claimant, limit


# The methods that settle and claim, with the parameters that the protocol declares.
_EXCHANGES: dict[str, Callable[..., _Exchange]] = {
    "claim": _claim,
    "settle": _settle,
    "exchange": _exchange,
}
