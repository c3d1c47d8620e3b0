"""Lets requests in: who asks, by their token, and whether that may do what they ask."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import msgspec

from .. import access
from ..access import Scope, Token
from ..errors import AccessError, NotFoundError
from ..store.protocol import Store

# How long a token is taken to be as it was, in seconds, where no hint says that it has changed.
FRESH = 1.0
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


class Gate:
    """Knows the tokens. Without `wanted`, everybody may everything.

    `elapsed` tells how much time has passed since some moment, in seconds.
    """

    def __init__(
        self, store: Store, *, wanted: bool, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._wanted = wanted
        self._elapsed = elapsed
        self._known: dict[str, tuple[float, Token]] = {}

    def forget(self, ids: Sequence[str]) -> None:
        """Look at these tokens anew; at all of them if there are none."""
        if not ids:
            self._known.clear()
        for token_id in ids:
            self._known.pop(token_id, None)

    async def identify(self, header: str, where: str) -> Caller:
        """Say who asks, by the header Authorization; AccessError when that is not known."""
        if not self._wanted:
            return Caller(None, where)
        if not header.lower().startswith(BEARER):
            raise AccessError(
                "this server wants a token: send it as `Authorization: Bearer cvy_…`. "
                "`conveyor token create` on the server makes one.",
                unknown=True,
            )
        text = header[len(BEARER) :].strip()
        token_id = access.token_id(text)
        token = None if token_id is None else await self._find(token_id)
        if token is None or not access.fits(token, text):
            raise AccessError("this server does not know the token", unknown=True)
        standing = access.standing(token, self._store.now())
        if standing != "good":
            raise AccessError(f"the token {token.id} ({token.name}) is {standing}", unknown=True)
        return Caller(token, where)

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
    token = caller.token
    if any(access.may(token, scope, queue) for scope in scopes):
        return
    wanted = ", ".join(scopes) or "admin"
    where = "" if queue is None else f" on queue {queue!r}"
    raise AccessError(
        f"the token {token.id} ({token.name}) may not {what}{where}: it has the scope(s) "
        f"{', '.join(sorted(token.scopes))}"
        f"{' for ' + ', '.join(token.queues) if token.queues else ''}; {wanted} is needed"
    )


def may_be(caller: Caller, worker: str) -> bool:
    """Whether a caller may speak for a worker: the name of an agent's worker ends with its token.

    So nobody else's jobs can be touched, and after a restart of the server it is still known.
    """
    return caller.is_admin or (caller.token is not None and worker.endswith(f"@{caller.token.id}"))
