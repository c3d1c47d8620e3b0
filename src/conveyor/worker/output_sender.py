"""Sends what running jobs write, and their progress, to the store: five times a second."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from ..core.clock import elapsed
from ..core.event_log import open_event_log
from ..core.pending import Pending
from ..errors import ConveyorError, UnavailableError
from ..runners.capture import OutputBuffer
from ..store.messages import Lease, Renewal
from ..store.protocol import WorkerStore
from .cancellation import LeaseVerdicts, check_count
from .held_jobs import HeldJobs

log = open_event_log("output_sender")

SEND_EVERY = 0.2
# The most output, in bytes, that one call over a network carries.
MAX_CALL = 512 << 10
# For how long, in seconds, a call without an answer is repeated. By then the lease is over.
REPEAT_FOR = 120.0

Send = Callable[[], Pending[list[Renewal]]]
InFlight = list[tuple["_Call", Pending[list[Renewal]]]]


class OutputSender:
    """Empties an output buffer into the store, from `wake` on, while any job runs.

    `keeps_call_order` is a trait of the store. Without it, each call waits for the answer to the
    one before, and is repeated if there was none: the store ignores what it has already. `verdicts`
    learn from the answers which jobs must stop.
    """

    def __init__(
        self,
        *,
        store: WorkerStore,
        output: OutputBuffer,
        held: HeldJobs,
        verdicts: LeaseVerdicts,
        keeps_call_order: bool = True,
        elapsed: Callable[[], float] = elapsed,
    ) -> None:
        self._elapsed = elapsed
        self._store = store
        self._output = output
        self._held = held
        self._verdicts = verdicts
        self._pipelines = keeps_call_order
        self._unanswered: deque[_Call] = deque()
        self._sending = asyncio.Lock()
        self._woken = asyncio.Event()
        self.awake = False

    def wake(self) -> None:
        """Start sending, as a job has started."""
        self.awake = True
        self._woken.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._woken.wait()
            while self._held.is_running:
                await asyncio.sleep(SEND_EVERY)
                await self.flush()
            self._woken.clear()
            self.awake = False

    async def flush(self) -> None:
        """Send what is there now."""
        try:
            await self.finish(await self.send())
        except UnavailableError as error:
            log.warning("output.delayed error=%s", error)

    async def send(self) -> InFlight:
        """Send what must be in the store before the calls that follow; pass the result to `finish`.

        UnavailableError: there was no answer, and the call is repeated first the next time.
        """
        if self._pipelines:
            return [(call, call.send()) for call in self._calls(None)]
        async with self._sending:
            await self._deliver()
            # Only what is there now: running jobs may write without end.
            left = self._output.pending_bytes
            while True:
                before = self._output.pending_bytes
                self._unanswered.extend(self._calls(MAX_CALL))
                left -= max(0, before - self._output.pending_bytes)
                await self._deliver()
                if left <= 0:
                    return []

    async def finish(self, in_flight: InFlight) -> None:
        """Wait for the store's answers. Lost output does not fail a job."""
        for call, pending in in_flight:
            try:
                self._apply(call, await pending)
            except ConveyorError as error:
                log.error("%s error=%s", call.lost, error)  # noqa: TRY400 - no traceback helps here

    def _apply(self, call: _Call, renewals: Sequence[Renewal]) -> None:
        check_count(renewals, len(call.leases))
        for lease, renewal in zip(call.leases, renewals, strict=True):
            if renewal.verdict != "continue":
                self._verdicts.apply_once(lease, renewal)

    async def _deliver(self) -> None:
        while self._unanswered:
            call = self._unanswered[0]
            try:
                self._apply(call, await call.send())
            except UnavailableError as error:
                if self._elapsed() < call.until:
                    raise
                log.error("%s error=%s", call.lost, error)  # noqa: TRY400 - as above
            except ConveyorError as error:
                log.error("%s error=%s", call.lost, error)  # noqa: TRY400 - as above
            self._unanswered.popleft()

    def _calls(self, limit: int | None) -> Iterator[_Call]:
        until = self._elapsed() + REPEAT_FOR
        store = self._store
        chunks = self._output.take_output(limit)
        if chunks:
            leases = dict.fromkeys(Lease(chunk.job_id, chunk.lease) for chunk in chunks)
            yield _Call("output.lost", partial(store.write_output, chunks), leases, until)
        progress = [(Lease(job.id, job.lease), said) for job, said in self._output.take_progress()]
        if progress:
            leases = dict.fromkeys(lease for lease, _ in progress)
            yield _Call("progress.lost", partial(store.set_progress, progress), leases, until)
        notes = [(Lease(job.id, job.lease), notes) for job, notes in self._output.take_stop_notes()]
        if notes:
            leases = dict.fromkeys(lease for lease, _ in notes)
            yield _Call("notes.lost", partial(store.set_stopping, notes), leases, until)


class _Call(NamedTuple):
    """A call about some jobs: the event to log if it is lost, and how long it is repeated."""

    lost: str
    send: Send
    leases: Collection[Lease]
    until: float
