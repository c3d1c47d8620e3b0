"""Answers the calls of the API: most are the store's own, some wait for something first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ..access import Action
from ..caller import Awaiting, Watch
from ..enqueue import enqueue
from ..errors import UsageError
from ..files import PIECE
from ..job import NewJob, WhenFull
from ..lifecycle import Interrupted
from ..store.http import bodies
from ..store.http.bodies import InsertAnswer, Terms
from ..store.http.calls import Call
from ..store.messages import (
    Accepted,
    Claimant,
    Exchanged,
    Hint,
    HintKind,
    Offered,
    Order,
    Report,
)
from ..store.protocol import Store
from .checks import Checks, leases
from .gate import Caller
from .hub import KINDS, Hub
from .reading import GoneError, answer, read_bytes, unless_gone
from .taking import Taking

# The longest that a producer's request waits for room, and a claim for a job, in seconds.
LONGEST_WAIT = 30.0
LONGEST_HOLD = 60.0
# How often a claim that waits looks by itself, as hints may be lost.
LOOK = 10.0
# A stream of hints says something at least this often, so that a broken line is noticed.
BEAT = 10.0
# Hints are gathered for a moment, so that a busy store does not fill the line with them.
GATHER = 0.01

# What the audit calls an order to a worker.
ORDERED: Mapping[Order, str] = {"work": "resume", "quiet": "quiet", "drain": "drain"}
# The answer to what was asked for on a condition that did not hold.
NOT_DONE = b"false"

_line = msgspec.json.Encoder().encode


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the server asks of agents and grants to everybody. Durations are seconds."""

    lease_for: float = 60.0
    hold: float = 25.0
    beat: float = 15.0
    args_limit: int = 1 << 20
    body_limit: int = 64 << 20
    capacities: Mapping[str, int | None] = {}


class Asked(msgspec.Struct, frozen=True):
    """One call as it came in, read and allowed."""

    request: Request
    call: Call
    caller: Caller
    path: Mapping[str, str]
    body: Any


class Handlers:
    """What each call does. Those that are not named here are carried to the store as they are."""

    def __init__(self, *, store: Store, hub: Hub, checks: Checks, rules: Rules) -> None:
        self._store = store
        self._hub = hub
        self._checks = checks
        self._rules = rules
        self._taking = Taking(rules.args_limit)
        self._watch = Watch(store)
        self._special: dict[str, Callable[[Asked], Awaitable[Response]]] = {
            "insert": self._insert,
            "claim": self._claim,
            "exchange": self._exchange,
            "decline": self._decline,
            "extend": self._extend,
            "settle": self._settle,
            "counts": self._counts,
            "write_content": self._write_content,
            "read_content": self._read_content,
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
            await self._note(asked)
        return response

    async def _carry(self, asked: Asked) -> Response:
        call = asked.call
        method = getattr(self._store, call.name)
        found = await method(**asked.body.arguments(asked.path))
        if call.gives is None:
            return Response(status_code=204)
        return answer(found if call.view is None else call.view(found))

    async def _note(self, asked: Asked) -> None:
        what, detail = _described(asked.call.audited, asked.body)
        subject = next(iter(asked.path.values()), "")
        action = Action(
            who=asked.caller.who,
            where=asked.caller.where,
            what=what,
            subject=subject,
            detail=detail,
        )
        await self._store.note_action([action])

    # -- producers -----------------------------------------------------------------------------

    async def _insert(self, asked: Asked) -> Response:
        body: bodies.Insert = asked.body
        queue = asked.path["queue"]
        jobs = self._taking.jobs(body.jobs, queue, self._store.now())
        capacity = await self._capacity(queue) if body.capacity is UNSET else body.capacity
        if body.wait is not None:
            wait = min(body.wait, LONGEST_WAIT)
            return await self._wait_for_room(asked, jobs, capacity, body.when_full, wait)
        found = await self._store.insert(
            jobs, capacity=capacity, when_full=body.when_full, again=body.again
        )
        if isinstance(found, Offered):
            self._checks.offered(found.offer, queue)
            return answer(InsertAnswer(offered=found), 202)
        return answer(InsertAnswer(accepted=found))

    async def _wait_for_room(
        self,
        asked: Asked,
        jobs: list[NewJob],
        capacity: int | None,
        when_full: WhenFull,
        wait: float,
    ) -> Response:
        waiting: asyncio.Task[Accepted] = asyncio.ensure_future(
            enqueue(
                jobs,
                store=self._store,
                watch=self._watch,
                caller=Awaiting(),
                capacity=capacity,
                when_full=when_full,
                wait=wait,
            )
        )

        async def seen_through() -> Accepted | None:
            try:
                return await waiting
            except asyncio.CancelledError:
                return None  # withdrawn, as nobody waits for it any more

        # Cancelled, it takes its offer back.
        found = await unless_gone(asked.request, seen_through(), lambda: _cancel(waiting))
        return answer(InsertAnswer(accepted=found))

    async def _capacity(self, queue: str) -> int | None:
        if queue in self._rules.capacities:
            return self._rules.capacities[queue]
        queues = await self._store.counts()
        return next((each.capacity for each in queues if each.name == queue), None)

    async def _counts(self, asked: Asked) -> Response:
        token = asked.caller.token
        queues = await self._store.counts()
        if token is not None and token.queues:
            queues = [each for each in queues if each.name in token.queues]
        return answer(queues)

    # -- files ---------------------------------------------------------------------------------

    async def _write_content(self, asked: Asked) -> Response:
        body: bodies.PieceQuery = asked.body
        data = await read_bytes(asked.request, PIECE)
        return answer(
            await self._store.write_content(asked.path["digest"], body.offset, data, last=body.last)
        )

    async def _read_content(self, asked: Asked) -> Response:
        body: bodies.BytesQuery = asked.body
        data = await self._store.read_content(asked.path["digest"], body.offset, body.limit)
        return Response(data, media_type="application/octet-stream")

    # -- workers -------------------------------------------------------------------------------

    async def _claim(self, asked: Asked) -> Response:
        body: bodies.Claim = asked.body
        if not body.wait:
            self._hub.end_waiting(asked.path["worker"])
            return await self._claimed(asked, await self._ask_for_jobs(asked))
        deadline = time.monotonic() + min(body.wait, LONGEST_HOLD)
        queues = [want.queue for want in body.wants]
        with self._hub.waiting(asked.path["worker"], queues, body.labels) as waiter:

            async def look() -> Exchanged:
                while True:
                    found = await self._ask_for_jobs(asked)
                    left = deadline - time.monotonic()
                    if found.jobs or waiter.ended or left <= 0:
                        return found
                    await waiter.wait(min(LOOK, left))

            try:
                found = await unless_gone(asked.request, look(), waiter.end)
            except GoneError as error:
                await self._give_back(error.args[0] if error.args else None)
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
            return Exchanged((), ())
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
        body: bodies.Extend = asked.body
        lease_for = body.lease_for
        if not asked.caller.is_admin:
            lease_for = min(lease_for, self._rules.lease_for)
        return answer(await self._store.extend(body.leases, lease_for=lease_for))

    def _arguments(self, asked: Asked) -> dict[str, Any]:
        arguments: dict[str, Any] = asked.body.arguments(asked.path)
        who: Claimant = arguments["who"]
        if not asked.caller.is_admin and who.lease_for > self._rules.lease_for:
            # Nobody keeps a job from the others for longer than the server says.
            arguments["who"] = msgspec.structs.replace(who, lease_for=self._rules.lease_for)
        return arguments

    # -- the server itself ---------------------------------------------------------------------

    async def _terms(self, asked: Asked) -> Response:
        token = asked.caller.token
        return answer(
            Terms(
                version=version("conveyor"),
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
        return StreamingResponse(self._stream(kinds), media_type="application/x-ndjson")

    async def _stream(self, kinds: frozenset[HintKind]) -> AsyncIterator[bytes]:
        with self._hub.stream(kinds) as stream:
            yield b"\n"
            while not self._hub.closing:
                hints: list[Hint] = await stream.take(BEAT)
                yield b"".join(_line(hint) + b"\n" for hint in hints) or b"\n"
                await asyncio.sleep(GATHER)


def _described(action: str, body: bodies.Body) -> tuple[str, str]:
    """Return what the audit calls an action, and what it says of it."""
    match body:
        case bodies.Paused(paused=False):
            return f"resume {action.partition(' ')[2]}", ""
        case bodies.Ordered(order=order):
            return f"{ORDERED[order]} worker", ""
        case bodies.DismissQuery(force=True):
            return action, "forced"
        case bodies.Cancel(reason=reason, force=force):
            return action, f"forced: {reason}" if force else reason
        case _:
            return action, ""


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
