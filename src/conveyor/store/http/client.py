"""The line to a server: one pool of connections in a thread of its own, for blocking code too."""

from __future__ import annotations

import asyncio
import io
import ssl
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec
from yarl import URL

from ...core.backoff import DoublingBackoff
from ...core.pending import Pending, failed, wake
from ...errors import ConveyorError, PassingError, UnavailableError, UsageError
from .api import JSON, PACKED, PREFIX, Call
from .payloads import Body
from .problems import Problem, error_of

T = TypeVar("T")

# How long a question may take, in seconds, beyond what it asks the server to wait.
ANSWER = 30.0
CONNECT = 5.0
# How long a question that may be repeated is repeated while the server cannot be reached, as it is
# while it starts anew.
PATIENCE = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
CLOSE = 5.0
LARGE = 1 << 20
# Connections to one server: each claim that waits, and the stream of hints, hold one.
CONNECTIONS = 100

_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode
_decode_problem = msgspec.json.Decoder(Problem).decode


class Line:
    """Asks one server. `url` is its address without a path; `token` opens it.

    `tls` says whom to trust; None: whom the system does.
    Any thread may ask; what is awaited inside the line's own thread is a coroutine given to
    `start`.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        patience: float = PATIENCE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._patience = patience
        self._tls = tls
        self._lock = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._session: aiohttp.ClientSession | None = None
        self._thread = threading.Thread(target=self._run, name="conveyor-http", daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Pending[T]:
        """Carry a coroutine out in the line's thread; returns what it will answer."""
        pending: Pending[T] = Pending()
        with self._lock:
            if self._closed:
                work.close()
                return failed(UnavailableError(f"the connection to {self.url} was closed"))
            self._loop.call_soon_threadsafe(self._begin, work, pending)
        return pending

    async def ask(
        self,
        call: Call,
        path: Mapping[str, str] | None = None,
        body: Body | None = None,
        *,
        data: bytes | None = None,
        again: Callable[[], Body] | None = None,
        wait: float = 0.0,
    ) -> Any:
        """Make one call and return its answer, or raise what the server says.

        `data` is what a raw call takes.
        `again` returns what to send when the call is repeated. `wait` is how long the server may
        take on purpose, in seconds.
        """
        deadline = time.monotonic() + self._patience
        backoff = DoublingBackoff(FIRST_PAUSE, LONGEST_PAUSE, jitter=0.5)
        tries = 0
        while True:
            try:
                return await self._once(call, path or {}, body, data, wait)
            except UnavailableError as error:
                # Once more in any case: it may have been this one connection that was dead.
                tries += 1
                late = tries > 1 and time.monotonic() + backoff.pause > deadline
                if not call.repeats or not self._is_passing(error) or late:
                    raise
            await asyncio.sleep(backoff.next_pause())
            body = again() if again is not None else body

    async def stream(self, call: Call, body: Body, hear: Callable[[bytes], None]) -> None:
        """Make a call whose answer goes on for ever; `hear` gets each line of it.

        Returns when the server ends it; raises UnavailableError when nothing comes for `ANSWER`
        seconds.
        """
        try:
            async with self._there().get(
                URL(self.url + address_of(call, {}), encoded=True),
                params=_query(body),
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(sock_connect=CONNECT, sock_read=ANSWER),
                allow_redirects=False,
            ) as answer:
                if answer.status != 200:
                    raise _refusal(answer.status, await answer.read(), self.url)
                async for line in answer.content:
                    hear(line.strip())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    def close(self) -> None:
        """Let go of the connections. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._loop.call_soon_threadsafe(self._end)
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE)

    async def _once(
        self,
        call: Call,
        path: Mapping[str, str],
        body: Body | None,
        data: bytes | None,
        wait: float,
    ) -> Any:
        headers, params = self._headers, None
        if call.in_query:
            params = None if body is None else _query(body)
        else:
            encode = _pack if call.packed else _encode
            data = None if body is None else encode(body)
            headers = {**self._headers, "Content-Type": PACKED if call.packed else JSON}
        try:
            async with self._there().request(
                call.method,
                URL(self.url + address_of(call, path), encoded=True),
                params=params,
                data=_sent(data),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=ANSWER + wait, sock_connect=CONNECT),
                allow_redirects=False,  # the token is for this server alone
            ) as answer:
                came = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error
        return read_answer(call, status, came, self.url)

    def _there(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=CONNECTIONS,
                    keepalive_timeout=30.0,
                    ssl=self._tls or True,
                ),
                auto_decompress=True,
            )
        return self._session

    def _unreachable(self, error: Exception) -> UnavailableError:
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return UnavailableError(
                f"the server at {self.url} cannot be trusted: {error.certificate_error}. If its "
                "certificate is of an authority of your own, name that with CONVEYOR_CA_FILE."
            )
        why = str(error) or "no answer in time"
        return PassingError(f"the server at {self.url} cannot be reached: {why}")

    def _is_passing(self, error: UnavailableError) -> bool:
        return isinstance(error, PassingError) and not self._closed

    def _begin(self, work: Coroutine[Any, Any, T], pending: Pending[T]) -> None:
        task = self._loop.create_task(work)
        task.add_done_callback(lambda done: _settle(done, pending))

    def _end(self) -> None:
        # Those too that were begun by what was given to `start`.
        going = asyncio.all_tasks(self._loop)
        for task in going:
            task.cancel()
        leaving = self._loop.create_task(self._leave(going))
        leaving.add_done_callback(lambda _: self._loop.stop())

    async def _leave(self, going: Collection[asyncio.Task[Any]]) -> None:
        await asyncio.gather(*going, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()


def address_of(call: Call, path: Mapping[str, str]) -> str:
    """Return where at a server a call is made."""
    named = {name: _segment(value) for name, value in path.items()}
    return PREFIX + call.path.format(**named)


def read_answer(call: Call, status: int, came: bytes, url: str) -> Any:
    """Return what was answered, or raise what the server says."""
    if status >= 300:
        raise _refusal(status, came, url)
    if call.raw == "gives":
        return came
    if call.gives is None:
        return None
    try:
        return decoder(call)(came)
    except msgspec.MsgspecError as error:
        raise UnavailableError(
            f"{url} answered {call.name} with what this version does not know: {error}. "
            "Are both of one version?"
        ) from error


def decoder(call: Call) -> Callable[[bytes], Any]:
    """Return what reads the answer of a call."""
    known = _DECODERS.get(call.name)
    if known is None:
        known = _DECODERS[call.name] = msgspec.json.Decoder(call.gives).decode
    return known


_DECODERS: dict[str, Callable[[bytes], Any]] = {}


def server_address(url: str) -> str:
    """Return a server's address as it is kept; UsageError if it is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(
            f"{url!r}: a server is written https://jobs.example.com or http://host:port"
        )
    if parts.username or parts.password:
        raise UsageError(
            "a server's address holds no name and no password: others can read it. "
            "Give the token with token=, CONVEYOR_TOKEN or --token-file."
        )
    return url.rstrip("/")


def checked_token(token: str) -> str:
    """Return a token as it may be sent; UsageError if it could not be."""
    if not (token.isascii() and token.isprintable()):
        raise UsageError("the token is more than one line of plain text: copy it anew")
    return token


def trusting(ca_file: str) -> ssl.SSLContext:
    """Return whom to trust by the certificates in a file; UsageError if it has none."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (ssl.SSLError, OSError) as error:
        raise UsageError(
            f"{ca_file!r} holds no certificates that can be read, in PEM format: {error}"
        ) from error


def _settle(task: asyncio.Task[T], pending: Pending[T]) -> None:
    if task.cancelled():
        pending.fail(UnavailableError("the connection was closed meanwhile"))
    elif error := task.exception():
        pending.fail(error)
    else:
        pending.resolve(task.result())
    wake([pending])


def _segment(name: str) -> str:
    # A dot alone would be taken for "this folder" on the way.
    return quote(name, safe="").replace(".", "%2E") if name in (".", "..") else quote(name, safe="")


def _sent(data: bytes | None) -> bytes | io.BytesIO | None:
    # What is large goes piece by piece, so that others on the line are not held up.
    return data if data is None or len(data) <= LARGE else io.BytesIO(data)


def _query(body: Body) -> dict[str, str]:
    given = msgspec.to_builtins(body)
    return {name: str(value) for name, value in given.items() if value is not None}


def _refusal(status: int, data: bytes, url: str) -> ConveyorError:
    try:
        found = _decode_problem(data)
    except msgspec.MsgspecError:
        kind = PassingError if status in (502, 503, 504) else UnavailableError
        return kind(f"{url} answered {status}, and not as a Conveyor server does: is it one?")
    error = error_of(found)
    return PassingError(str(error)) if found.code == "unavailable" else error
