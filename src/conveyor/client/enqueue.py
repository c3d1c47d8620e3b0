"""Put jobs into a store, waiting for room where the queue is bounded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from ..core.job import NewJob, WhenFull
from ..core.job_context import waiting_for
from ..core.pending import Pending
from ..errors import ConveyorError, NotFoundError, QueueFullError
from ..store.call_style import CallStyle
from ..store.hint_waiters import HintWaiters
from ..store.messages import Accepted, Offered
from ..store.protocol import Store

# A waiting producer polls this often, in seconds; hints wake it earlier.
POLL_INTERVAL = 1.0
# How long a producer that must not wait offers its job at a rendezvous, in seconds: only a waiting
# worker can take it, and that answers within a few milliseconds.
RENDEZVOUS_TIMEOUT = 0.1


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
) -> Accepted:
    """Put `jobs`, all of one queue, into the store or raise QueueFullError.

    `wait` is the longest wait for room, in seconds; None for no limit. `again`: see the store's
    `insert`.
    """
    seconds = wait if when_full == "wait" else RENDEZVOUS_TIMEOUT
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        inserting = store.insert(jobs, capacity=capacity, when_full=when_full, again=again)
        try:
            answer = await call_style.wait_for(inserting)
        except ConveyorError:
            raise
        except BaseException:
            # The caller was cancelled or interrupted while the store was at it. A job that is
            # accepted stays; one that would still wait for room must not be accepted later.
            inserting.when_done(partial(_withdraw_offer, store, inserting))
            raise
        if isinstance(answer, Accepted):
            return answer
        try:
            return await _wait_for_room(
                answer, len(jobs), store, hint_waiters, call_style, deadline
            )
        except NotFoundError:
            # Either this process was suspended (SIGSTOP, a closed lid) until its offer expired,
            # or the jobs were accepted and the answer was lost. `again` covers both.
            again = True


def _withdraw_offer(store: Store, inserting: Pending[Accepted | Offered]) -> None:
    with suppress(ConveyorError):
        answer = inserting.result(0)
        if isinstance(answer, Offered):
            store.withdraw(answer.offer)


async def _wait_for_room(
    offer: Offered,
    size: int,
    store: Store,
    hint_waiters: HintWaiters,
    call_style: CallStyle,
    deadline: float | None,
) -> Accepted:
    try:
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
    except NotFoundError:
        raise
    except BaseException:
        # The caller was cancelled or interrupted. The store does this without being waited for;
        # if a worker was faster, the job stays.
        store.withdraw(offer.offer)
        raise
    if accepted is None:
        raise QueueFullError(offer.queue, offer.depth, offer.capacity, size)
    return accepted
