"""Lets requests in: who asks, by their token, and whether that may do what they ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NoReturn

import msgspec

from ..core import access
from ..core.access import Scope, Token
from ..core.timeout import wait_for_event
from ..errors import AccessError, NotFoundError
from ..store.messages import Hint
from ..store.protocol import Store
from .origin_guard import check_neighbour

# How long a token is taken to be as it was, in seconds, where no hint says that it has changed.
FRESH = 1.0
# How often it is looked at again while a call waits or streams, as hints may be lost.
LOOK = 10.0
# How many tokens are remembered.
KNOWN = 10_000
BEARER = "bearer "


class Caller(msgspec.Struct, frozen=True):
    """Who asks: the holder of a token, or anybody (None) at a server that wants none."""

    token: Token | None
    where: str

    @property
    def who(self) -> str:
        """How the audit calls them."""
        return "anybody" if self.token is None else access.called(self.token)

    @property
    def is_admin(self) -> bool:
        """Whether everything is allowed."""
        return self.token is None or "admin" in self.token.scopes

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues to which they are limited; none if to no certain ones."""
        return () if self.token is None else self.token.queues


class Gate:
    """Knows the tokens. Without `wanted`, everybody may everything, until there is a token.

    It only ever closes: when there is no token any more, nobody may anything. `elapsed` tells how
    much time has passed since some moment, in seconds.
    """

    def __init__(
        self, store: Store, *, wanted: bool, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._wanted = wanted
        self._elapsed = elapsed
        self._looked: float | None = None
        self._known: dict[str, tuple[float, Token]] = {}
        self._bells: dict[asyncio.Event, str] = {}

    def forget(self, ids: Sequence[str]) -> None:
        """Look at these tokens anew; at all of them if there are none."""
        self._looked = None
        if not ids:
            self._known.clear()
        for token_id in ids:
            self._known.pop(token_id, None)
        for bell, token_id in self._bells.items():
            if not ids or not token_id or token_id in ids:
                bell.set()

    async def identify(self, headers: Mapping[str, str], where: str) -> Caller:
        """Say who asks, by the header Authorization; AccessError when that is not known."""
        if not await self._wants_token():
            check_neighbour(headers)
            return Caller(None, where)
        header = headers.get("authorization", "")
        if not header.lower().startswith(BEARER):
            raise _nameless()
        text = header[len(BEARER) :].strip()
        token_id = access.token_id(text)
        token = None if token_id is None else await self._find(token_id)
        if token is None or not access.fits(token, text):
            raise AccessError("this server does not know the token", unknown=True)
        self._check(token)
        return Caller(token, where)

    async def check_again(self, caller: Caller) -> None:
        """Let somebody go on who was let in some time ago, or AccessError."""
        if caller.token is None:
            if await self._wants_token():
                raise _nameless()
            return
        token = await self._find(caller.token.id)
        if token is None:
            raise AccessError("this server does not know the token any more", unknown=True)
        self._check(token)

    async def watch(self, caller: Caller) -> NoReturn:
        """Wait until somebody is to be let in no more; raises AccessError then."""
        bell = asyncio.Event()
        self._bells[bell] = "" if caller.token is None else caller.token.id
        try:
            while True:
                await wait_for_event(bell, self._until_look(caller))
                bell.clear()
                await self.check_again(caller)
        finally:
            del self._bells[bell]

    def _until_look(self, caller: Caller) -> float:
        ends = None if caller.token is None else caller.token.expires_at
        return LOOK if ends is None else max(0.0, min(LOOK, ends - self._store.now()))

    def _check(self, token: Token) -> None:
        standing = access.standing(token, self._store.now())
        if standing != "good":
            raise AccessError(f"the token {token.id} ({token.name}) is {standing}", unknown=True)

    async def _wants_token(self) -> bool:
        now = self._elapsed()
        if not self._wanted and (self._looked is None or now - self._looked >= FRESH):
            self._looked = now
            if await self._store.tokens(limit=1):
                self._wanted = True
        return self._wanted

    async def _find(self, token_id: str) -> Token | None:
        known = self._known.get(token_id)
        now = self._elapsed()
        if known is not None and now - known[0] < FRESH:
            return known[1]
        try:
            token = await self._store.token(token_id)
        except NotFoundError:
            self._known.pop(token_id, None)
            return None
        if len(self._known) >= KNOWN:
            self._known.clear()
        self._known[token_id] = now, token
        return token


def allow(caller: Caller, scopes: Collection[Scope], queue: str | None, what: str) -> None:
    """Let a caller do something, to one queue or (None) to no certain one, or AccessError."""
    if caller.is_admin or caller.token is None:
        return
    if any(access.may(caller.token, scope, queue) for scope in scopes):
        return
    where = "" if queue is None else f" on queue {queue!r}"
    raise _refusal(caller.token, scopes, what + where)


def allow_at_all(caller: Caller, scopes: Collection[Scope], what: str) -> None:
    """Let a caller on whose token has one of the scopes, for whatever queue, or AccessError."""
    if not caller.is_admin and caller.token is not None and not caller.token.scopes & set(scopes):
        raise _refusal(caller.token, scopes, what)


def may_be(caller: Caller, worker: str) -> bool:
    """Whether a caller may speak for a worker: the name of an agent's worker ends with its token.

    So nobody else's jobs can be touched, and after a restart of the server it is still known.
    """
    return caller.is_admin or (caller.token is not None and worker.endswith(f"@{caller.token.id}"))


def may_hear(caller: Caller, hint: Hint) -> Hint | None:
    """Return what of a hint is for a caller. Who is limited to queues hears of no others."""
    if caller.is_admin:
        return hint
    match hint.kind:
        case "access":
            return None
        case "work" | "due" if caller.queues:
            fitting = [queue for queue in hint.subjects if queue in caller.queues]
        case "quiet":
            fitting = [worker for worker in hint.subjects if may_be(caller, worker)]
        case _:
            return hint
    return Hint(hint.kind, tuple(fitting)) if fitting or not hint.subjects else None


def _nameless() -> AccessError:
    return AccessError(
        "this server wants a token: send it as `Authorization: Bearer cvy_…`. "
        "`conveyor token create` on the server makes one.",
        unknown=True,
    )


def _refusal(token: Token, scopes: Collection[Scope], what: str) -> AccessError:
    wanted = ", ".join(scopes) or "admin"
    return AccessError(
        f"the token {token.id} ({token.name}) may not {what}: it has the scope(s) "
        f"{', '.join(sorted(token.scopes))}"
        f"{' for ' + ', '.join(token.queues) if token.queues else ''}; {wanted} is needed"
    )
