"""The HTTP client: one connection pool in a thread of its own, for blocking and async code."""

from __future__ import annotations

import asyncio
import atexit
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

from ...core.job import QueueInfo
from ...core.loop_backoff import DoublingBackoff
from ...core.pending import Pending, failed, wake
from ...core.unreadable import UNREADABLE
from ...errors import ConveyorError, PassingError, UnavailableError, UsageError
from ..messages import Content, Dismissed, Order, Staged
from .answer_check import checked_answer, page_of
from .api import CURSOR_HEADER, JSON, MSGPACK, PREFIX, ApiCall
from .payloads import BytesQuery, Payload, ServerTerms
from .problems import Problem, error_from_problem
from .wire import ExchangedView, JobView

T = TypeVar("T")

# Seconds until a response must be complete, beyond the time that the server waits on request.
RESPONSE_TIMEOUT = 30.0
CONNECT_TIMEOUT = 5.0
# Seconds for which an idempotent call is repeated while the server is unreachable, such as while
# it restarts.
RETRY_FOR = 10.0
MIN_PAUSE, MAX_PAUSE = 0.05, 1.0
CLOSE_TIMEOUT = 5.0
# The maximum size of an answer in bytes: a server must not exhaust the client's memory. A page ends
# before 4 MiB or after one entry, and a job is as large as the bodies that its arguments and its
# result came in.
MAX_ANSWER, MAX_JOBS_ANSWER = 64 << 20, 256 << 20
JOBS_ANSWERS = (JobView, list[JobView], ExchangedView)
MAX_ERROR_ANSWER = MAX_SMALL_ANSWER = 1 << 20
SMALL_ANSWERS = (None, bool, int, Content, Dismissed, Order, QueueInfo, ServerTerms, Staged)
# Larger bodies are sent in chunks, so that they do not delay other calls.
CHUNKED_ABOVE = 1 << 20
# Each waiting claim and each stream of hints holds a connection.
MAX_CONNECTIONS = 100

_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode
_decode_problem = msgspec.json.Decoder(Problem).decode
_decoders: dict[str, Callable[[bytes], Any]] = {}


class HttpClient:
    """Makes calls to one server.

    `url` is the server's address, `token` authenticates the calls. `tls` has the certificates to
    trust; None: those that the system trusts. Any thread may `submit` a coroutine; `call` and
    `stream` may be awaited only in such a coroutine, that is in the client's thread.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        retry_for: float = RETRY_FOR,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._retry_for = retry_for
        self._tls = tls
        self._lock = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._pool: aiohttp.ClientSession | None = None
        self._thread = threading.Thread(target=self._run, name="conveyor-http", daemon=True)
        self._thread.start()
        atexit.register(self._close_at_exit)

    def submit(self, work: Coroutine[Any, Any, T]) -> Pending[T]:
        """Run a coroutine in the client's thread; returns its pending result."""
        pending: Pending[T] = Pending()
        with self._lock:
            if self._closed:
                work.close()
                return failed(UnavailableError(f"the connection to {self.url} is closed"))
            self._loop.call_soon_threadsafe(self._start, work, pending)
        return pending

    async def call(
        self,
        call: ApiCall,
        path: Mapping[str, str] | None = None,
        body: Payload | None = None,
        *,
        data: bytes | None = None,
        repeat_with: Callable[[], Payload] | None = None,
        wait: float = 0.0,
        repeats: bool = True,
    ) -> Any:
        """Make one call and return its answer, or raise the error that the server sent.

        `data` is the body of a raw request. `repeat_with` returns the body for a repeated call.
        `wait` is how long the server may hold the call, in seconds. Without `repeats`, it is made
        once.
        """
        deadline = time.monotonic() + self._retry_for
        backoff = DoublingBackoff(MIN_PAUSE, MAX_PAUSE, jitter=0.5)
        attempts = 0
        while True:
            try:
                return await self._attempt(call, path or {}, body, data, wait)
            except UnavailableError as error:
                # The first repeat is always allowed: perhaps only this connection was dead.
                attempts += 1
                is_late = attempts > 1 and time.monotonic() + backoff.pause > deadline
                may_repeat = repeats and call.idempotent and self._is_retryable(error)
                if not may_repeat or is_late:
                    raise
            await asyncio.sleep(backoff.next_pause())
            body = repeat_with() if repeat_with is not None else body

    async def stream(self, call: ApiCall, body: Payload, on_line: Callable[[bytes], None]) -> None:
        """Make a call with an endless response and pass each of its lines to `on_line`.

        Returns when the server ends it; UnavailableError if nothing arrives for RESPONSE_TIMEOUT.
        """
        try:
            async with self._session().get(
                URL(self.url + call_path(call, {}), encoded=True),
                params=_query(body),
                # A proxy that compresses keeps lines back until it has enough of them.
                headers={**self._headers, "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(
                    sock_connect=CONNECT_TIMEOUT, sock_read=RESPONSE_TIMEOUT
                ),
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    data = await _read(response, MAX_ERROR_ANSWER, self.url)
                    raise _error_response(response.status, data, self.url)
                async for line in response.content:
                    on_line(line.strip())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    def close(self) -> None:
        """Close the connections and end the thread. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self._close_at_exit)
        self._loop.call_soon_threadsafe(self._stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_TIMEOUT)

    def _close_at_exit(self) -> None:
        # Otherwise asyncio complains of destroyed tasks. A forked child has no such thread.
        if self._thread.is_alive():
            self.close()

    async def _attempt(
        self,
        call: ApiCall,
        path: Mapping[str, str],
        body: Payload | None,
        data: bytes | None,
        wait: float,
    ) -> Any:
        headers, params = self._headers, None
        if call.in_query:
            params = None if body is None else _query(body)
        else:
            encode = _pack if call.accepts_msgpack else _encode
            data = None if body is None else encode(body)
            headers = {**self._headers, "Content-Type": MSGPACK if call.accepts_msgpack else JSON}
        try:
            async with self._session().request(
                call.method,
                URL(self.url + call_path(call, path), encoded=True),
                params=params,
                data=_chunked_if_large(data),
                headers=headers,
                timeout=aiohttp.ClientTimeout(
                    total=RESPONSE_TIMEOUT + wait, sock_connect=CONNECT_TIMEOUT
                ),
                allow_redirects=False,  # the token must not reach another server
            ) as response:
                status, cursor = response.status, response.headers.get(CURSOR_HEADER)
                content = await _read(response, _max_answer(call, status, body), self.url)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error
        answer = decode_response(call, status, content, self.url, body)
        return page_of(call, body, answer, cursor) if call.cursor else answer

    def _session(self) -> aiohttp.ClientSession:
        # Made at the first call, because it has to be made in the running event loop.
        if self._pool is None:
            self._pool = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=MAX_CONNECTIONS,
                    keepalive_timeout=30.0,
                    ssl=self._tls or True,
                ),
                auto_decompress=True,
            )
        return self._pool

    def _unreachable(self, error: Exception) -> UnavailableError:
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return UnavailableError(
                f"the certificate of the server at {self.url} is not trusted: "
                f"{error.certificate_error}. If your own CA has issued it, set CONVEYOR_CA_FILE "
                "to the CA's certificate."
            )
        why = str(error) or "no response in time"
        return PassingError(f"the server at {self.url} cannot be reached: {why}")

    def _is_retryable(self, error: UnavailableError) -> bool:
        return isinstance(error, PassingError) and not self._closed

    def _start(self, work: Coroutine[Any, Any, T], pending: Pending[T]) -> None:
        task = self._loop.create_task(work)
        task.add_done_callback(lambda done: _copy_result(done, pending))

    def _stop(self) -> None:
        # All tasks of the loop, because what was submitted may have started others.
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        closing = self._loop.create_task(self._close_pool(tasks))
        closing.add_done_callback(lambda _: self._loop.stop())

    async def _close_pool(self, tasks: Collection[asyncio.Task[Any]]) -> None:
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._pool is not None:
            await self._pool.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()


def call_path(call: ApiCall, path: Mapping[str, str]) -> str:
    """Return the URL path of a call, with the names in it quoted."""
    quoted = {name: _quote(value) for name, value in path.items()}
    return PREFIX + call.path.format(**quoted)


def decode_response(
    call: ApiCall, status: int, content: bytes, url: str, body: Payload | None = None
) -> Any:
    """Return the answer in a response, or raise the error that it describes.

    What it may have is decided by the `body` of the request.
    """
    if status >= 300:
        raise _error_response(status, content, url)
    if call.raw == "response":
        return content
    if call.response is None:
        return None
    try:
        return checked_answer(body, _decoder(call)(content))
    except UsageError as error:
        raise UnavailableError(
            f"{url} sent an answer to {call.name} that cannot be true: {error}"
        ) from error
    except UNREADABLE as error:
        raise UnavailableError(
            f"{url} sent an answer to {call.name} that this version cannot read: {error}. "
            "Use the same version of Conveyor on both sides."
        ) from error


def checked_server_url(url: str) -> str:
    """Return a server's address without a trailing slash; UsageError if it is not one."""
    wrong = UsageError(
        f"{url!r} is not the address of a server: write https://jobs.example.com or "
        "http://host:port"
    )
    try:
        parts, target = urlsplit(url), URL(url)
        has_port = parts.port != 0  # ValueError if it is no number up to 65535
    except (ValueError, IndexError) as error:  # IndexError is how yarl refuses "http://h:@"
        raise wrong from error
    is_http = parts.scheme in ("http", "https") and parts.hostname and target.host and has_port
    if not is_http or parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise wrong
    if parts.username or parts.password:
        raise UsageError(
            "the address of a server must not contain a user name or a password, because others "
            "can read it. Pass the token with token=, CONVEYOR_TOKEN or --token-file."
        )
    return url.rstrip("/")


def checked_token(token: str) -> str:
    """Return a token that can be sent in a header, or raise UsageError."""
    if not (token.isascii() and token.isprintable()):
        raise UsageError("the token must be one line of printable ASCII: copy it again")
    return token


def tls_context(ca_file: str) -> ssl.SSLContext:
    """Return a TLS context that trusts the certificates in a file; UsageError if it has none."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (ssl.SSLError, OSError) as error:
        raise UsageError(
            f"cannot read certificates in PEM format from {ca_file!r}: {error}"
        ) from error


def _decoder(call: ApiCall) -> Callable[[bytes], Any]:
    known = _decoders.get(call.name)
    if known is None:
        known = _decoders[call.name] = msgspec.json.Decoder(call.response).decode
    return known


def _copy_result(task: asyncio.Task[T], pending: Pending[T]) -> None:
    if task.cancelled():
        pending.fail(UnavailableError("the connection was closed during the call"))
    elif error := task.exception():
        pending.fail(error)
    else:
        pending.resolve(task.result())
    wake([pending])


def _quote(name: str) -> str:
    # Proxies resolve the path segments "." and "..", so their dots are quoted too.
    quoted = quote(name, safe="")
    return quoted.replace(".", "%2E") if name in (".", "..") else quoted


def _chunked_if_large(data: bytes | None) -> bytes | io.BytesIO | None:
    return data if data is None or len(data) <= CHUNKED_ABOVE else io.BytesIO(data)


def _max_answer(call: ApiCall, status: int, body: Payload | None) -> int:
    if status >= 300:
        return MAX_ERROR_ANSWER
    return body.limit if isinstance(body, BytesQuery) else max_answer(call)


def max_answer(call: ApiCall) -> int:
    """Return how many bytes the answer to a call can have."""
    if call.response in SMALL_ANSWERS:
        return MAX_SMALL_ANSWER
    return MAX_JOBS_ANSWER if call.response in JOBS_ANSWERS else MAX_ANSWER


async def _read(response: aiohttp.ClientResponse, limit: int, url: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise too_large(limit, url)
    return b"".join(parts)


def too_large(limit: int, url: str) -> UnavailableError:
    """Return the error for an answer that is larger than any that a server may send."""
    return UnavailableError(f"{url} sent an answer of more than {limit:,} bytes, the limit here")


def _query(body: Payload) -> dict[str, str]:
    given = msgspec.to_builtins(body)
    return {name: str(value) for name, value in given.items() if value is not None}


def _error_response(status: int, data: bytes, url: str) -> ConveyorError:
    try:
        found = _decode_problem(data)
    except UNREADABLE:
        kind = PassingError if status in (502, 503, 504) else UnavailableError
        return kind(f"{url} answered with status {status}; is it a Conveyor server?")
    error = error_from_problem(found)
    return PassingError(str(error)) if found.code == "unavailable" else error
