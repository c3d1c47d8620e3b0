"""A client for the HTTP APIs of providers, with a limit on the time of every request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import aiohttp
import msgspec

from ..core.unreadable import UNREADABLE
from ..errors import UnavailableError

CONNECT_TIMEOUT = 10.0
MAX_BODY = 64 << 20
# Retries when the API is busy, and the longest pause before each, in seconds.
MAX_RETRIES, MAX_RETRY_PAUSE = 3, 10.0

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[object]]


class NoResponseError(UnavailableError):
    """No response came, so the request may or may not have been carried out."""


class ApiResponse(NamedTuple):
    """Status and body of a response."""

    status: int
    body: bytes
    retry_after: str


class HttpApi:
    """One API; connections are opened when they are first needed.

    `name` is for errors. `busy` are the statuses that ask for a retry; `sleep` waits before it.
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

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        extra_timeout: float = 0.0,
    ) -> ApiResponse:
        """Send a request, again while the API is busy; NoResponseError if none comes in time."""
        tries = 0
        while True:
            response = await self._send(method, path, params, body, headers or {}, extra_timeout)
            tries += 1
            if response.status not in self._busy or tries > MAX_RETRIES:
                return response
            await self._sleep(retry_pause(response.retry_after))

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: object,
        headers: Mapping[str, str],
        extra_timeout: float,
    ) -> ApiResponse:
        data = None if body is None else msgspec.json.encode(body)
        content_type = {} if body is None else {"Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(
            total=self._timeout + extra_timeout, sock_connect=CONNECT_TIMEOUT
        )
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=self._connect())
        try:
            async with self._session.request(
                method,
                f"{self._address}{path}",
                params=params,
                data=data,
                headers={"Accept": "application/json", **content_type, **headers},
                timeout=timeout,
                allow_redirects=False,  # the credentials are for this API alone
            ) as response:
                content = await response.content.read(MAX_BODY)
                while not response.content.at_eof() and len(content) < MAX_BODY:
                    content += await response.content.read(MAX_BODY - len(content))
                retry_after = response.headers.get("Retry-After", "")
                return ApiResponse(response.status, content, retry_after)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = str(error) or "no response in time"
            raise NoResponseError(f"{self.name} cannot be reached: {why}") from error


def retry_pause(text: str) -> float:
    """Return the pause that a header Retry-After asks for, in seconds; 1 if it is no number."""
    is_number = text.isascii() and text.isdigit()
    return min(float(text), MAX_RETRY_PAUSE) if is_number else 1.0


async def send_twice(send: Callable[[], Awaitable[ApiResponse]]) -> tuple[ApiResponse, bool]:
    """Send a request, once more if there is no response; return the response and whether it was.

    Only for requests that the API does not carry out twice.
    """
    try:
        return await send(), False
    except NoResponseError:
        return await send(), True


def decode_response(api: HttpApi, response: ApiResponse, kind: type[T]) -> T:
    """Decode a response's JSON; UnavailableError if it does not have the expected shape."""
    try:
        return msgspec.json.decode(response.body, type=kind)
    except UNREADABLE as error:
        raise UnavailableError(f"{api.name} sent an unexpected response: {error}") from error


def error_message(response: ApiResponse) -> str:
    """Return the `message` of a response, as the APIs of Docker and Kubernetes give errors."""
    try:
        body: Any = msgspec.json.decode(response.body)
        return str(body["message"])
    except (*UNREADABLE, KeyError, TypeError):
        return response.body[:500].decode(errors="replace").strip() or "no message"
