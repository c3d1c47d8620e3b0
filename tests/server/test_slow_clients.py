"""Slow, silent and endless clients delay nobody and are disconnected."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from typing import ClassVar

import msgspec
import pytest
from raw_http import RawClient, receive_all
from served import OpenAuthenticator, Serving

from conveyor.core.job import NewJob
from conveyor.server.auth import Principal
from conveyor.server.http_limits import LimitedHttpProtocol
from conveyor.store.memory.store import MemoryStore

pytestmark = pytest.mark.alone

WAIT = 0.15
GET = b"GET /api/v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /api/v1/queues/q/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n"


class Impatient(LimitedHttpProtocol):
    """The protocol, in a hurry."""

    headers_timeout: ClassVar[float] = WAIT
    body_timeout: ClassVar[float] = WAIT
    headers_limit: ClassVar[int] = 2000
    write_timeout: ClassVar[float] = WAIT


@pytest.fixture
def server() -> Iterator[Serving]:
    serving = Serving(MemoryStore(), protocol=Impatient)
    yield serving
    serving.close()


@pytest.fixture
def ask(server: Serving) -> RawClient:
    return RawClient(server.url)


def status(answer: bytes) -> int:
    """Return the status of the only answer there is, which is a problem."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    found = json.loads(body)
    assert str(found["status"]).encode() == head.split()[1]
    return int(found["status"])


def trickle(ask: RawClient, begin: bytes, part: bytes) -> tuple[float, bytes]:
    """Send a part again and again until the other side closes; returns after how long."""
    line = ask.raw(begin)
    line.settimeout(0.02)
    began, came = time.monotonic(), b""
    while time.monotonic() < began + 10:
        try:
            line.sendall(part)
            data = line.recv(65536)
            if not data:
                break
            came += data
        except TimeoutError:
            continue
        except OSError:
            break
    line.close()
    return time.monotonic() - began, came


def test_headers_that_do_not_end_are_refused(ask: RawClient) -> None:
    took, came = trickle(ask, GET, b"X: y\r\n")
    assert WAIT / 2 < took < 5
    assert status(came) == 408


def test_a_silent_connection_is_closed(ask: RawClient) -> None:
    line = ask.raw()
    assert receive_all(line) == b""
    line.close()


@pytest.mark.parametrize("part", [b"\r\n", b"\n"])
def test_empty_lines_keep_no_connection_open(part: bytes, ask: RawClient) -> None:
    took, _ = trickle(ask, GET + b"\r\n", part)
    assert took < 5


def test_a_body_that_trickles_is_refused(ask: RawClient) -> None:
    head = POST + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    took, came = trickle(ask, head, b" ")
    assert took < 5
    assert status(came) == 408


def test_the_timeout_of_a_pipelined_body_starts_when_it_is_needed(ask: RawClient) -> None:
    claim = b'{"wants": [{"queue": "q", "limit": 1}], "limit": 1, "wait": %.2f}' % (3 * WAIT)
    held = b"POST /api/v1/workers/w/claim HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    line = ask.raw(
        GET
        + b"\r\n"
        + held
        + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(claim)
        + claim
        + POST
        + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    )
    first, _, second = receive_all(line).partition(b"HTTP/1.1 408")
    line.close()
    assert first.count(b"HTTP/1.1 200") == 2
    assert b"the body was not complete" in second


def test_a_body_that_the_server_has_not_read_does_not_time_out() -> None:
    late = asyncio.Event()

    class Counting(Impatient):
        def _on_timeout(self) -> None:
            late.set()
            super()._on_timeout()

    class Thoughtful(OpenAuthenticator):
        async def identify(
            self,
            headers: Mapping[str, str],
            address: str,
            *,
            method: str = "POST",
            former: bool = False,
        ) -> Principal:
            await late.wait()
            return await super().identify(headers, address, method=method, former=former)

    store = MemoryStore()
    serving = Serving(store, protocol=Counting, authenticator=Thoughtful(store))
    job = {"task": "t", "args": {"text": "y" * 200_000}}
    answer = RawClient(serving.url)("POST", "/queues/q/jobs", {"jobs": [job]})
    serving.close()
    assert answer.status == 200


def test_the_rest_of_a_refused_body_is_not_waited_for(ask: RawClient) -> None:
    took, came = trickle(ask, POST + b"Content-Length: 999999999\r\n\r\n", b" ")
    assert took < 5
    assert status(came) == 413


@pytest.mark.parametrize("field", [b"X: " + b"y" * 500 + b"\r\n", b"y" * 500])
def test_headers_have_a_maximum_size(field: bytes, ask: RawClient) -> None:
    line = ask.raw(GET + field * 5)
    assert status(receive_all(line)) == 431
    line.close()


@pytest.mark.parametrize("before", [b"", GET + b"\r\n"])
@pytest.mark.parametrize("size", [1900, 2100])
def test_headers_have_a_maximum_size_even_in_one_segment(
    size: int, before: bytes, ask: RawClient
) -> None:
    line = ask.raw(before + GET + b"X: %b\r\nConnection: close\r\n\r\n" % (b"y" * size))
    answers = receive_all(line)
    line.close()
    is_small = size < Impatient.headers_limit
    assert answers.count(b"HTTP/1.1 200") == (1 + bool(before) if is_small else 0)
    assert answers.count(b"HTTP/1.1 431") == (not is_small and not before)


def test_an_address_counts_as_a_header(ask: RawClient) -> None:
    line = ask.raw(b"GET /%b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % (b"y" * 2000))
    assert status(receive_all(line)) == 431
    line.close()


def test_trailers_have_a_maximum_size(ask: RawClient) -> None:
    head = POST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    took, _ = trickle(ask, head + b"2\r\n{}\r\n0\r\n", b"X: " + b"y" * 1000 + b"\r\n")
    assert took < 5


def test_invalid_http_is_answered_with_a_problem(ask: RawClient) -> None:
    for garbage in (
        b"nonsense\r\n\r\n",
        b"GET \xff HTTP/1.1\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    ):
        line = ask.raw(garbage)
        assert status(receive_all(line)) == 400
        line.close()


def put_large(store: MemoryStore) -> None:
    """Enqueue a job that no buffer of the system can hold; it is larger than a page, so alone."""
    args = msgspec.json.encode({"text": "y" * 20_000_000})
    store.insert([NewJob(id="1", task="t", args=args)]).result()


def ask_without_reading(server: Serving, *fields: bytes) -> socket.socket:
    """Ask for the jobs."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect(RawClient(server.url).address)
    request = b"GET /api/v1/jobs?include=args HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    line.sendall(b"".join([request, *fields, b"\r\n"]))
    return line


@pytest.mark.parametrize("field", [b"", b"Connection: close\r\n"])
def test_a_client_that_does_not_read_is_disconnected(field: bytes) -> None:
    store = MemoryStore()
    put_large(store)
    serving = Serving(store, protocol=Impatient)
    line = ask_without_reading(serving, field)
    waiting = select.poll()
    waiting.register(line, select.POLLERR)
    assert waiting.poll(20_000), "the server still holds the connection"
    line.close()
    serving.close()


def test_a_client_that_reads_slowly_gets_everything() -> None:
    store = MemoryStore()

    class Patient(LimitedHttpProtocol):
        write_timeout: ClassVar[float] = 10.0

    put_large(store)
    serving = Serving(store, protocol=Patient)
    line = ask_without_reading(serving, b"Connection: close\r\n")
    head, _, body = receive_all(line).partition(b"\r\n\r\n")
    assert b" 200 " in head
    assert len(json.loads(body)[0]["args"]["text"]) == 20_000_000
    line.close()
    serving.close()


def test_clients_that_do_not_read_hold_little_more_than_their_page() -> None:
    connections: list[LimitedHttpProtocol] = []
    paused = threading.Semaphore(0)

    class Watched(LimitedHttpProtocol):
        def pause_writing(self) -> None:
            super().pause_writing()
            connections.append(self)
            paused.release()

    store = MemoryStore()
    put_large(store)
    serving = Serving(store, protocol=Watched)
    lines = [ask_without_reading(serving) for _ in range(4)]
    assert all(paused.acquire(timeout=60) for _ in lines)
    assert max(each.transport.get_write_buffer_size() for each in connections) < 1 << 20
    assert RawClient(serving.url)("GET", "/queues").status == 200
    for line in lines:
        line.close()
    serving.close()


def test_a_connection_may_be_idle_between_requests(server: Serving) -> None:
    line = HTTPConnection(server.url.partition("://")[2], timeout=10)
    for _ in range(3):
        line.request("GET", "/api/v1/health")
        assert line.getresponse().read() == b'{"status":"ok"}'
        time.sleep(WAIT * 1.5)
    line.close()


def test_idle_connections_do_not_delay_others() -> None:
    serving = Serving(MemoryStore())
    ask = RawClient(serving.url)
    idle = [ask.raw(GET) for _ in range(500)]
    began = time.monotonic()
    assert all(ask("GET", "/queues").status == 200 for _ in range(20))
    assert time.monotonic() - began < 5
    for line in idle:
        line.close()
    serving.close()
