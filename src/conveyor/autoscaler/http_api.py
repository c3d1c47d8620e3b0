"""Plain HTTP to the API of who makes machines: a question, and its answer in bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import aiohttp
import msgspec

from ..errors import UnavailableError

CONNECT = 10.0
LARGEST = 64 << 20
# How often a question is put again to somebody who is too busy, and how long for at most, each.
BUSY, LONGEST_WAIT = 3, 10.0

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[object]]


class LostError(UnavailableError):
    """There was no answer, so that nobody knows whether it was done."""


class Answer(NamedTuple):
    """What came."""

    status: int
    body: bytes
    retry_after: str


class Api:
    """One API, over connections that are made when first needed.

    `name` says in errors whose it is. `busy` are the statuses that ask to come again later; `sleep`
    waits for that.
    """

    def __init__(
        self,
        *,
        name: str,
        address: str,
        connect: Callable[[], aiohttp.BaseConnector],
        timeout: float,
        busy: tuple[int, ...] = (),
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.name = name
        self._address, self._connect, self._timeout = address, connect, timeout
        self._busy, self._sleep = busy, sleep
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        longer: float = 0.0,
    ) -> Answer:
        """Put a question, `longer` seconds more than usual; LostError when no answer comes."""
        tries = 0
        while True:
            answer = await self._once(method, path, params, body, headers or {}, longer)
            tries += 1
            if answer.status not in self._busy or tries > BUSY:
                return answer
            text = answer.retry_after
            await self._sleep(min(float(text) if text.isdigit() else 1.0, LONGEST_WAIT))

    async def close(self) -> None:
        """Let go of the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _once(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: object,
        headers: Mapping[str, str],
        longer: float,
    ) -> Answer:
        data = None if body is None else msgspec.json.encode(body)
        kind = {} if body is None else {"Content-Type": "application/json"}
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=self._connect())
        try:
            async with self._session.request(
                method,
                f"{self._address}{path}",
                params=params,
                data=data,
                headers={"Accept": "application/json", **kind, **headers},
                timeout=aiohttp.ClientTimeout(total=self._timeout + longer, sock_connect=CONNECT),
                allow_redirects=False,  # what opens this API is for it alone
            ) as answer:
                came = await answer.content.read(LARGEST)
                while not answer.content.at_eof() and len(came) < LARGEST:
                    came += await answer.content.read(LARGEST - len(came))
                return Answer(answer.status, came, answer.headers.get("Retry-After", ""))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = str(error) or "no answer in time"
            raise LostError(f"{self.name} cannot be reached: {why}") from error


async def send_twice(send: Callable[[], Awaitable[Answer]]) -> tuple[Answer, bool]:
    """Send a request, once more if its answer is lost; return the answer and whether it was.

    Only for requests that the API does not carry out twice.
    """
    try:
        return await send(), False
    except LostError:
        return await send(), True


def decoded(api: Api, answer: Answer, kind: type[T]) -> T:
    """Return what an answer says; UnavailableError when it is not what was asked for."""
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except msgspec.MsgspecError as error:
        raise UnavailableError(
            f"{api.name} answered what this version does not know: {error}"
        ) from error


def message(answer: Answer) -> str:
    """Return what an answer says in `message`, as the APIs of Docker and Kubernetes do."""
    try:
        said: Any = msgspec.json.decode(answer.body)
        return str(said["message"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return answer.body[:500].decode(errors="replace").strip() or "nothing more"
