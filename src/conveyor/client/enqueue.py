"""Put jobs into a store, waiting for room where the queue is bounded."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from contextlib import suppress

from ..core.job import NewJob, WhenFull
from ..core.job_context import waiting_for
from ..core.pending import Pending, wake
from ..errors import ConveyorError, NotFoundError, QueueFullError, UsageError
from ..job_log import log_discards
from ..store.call_style import AsyncCalls, CallStyle
from ..store.hint_waiters import HintWaiters
from ..store.messages import Accepted, Offered
from ..store.protocol import Store
from ..store.protocol_transactions import TransactionalStore

# A waiting producer polls this often, in seconds; hints wake it earlier.
POLL_INTERVAL = 1.0
# How long a producer that must not wait offers its job at a rendezvous, in seconds: only a waiting
# worker can take it, and that answers within a few milliseconds.
RENDEZVOUS_TIMEOUT = 0.1
# How long a producer that is cancelled or interrupted waits until its offer is withdrawn, in
# seconds: enough for two commits to a slow disk, and less than a job gets at a shutdown.
WITHDRAWAL_TIMEOUT = 2.0
STOPPED = "its producer was stopped while it enqueued the job"


async def enqueue(
    jobs: Sequence[NewJob],
    *,
    store: Store,
    hint_waiters: HintWaiters,
    call_style: CallStyle,
    capacity: int | None,
    when_full: WhenFull,
    wait: float | None,
    again: bool = False,
    keep: bool = True,
) -> Accepted:
    """Put `jobs`, all of one queue, into the store or raise QueueFullError.

    `wait` is the longest wait for room, in seconds; None for no limit. `again`: see the store's
    `insert`. Unless `keep`, jobs that were accepted before the caller was stopped are cancelled.
    """
    seconds = wait if when_full == "wait" else RENDEZVOUS_TIMEOUT
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        inserting = store.insert(jobs, capacity=capacity, when_full=when_full, again=again)
        try:
            answer = await call_style.wait_for(inserting)
            if isinstance(answer, Accepted):
                if when_full == "drop_oldest":
                    log_discards(store.discards)
                return answer
            with suppress(NotFoundError):
                return await _wait_for_room(
                    answer, len(jobs), store, hint_waiters, call_style, deadline
                )
            # Either this process was suspended (SIGSTOP, a closed lid) until its offer expired,
            # or the jobs were accepted and the answer was lost. `again` covers both.
            again = True
        except QueueFullError:
            raise
        except BaseException as reason:
            # The caller was cancelled or interrupted, or the store has failed. Jobs that were
            # accepted stay; others must not be accepted once the caller knows that it was stopped.
            withdrawn = _withdraw(store, inserting, () if keep else {job.id for job in jobs})
            if not isinstance(reason, GeneratorExit):  # in a coroutine that is closed
                with suppress(TimeoutError):
                    await call_style.wait_for(withdrawn, WITHDRAWAL_TIMEOUT)
            raise


async def enqueue_within(
    connection: object,
    jobs: Sequence[NewJob],
    *,
    store: Store,
    call_style: CallStyle,
    capacity: int | None,
    when_full: WhenFull,
) -> Accepted:
    """Put `jobs` into the store in the transaction of `connection`, or raise QueueFullError.

    UsageError if the jobs are not in the database of the connection.
    """
    if not isinstance(store, TransactionalStore):
        raise UsageError(
            f"connection= is for jobs in PostgreSQL, and the jobs of this Conveyor are in "
            f"{store.url}: name the database of the connection in the URL, or enqueue without "
            "connection= after the commit"
        )
    return await store.insert_within(
        connection,
        jobs,
        capacity=capacity,
        when_full=when_full,
        in_coroutine=isinstance(call_style, AsyncCalls),
    )


def _withdraw(
    store: Store, inserting: Pending[Accepted | Offered], unwanted: Collection[str]
) -> Pending[None]:
    """Withdraw what an insert offers, even if nobody waits until that is done.

    Of the jobs that it has accepted, cancel those that are `unwanted`.
    """
    withdrawn: Pending[None] = Pending()

    def finish() -> None:
        withdrawn.resolve(None)
        wake([withdrawn])

    def withdraw() -> None:
        with suppress(ConveyorError):
            answer = inserting.result(0)
            if isinstance(answer, Accepted):
                cancel(answer)
            else:
                withdrawing = store.withdraw(answer.offer)
                withdrawing.when_done(lambda: cancel_accepted(withdrawing))
            return
        finish()

    def cancel_accepted(withdrawing: Pending[Accepted | None]) -> None:
        with suppress(ConveyorError):
            cancel(withdrawing.result(0))
            return
        finish()

    def cancel(accepted: Accepted | None) -> None:
        # With a unique key, what was accepted may be another's job.
        ids = unwanted and accepted and [job for job in accepted.ids if job in unwanted]
        cancelling = [store.cancel(job, reason=STOPPED) for job in ids or ()]
        cancelling[-1].when_done(finish) if cancelling else finish()

    inserting.when_done(withdraw)
    return withdrawn


async def _wait_for_room(
    offer: Offered,
    size: int,
    store: Store,
    hint_waiters: HintWaiters,
    call_style: CallStyle,
    deadline: float | None,
) -> Accepted:
    wake_event = call_style.wake_event()
    what = f"room in queue {offer.queue!r} ({offer.depth}/{offer.capacity})"
    with (
        hint_waiters.wake_on("offer", offer.offer, wake_event),
        waiting_for(what, wake_event),
    ):
        while (accepted := await call_style.wait_for(store.accepted(offer.offer))) is None:
            left = POLL_INTERVAL if deadline is None else deadline - time.monotonic()
            if left <= 0:
                break
            await wake_event.wait(min(POLL_INTERVAL, left))
    if accepted is None:
        accepted = await call_style.wait_for(store.withdraw(offer.offer))
    if accepted is None:
        raise QueueFullError(offer.queue, offer.depth, offer.capacity, size)
    return accepted
