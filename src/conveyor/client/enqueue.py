"""Put jobs into a store, waiting for room where the queue is bounded."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..core.job import NewJob, WhenFull
from ..errors import NotFoundError, QueueFullError
from ..store.ask import Caller, Watch
from ..store.messages import Accepted, Offered
from ..store.protocol import Store

# Nobody who waits for room looks more often than this by himself: hints wake him.
LOOK = 1.0
# How long an impatient producer offers its job at a rendezvous, where only a worker that is there
# can take it. A worker that waits answers within a few milliseconds.
HANDSHAKE = 0.1


async def enqueue(
    jobs: Sequence[NewJob],
    *,
    store: Store,
    watch: Watch,
    caller: Caller,
    capacity: int | None,
    when_full: WhenFull,
    wait: float | None,
    again: bool = False,
) -> Accepted:
    """Put `jobs`, all of one queue, into the store or raise QueueFullError.

    `wait` bounds the waiting for room, in seconds; None waits as long as it takes. `again`: see
    the store's `insert`.
    """
    patience = wait if when_full == "wait" else HANDSHAKE
    deadline = None if patience is None else time.monotonic() + patience
    while True:
        answer = await caller.answer(
            store.insert(jobs, capacity=capacity, when_full=when_full, again=again)
        )
        if isinstance(answer, Accepted):
            return answer
        try:
            return await _stand_in_line(answer, len(jobs), store, watch, caller, deadline)
        except NotFoundError:
            # This process was stopped for so long (a laptop's lid, SIGSTOP) that its offer was
            # dropped: stand in line again. Or else the jobs are there, and that was told to a
            # connection that broke, or too long ago.
            again = True


async def _stand_in_line(
    offer: Offered,
    size: int,
    store: Store,
    watch: Watch,
    caller: Caller,
    deadline: float | None,
) -> Accepted:
    try:
        bell = caller.bell()
        with watch.on("offer", offer.offer, bell):
            while (accepted := await caller.answer(store.accepted(offer.offer))) is None:
                left = LOOK if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    break
                await bell.wait(min(LOOK, left))
        if accepted is None:
            accepted = await caller.answer(store.withdraw(offer.offer))
    except NotFoundError:
        raise
    except BaseException:
        # The caller was cancelled or interrupted. The store carries this out without being
        # waited for; if a worker was faster, the job stays.
        store.withdraw(offer.offer)
        raise
    if accepted is None:
        raise QueueFullError(offer.queue, offer.depth, offer.capacity, size)
    return accepted
