"""Answers the calls of the API: most are the store's own, some wait for something first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import nullcontext
from importlib.metadata import version
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response, StreamingResponse

from ..client.enqueue import enqueue
from ..core.files import PIECE
from ..core.job import NewJob, WorkerInfo
from ..core.lifecycle import Interrupted
from ..errors import UnavailableError, UsageError
from ..store.ask import Awaiting, Watch
from ..store.http import payloads
from ..store.http.payloads import InsertAnswer, Terms
from ..store.messages import (
    Accepted,
    Claimant,
    Exchanged,
    Hint,
    HintKind,
    Offered,
    Report,
)
from ..store.protocol import Store
from .audit import action_of
from .auth import Caller, Gate, may_hear
from .authorization import Checks, leases
from .hub import KINDS, Hub
from .inline_commit import Traffic
from .io import GoneError, answer, read_bytes, unless_gone
from .job_intake import Taking
from .request import Asked, Rules
from .scale_api import Loads

# So many jobs are inserted in a moment.
FEW = 10
# The longest that a producer's request waits for room, and a claim for a job, in seconds.
LONGEST_WAIT = 30.0
LONGEST_HOLD = 60.0
# How often a claim that waits looks by itself, as hints may be lost.
LOOK = 10.0
# A stream of hints says something at least this often, so that a broken line is noticed.
BEAT = 10.0
# Hints are gathered for a moment, so that a busy store does not fill the line with them.
GATHER = 0.01

# The answer to what was asked for on a condition that did not hold.
NOT_DONE = b"false"

VERSION = version("conveyor")

_line = msgspec.json.Encoder().encode


class Handlers:
    """What each call does. Those that are not named here are carried to the store as they are."""

    def __init__(
        self,
        *,
        store: Store,
        gate: Gate,
        hub: Hub,
        checks: Checks,
        rules: Rules,
        traffic: Traffic,
    ) -> None:
        self._store = store
        self._gate = gate
        self._hub = hub
        self._checks = checks
        self._rules = rules
        self._traffic = traffic
        self._taking = Taking(rules.args_limit)
        self._loads = Loads(store)
        self._watch = Watch(store)
        self._special: dict[str, Callable[[Asked], Awaitable[Response]]] = {
            "insert": self._insert,
            "claim": self._claim,
            "exchange": self._exchange,
            "decline": self._decline,
            "extend": self._extend,
            "extend_worker": self._extend_worker,
            "settle": self._settle,
            "beat": self._beat,
            "workers": self._workers,
            "counts": self._counts,
            "load": self._loads.load,
            "write_content": self._write_content,
            "read_content": self._read_content,
            "note_action": self._note_action,
            "scale": self._loads.scale,
            "terms": self._terms,
            "hints": self._hints,
        }

    def close(self) -> None:
        """Listen no more."""
        self._watch.close()

    async def handle(self, asked: Asked) -> Response:
        """Answer one call."""
        special = self._special.get(asked.call.name)
        if special is not None:
            response = await special(asked)
        else:
            response = await self._carry(asked)
        if asked.call.audited and response.body != NOT_DONE:
            await self._store.note_action([action_of(asked)])
        return response

    async def _carry(self, asked: Asked) -> Response:
        call = asked.call
        method = getattr(self._store, call.name)
        found = await method(**asked.body.arguments(asked.path))
        if call.gives is None:
            return Response(status_code=204)
        return answer(found if call.view is None else call.view(found))

    # -- producers -----------------------------------------------------------------------------

    async def _insert(self, asked: Asked) -> Response:
        body: payloads.Insert = asked.body
        queue = asked.path["queue"]
        jobs = self._taking.jobs(body.jobs, queue, self._store.now())
        capacity = await self._capacity(asked.caller, queue, body.capacity)
        if body.wait is not None:
            wait = min(body.wait, LONGEST_WAIT)
            return await self._wait_for_room(asked, jobs, capacity, wait)
        with self._traffic.moment() if len(jobs) <= FEW else nullcontext():
            asked_for = self._store.insert(
                jobs, capacity=capacity, when_full=body.when_full, again=body.again
            )
        found = await asked_for
        if isinstance(found, Offered):
            self._checks.offered(found.offer, queue)
            return answer(InsertAnswer(offered=found), 202)
        return answer(InsertAnswer(accepted=found))

    async def _wait_for_room(
        self,
        asked: Asked,
        jobs: list[NewJob],
        capacity: int | None,
        wait: float,
    ) -> Response:
        body: payloads.Insert = asked.body
        waiting: asyncio.Task[Accepted] = asyncio.ensure_future(
            enqueue(
                jobs,
                store=self._store,
                watch=self._watch,
                caller=Awaiting(),
                capacity=capacity,
                when_full=body.when_full,
                wait=wait,
                again=body.again,
            )
        )

        async def seen_through() -> Accepted | None:
            try:
                return await waiting
            except asyncio.CancelledError:
                return None  # withdrawn, as nobody waits for it any more

        # Cancelled, it takes its offer back.
        watch = self._gate.watch(asked.caller)
        with self._traffic.waiting():
            found = await unless_gone(
                asked.request, seen_through(), lambda: _cancel(waiting), watch
            )
        return answer(InsertAnswer(accepted=found))

    async def _capacity(
        self, caller: Caller, queue: str, wished: int | UnsetType | None
    ) -> int | None:
        """Return a queue's bound: that of the server's application holds against all but admins."""
        declared = self._rules.capacities.get(queue)
        if wished is not UNSET and (declared is None or caller.is_admin):
            return wished
        if queue in self._rules.capacities:
            return declared
        queues = await self._store.counts()
        return next((each.capacity for each in queues if each.name == queue), None)

    async def _counts(self, asked: Asked) -> Response:
        mine = asked.caller.queues
        queues = await self._store.counts()
        return answer([each for each in queues if not mine or each.name in mine])

    # -- files ---------------------------------------------------------------------------------

    async def _write_content(self, asked: Asked) -> Response:
        body: payloads.PieceQuery = asked.body
        # The store says what a piece may be; here it is kept from being without end.
        data = await read_bytes(asked.request, 2 * PIECE)
        return answer(
            await self._store.write_content(asked.path["digest"], body.offset, data, last=body.last)
        )

    async def _read_content(self, asked: Asked) -> Response:
        body: payloads.BytesQuery = asked.body
        data = await self._store.read_content(asked.path["digest"], body.offset, body.limit)
        return Response(data, media_type="application/octet-stream")

    # -- workers -------------------------------------------------------------------------------

    async def _claim(self, asked: Asked) -> Response:
        body: payloads.Claim = asked.body
        if not body.wait:
            self._hub.end_waiting(asked.path["worker"])
            return await self._claimed(asked, await self._ask_for_jobs(asked))
        deadline = time.monotonic() + min(body.wait, LONGEST_HOLD)
        queues = [want.queue for want in body.wants]
        with self._hub.waiting(asked.path["worker"], queues, body.labels) as waiter:

            async def look() -> Exchanged:
                while True:
                    await self._gate.check_again(asked.caller)
                    found = await self._ask_for_jobs(asked)
                    left = deadline - time.monotonic()
                    if found.jobs or waiter.ended or left <= 0:
                        return found
                    await waiter.wait(min(LOOK, left))

            try:
                watch = self._gate.watch(asked.caller)
                with self._traffic.waiting():
                    found = await unless_gone(asked.request, look(), waiter.end, watch)
            except GoneError as error:
                await self._give_back(error.brought)
                raise
            if found.jobs:
                self._hub.found(waiter)
        return await self._claimed(asked, found)

    async def _exchange(self, asked: Asked) -> Response:
        self._hub.end_waiting(asked.path["worker"])
        arguments = self._arguments(asked)
        found = await self._store.exchange(
            arguments["reports"], arguments["wants"], arguments["who"], limit=arguments["limit"]
        )
        self._checks.holders.gave_back(leases(asked.body))
        return await self._claimed(asked, found)

    async def _ask_for_jobs(self, asked: Asked) -> Exchanged:
        if self._hub.closing:
            raise UnavailableError("the server is stopping: ask again in a moment")
        arguments = self._arguments(asked)
        return await self._store.claim(
            arguments["wants"], arguments["who"], limit=arguments["limit"]
        )

    async def _claimed(self, asked: Asked, found: Exchanged) -> Response:
        self._checks.holders.took(asked.caller, found.jobs)
        view = asked.call.view
        assert view is not None, "the table gives one"
        return answer(view(found))

    async def _give_back(self, found: Exchanged | None) -> None:
        """Give back what was claimed for a worker that has gone before it could hear of it."""
        if found is not None and found.jobs:
            await self._store.settle(
                [Report(job.id, job.lease, Interrupted()) for job in found.jobs]
            )

    async def _decline(self, asked: Asked) -> Response:
        self._hub.end_waiting(asked.path["worker"])
        return Response(status_code=204)

    async def _settle(self, asked: Asked) -> Response:
        response = await self._carry(asked)
        self._checks.holders.gave_back(leases(asked.body))
        return response

    async def _extend(self, asked: Asked) -> Response:
        body: payloads.Extend = asked.body
        lease_for = self._at_most(asked, body.lease_for)
        return answer(await self._store.extend(body.leases, lease_for=lease_for))

    async def _extend_worker(self, asked: Asked) -> Response:
        lease_for = self._at_most(asked, asked.body.lease_for)
        return answer(await self._store.extend_worker(asked.path["worker"], lease_for=lease_for))

    async def _beat(self, asked: Asked) -> Response:
        # The file of what it has begun is beside a store, and this worker has none at hand. The
        # upkeep removes the files of the dead: it must not be told which by somebody elsewhere.
        info = msgspec.structs.replace(asked.body.info, begun="")
        return answer(await self._store.beat(info))

    async def _workers(self, asked: Asked) -> Response:
        return answer(_for_queues(await self._store.workers(), asked.caller.queues))

    def _at_most(self, asked: Asked, seconds: float) -> float:
        """Return for how long a lease lasts: nobody keeps jobs for longer than the server says."""
        return seconds if asked.caller.is_admin else min(seconds, self._rules.lease_for)

    def _arguments(self, asked: Asked) -> dict[str, Any]:
        arguments: dict[str, Any] = asked.body.arguments(asked.path)
        who: Claimant = arguments["who"]
        within = who.confirm_within
        arguments["who"] = msgspec.structs.replace(
            who,
            lease_for=self._at_most(asked, who.lease_for),
            confirm_within=None if within is None else self._at_most(asked, within),
        )
        return arguments

    # -- the server itself ---------------------------------------------------------------------

    async def _terms(self, asked: Asked) -> Response:
        token = asked.caller.token
        return answer(
            Terms(
                version=VERSION,
                now=self._store.now(),
                lease_for=self._rules.lease_for,
                hold=self._rules.hold,
                beat=self._rules.beat,
                token=None if token is None else token.id,
            )
        )

    async def _hints(self, asked: Asked) -> Response:
        named = [each for each in asked.body.kinds.split(",") if each]
        unknown = sorted(set(named) - set(KINDS))
        if unknown:
            raise UsageError(f"there is no kind of hint {unknown[0]!r}: {', '.join(KINDS)}")
        kinds: frozenset[HintKind] = frozenset({kind for kind in KINDS if kind in named})
        lines = self._stream(kinds, asked.caller)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def _stream(self, kinds: frozenset[HintKind], caller: Caller) -> AsyncIterator[bytes]:
        with self._hub.stream(kinds, lambda hint: may_hear(caller, hint)) as stream:
            lapse = asyncio.create_task(self._gate.watch(caller))
            lapse.add_done_callback(lambda _: stream.wake())
            try:
                yield b"\n"
                while not self._hub.closing:
                    hints: list[Hint] = await stream.take(BEAT)
                    if lapse.done():
                        break
                    yield b"".join(_line(hint) + b"\n" for hint in hints) or b"\n"
                    await asyncio.sleep(GATHER)
            finally:
                lapse.cancel()
                await asyncio.wait([lapse])
                _ = lapse.cancelled() or lapse.exception()  # seen

    async def _note_action(self, asked: Asked) -> Response:
        """Add lines to the audit: under the name of whoever sends them, if that is known."""
        body: payloads.NoteAction = asked.body
        caller = asked.caller
        actions = [
            each
            if caller.token is None
            else msgspec.structs.replace(each, who=caller.who, where=caller.where)
            for each in body.actions
        ]
        await self._store.note_action(actions)
        return Response(status_code=204)


def _for_queues(workers: Sequence[WorkerInfo], queues: Sequence[str]) -> list[WorkerInfo]:
    """Return the workers that serve any of the queues, as if they served no others."""
    if not queues:
        return list(workers)
    serving: list[WorkerInfo] = []
    for worker in workers:
        served = tuple(queue for queue in worker.queues if queue in queues)
        if served or not worker.queues:
            serving.append(msgspec.structs.replace(worker, queues=served))
    return serving


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
