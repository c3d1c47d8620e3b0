"""A crowd of clients takes neither the server's descriptors, nor its processor, nor its log."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from deployment import Deployment
from raw_http import RawClient, make_token, receive_all
from uvicorn.server import ServerState

from conveyor.core.access import issue_token
from conveyor.core.job import NewJob
from conveyor.server.acceptor import (
    MAX_CONNECTIONS,
    RETRY_ACCEPT_AFTER,
    Acceptor,
    connection_limit,
)
from conveyor.server.application import Application
from conveyor.server.http_limits import AUTHENTICATED, LimitedHttpProtocol
from conveyor.server.serve import Bind, Server
from conveyor.server.server_config import ServerConfig
from conveyor.store.memory.store import MemoryStore
from conveyor.system.repeat_filter import LOGGERS, RepeatFilter, bounded_log

pytestmark = pytest.mark.alone

LIMIT = 8


class Running:
    """A server with few connections, in a thread."""

    def __init__(self, connections: int = LIMIT, *, tokens: bool = True) -> None:
        self.store = MemoryStore()
        self.store.insert([NewJob(id="x", task="t", queue="q")]).result()
        self.token = make_token(self.store, "admin") if tokens else ""
        self._server = Server(
            self.store,
            Bind(port=0),
            tokens=tokens,
            config=ServerConfig(),
            connections=connections,
        )
        listening, self.url = self._server.listen()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.run(listening)))
        self._thread.start()
        self.ask = RawClient(self.url)

    def member(self) -> HTTPConnection:
        """Return a connection that has shown a valid token, and stays open."""
        line = HTTPConnection(*self.ask.address, timeout=60)
        assert self.get(line) == 200
        return line

    def get(self, line: HTTPConnection) -> int:
        line.request("GET", "/api/v1/jobs/x", headers={"Authorization": f"Bearer {self.token}"})
        answer = line.getresponse()
        answer.read()
        return answer.status

    def close(self) -> None:
        self._server.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()
        self.store.close()


@pytest.fixture
def running() -> Iterator[Running]:
    server = Running()
    yield server
    server.close()


def strangers(ask: RawClient, count: int) -> list[socket.socket]:
    return [ask.raw(b"GET /api/v1/health HTTP/1.1\r\n") for _ in range(count)]


def close_all(lines: Sequence[socket.socket | HTTPConnection]) -> None:
    for line in lines:
        line.close()


def test_the_oldest_clients_without_a_token_make_room(running: Running) -> None:
    members = [running.member() for _ in range(LIMIT // 2)]
    crowd = strangers(running.ask, 3 * LIMIT)
    for line in crowd[: 2 * LIMIT]:
        with suppress(ConnectionError):
            assert receive_all(line) == b""
    for line in members:
        assert running.get(line) == 200
    newcomer = running.member()
    close_all([*members, *crowd, newcomer])


def test_a_full_server_accepts_again_once_a_connection_is_closed(running: Running) -> None:
    members = [running.member() for _ in range(LIMIT)]
    waiting = HTTPConnection(*running.ask.address, timeout=60)
    waiting.request("GET", "/api/v1/jobs/x", headers={"Authorization": f"Bearer {running.token}"})
    for line in members:
        assert running.get(line) == 200
    assert waiting.sock is not None
    waiting.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        waiting.sock.recv(1, socket.MSG_PEEK)
    members[0].close()
    waiting.sock.settimeout(20)
    assert waiting.getresponse().status == 200
    close_all([*members, waiting])


@pytest.mark.parametrize("path", ["me", "events"])
def test_a_page_that_shows_its_token_is_no_stranger(path: str) -> None:
    called: list[str] = []

    async def show() -> None:
        store = MemoryStore()
        text, token = issue_token("t", ["read"], now=0.0)
        await store.add_token(token)
        app = Application(store, tokens=True)
        for given, expected in ((text + "x", []), (text, [path])):
            sent: list[Any] = []

            async def receive() -> Any:
                return {"type": "http.disconnect"}

            async def send(message: Any, sent: list[Any] = sent) -> None:
                sent.append(message)

            headers = [(b"authorization", f"Bearer {given}".encode())]
            scope = {
                "type": "http", "method": "GET", "path": f"/api/v1/{path}", "query_string": b"",
                "raw_path": f"/api/v1/{path}".encode(), "headers": headers, "scheme": "http",
                "state": {AUTHENTICATED: lambda: called.append(path)},
            }  # fmt: skip
            app.end_waiting()
            await app(scope, receive, send)
            assert called == expected

    asyncio.run(show())


def test_an_open_server_has_no_strangers(caplog: pytest.LogCaptureFixture) -> None:
    server = Running(tokens=False)
    members = [server.member() for _ in range(LIMIT)]
    for line in members:
        assert server.get(line) == 200
    close_all(members)
    server.close()


def test_a_server_stops_while_it_is_full() -> None:
    server = Running(2)
    members = [server.member() for _ in range(2)]
    late = strangers(server.ask, 5)
    server.close()
    close_all([*members, *late])


@pytest.mark.parametrize("descriptors", [40, 64])
def test_idle_clients_beyond_the_descriptors_fail_nothing_and_log_little(
    descriptors: int, tmp_path: Path
) -> None:
    deployment = Deployment(tmp_path)
    text = deployment.token("read")
    deployment.within = ("sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh")
    process = deployment.server()
    ask = RawClient(deployment.url, text)
    idle = [RawClient(deployment.url).raw() for _ in range(3 * descriptors)]
    for _ in range(20):
        assert ask("GET", "/queues").status == 200
    close_all(idle)
    assert process.stop() == 0
    assert len(process.log.read_bytes()) < 2000
    deployment.close()


class Exhausted(socket.socket):
    """A listening socket of a process whose descriptors are used up, at first."""

    accepts = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.accepts += 1
        if self.accepts == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_a_failed_accept_is_tried_again_after_a_pause() -> None:
    async def serve_one() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        accepted = asyncio.Event()

        def make_protocol() -> LimitedHttpProtocol:
            accepted.set()
            config = uvicorn.Config(Application(MemoryStore(), tokens=True))
            return LimitedHttpProtocol(config, ServerState(), {})

        with Exhausted() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            acceptor = Acceptor(listening, make_protocol, limit=2)
            acceptor.start()
            began = loop.time()
            _, writer = await asyncio.open_connection(*listening.getsockname())
            await asyncio.wait_for(accepted.wait(), 60)
            took = loop.time() - began
            writer.close()
            acceptor.stop()
            return listening.accepts, took

    accepts, took = asyncio.run(serve_one())
    assert took > RETRY_ACCEPT_AFTER / 2
    assert accepts <= 3  # the failure, the connection, and that there is no other


def test_the_limit_leaves_descriptors_for_other_uses() -> None:
    assert connection_limit(1 << 20) == MAX_CONNECTIONS
    assert connection_limit(1024) == 768
    assert connection_limit(100) == 50
    assert connection_limit(1) == 1


class Collected(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def collected() -> Iterator[Collected]:
    handler = Collected()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for each in loggers:
        each.addHandler(handler)
    yield handler
    for each in loggers:
        each.removeHandler(handler)


def test_an_event_is_logged_once_a_second_with_how_many_were_dropped() -> None:
    now = 0.0
    repeats = RepeatFilter(lambda: now)
    lines: list[str] = []
    for at in (0.0, 0.1, 0.2, 0.9, 1.0, 1.5, 2.5):
        now = at
        for message in ("client.failed address=%s", "another at=%s"):
            record = logging.LogRecord("test", logging.WARNING, "", 0, message, (at,), None)
            if repeats.filter(record):
                lines.append(record.getMessage())
    assert [line for line in lines if line.startswith("client")] == [
        "client.failed address=0.0",
        "client.failed address=1.0 dropped=3",
        "client.failed address=2.5 dropped=1",
    ]


def test_what_a_stranger_sends_is_logged_at_most_once_a_second(
    running: Running, collected: Collected
) -> None:
    began = time.monotonic()
    for _ in range(200):
        line = running.ask.raw(b"nonsense\r\n\r\n")
        receive_all(line)
        line.close()
        upgrade = b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\n"
        line = running.ask.raw(upgrade + b"Upgrade: websocket\r\n\r\n")
        receive_all(line)
        line.close()
    events = 3
    assert 0 < len(collected.lines) <= events * (time.monotonic() - began + 1)


def test_other_programs_keep_their_log_when_the_server_has_stopped(collected: Collected) -> None:
    logger = logging.getLogger(LOGGERS[0])
    with bounded_log():
        for _ in range(5):
            logger.warning("same")
    for _ in range(5):
        logger.warning("same")
    assert collected.lines == ["same"] * 6
