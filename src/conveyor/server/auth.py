"""Authentication: identifies the caller of a request by its token."""

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
from ..store.protocol import Store
from .origin_guard import check_local_origin
from .session_cookie import token_in_cookie

# Seconds for which a cached token is used without reading it again, in case a hint was lost.
CACHE_TTL = 1.0
# Seconds between two checks of the token of a call that waits or streams.
RECHECK_EVERY = 10.0
MAX_CACHED_TOKENS = 10_000
BEARER = "bearer "


class Principal(msgspec.Struct, frozen=True):
    """Who makes a call: the holder of a token, or any client (None) if no token is required.

    `is_former`: the token has expired or was revoked, so its holder may only return jobs.
    """

    token: Token | None
    address: str
    is_former: bool = False

    @property
    def name(self) -> str:
        """The name in the audit log."""
        return "anybody" if self.token is None else access.token_label(self.token)

    @property
    def is_admin(self) -> bool:
        """Whether everything is allowed."""
        return self.token is None or ("admin" in self.token.scopes and not self.is_former)

    @property
    def sees_secrets(self) -> bool:
        """Whether jobs are shown with all of their arguments: to who may enqueue or run them."""
        return self.is_admin or (
            self.token is not None and bool(self.token.scopes & {"enqueue", "agent"})
        )

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues to which the token is limited; empty if it is not limited."""
        return () if self.token is None else self.token.queues

    def may(self, scopes: Collection[Scope], queue: str | None) -> bool:
        """Whether a call that needs one of the scopes is allowed on a queue (None: on no one)."""
        if self.is_admin or self.token is None:
            return True
        return any(access.is_allowed(self.token, scope, queue) for scope in scopes)

    def may_act_as(self, worker: str) -> bool:
        """Whether calls in the name of a worker are allowed.

        The name of an agent's worker ends with the id of its token, so the server knows whose
        worker it is, also after a restart.
        """
        return self.is_admin or (self.token is not None and worker.endswith(f"@{self.token.id}"))


class Authenticator:
    """Knows the tokens of a store. With `required`, every call needs one.

    Without, any client may do everything until the first token is created. From then on a token is
    required, even when all tokens are revoked. `elapsed` is a monotonic clock.
    """

    def __init__(
        self, store: Store, *, required: bool, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._required = required
        self._elapsed = elapsed
        self._checked_for_tokens_at: float | None = None
        self._cache: dict[str, tuple[float, Token]] = {}
        # One event for each call that waits or streams -> the id of its token, "" without one.
        self._watching: dict[asyncio.Event, str] = {}

    def forget_tokens(self, ids: Sequence[str]) -> None:
        """Drop changed tokens from the cache; all of them if there are no ids."""
        self._checked_for_tokens_at = None
        if not ids:
            self._cache.clear()
        for token_id in ids:
            self._cache.pop(token_id, None)
        for changed, token_id in self._watching.items():
            if not ids or not token_id or token_id in ids:
                changed.set()

    async def identify(
        self,
        headers: Mapping[str, str],
        address: str,
        *,
        method: str = "POST",
        former: bool = False,
    ) -> Principal:
        """Return who makes a request; AccessError if it has no valid token but needs one.

        The token is in the header Authorization, or in the cookie of the dashboard's session.
        `former`: an agent's token that has expired or was revoked will do.
        """
        if not await self._requires_token():
            check_local_origin(headers)
            return Principal(None, address)
        header = headers.get("authorization", "")
        if header.lower().startswith(BEARER):
            return await self.identify_token(header[len(BEARER) :].strip(), address, former=former)
        text = token_in_cookie(headers, method)
        if text is None:
            raise _token_required()
        return await self.identify_token(text, address)

    async def identify_token(self, text: str, address: str, *, former: bool = False) -> Principal:
        """Return who holds a token; AccessError if it is not valid."""
        token_id = access.token_id(text)
        token = None if token_id is None else await self._find(token_id)
        if token is None or not access.matches_token(token, text):
            raise AccessError(
                "unknown token; `conveyor token create` on the server makes a new one", unknown=True
            )
        if former and "agent" in token.scopes and not self._is_valid(token):
            return Principal(token, address, is_former=True)
        self._check_valid(token)
        return Principal(token, address)

    async def check_again(self, principal: Principal) -> None:
        """Raise AccessError if a principal that was identified earlier has lost access."""
        if principal.token is None:
            if await self._requires_token():
                raise _token_required()
            return
        token = await self._find(principal.token.id)
        if token is None:
            raise AccessError("unknown token: it was deleted", unknown=True)
        self._check_valid(token)

    async def watch_access(self, principal: Principal) -> NoReturn:
        """Wait until the principal loses access; raises AccessError then."""
        changed = asyncio.Event()
        self._watching[changed] = "" if principal.token is None else principal.token.id
        try:
            while True:
                await wait_for_event(changed, self._recheck_in(principal))
                changed.clear()
                await self.check_again(principal)
        finally:
            del self._watching[changed]

    def _recheck_in(self, principal: Principal) -> float:
        expires_at = None if principal.token is None else principal.token.expires_at
        if expires_at is None:
            return RECHECK_EVERY
        return max(0.0, min(RECHECK_EVERY, expires_at - self._store.now()))

    def _is_valid(self, token: Token) -> bool:
        return access.token_status(token, self._store.now()) == "good"

    def _check_valid(self, token: Token) -> None:
        if not self._is_valid(token):
            raise ended_token(token, self._store.now())

    async def _requires_token(self) -> bool:
        now = self._elapsed()
        checked_at = self._checked_for_tokens_at
        if not self._required and (checked_at is None or now - checked_at >= CACHE_TTL):
            self._checked_for_tokens_at = now
            if await self._store.tokens(limit=1):
                self._required = True
        return self._required

    async def _find(self, token_id: str) -> Token | None:
        cached = self._cache.get(token_id)
        now = self._elapsed()
        if cached is not None and now - cached[0] < CACHE_TTL:
            return cached[1]
        try:
            token = await self._store.token(token_id)
        except NotFoundError:
            self._cache.pop(token_id, None)
            return None
        if len(self._cache) >= MAX_CACHED_TOKENS:
            self._cache.clear()
        self._cache[token_id] = now, token
        return token


def ended_token(token: Token, now: float) -> AccessError:
    """Return the error for a token that has expired or was revoked."""
    standing = access.token_status(token, now)
    return AccessError(f"token {token.id} ({token.name}) is {standing}", unknown=True)


def _token_required() -> AccessError:
    return AccessError(
        "this server requires a token: send it as `Authorization: Bearer cvy_…`. "
        "`conveyor token create` on the server makes one.",
        unknown=True,
    )
