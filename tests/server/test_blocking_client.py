"""A blocking producer reuses its connection, unless the connection was closed."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec
import pytest
from served import Serving

from conveyor.core.job import NewJob
from conveyor.errors import PassingError
from conveyor.server.http_limits import LimitedHttpProtocol
from conveyor.server.server_config import ServerConfig
from conveyor.store.http.api import SERVER_CALLS, STORE_CALLS, ApiCall
from conveyor.store.http.blocking_client import BlockingClient
from conveyor.store.http.client import max_answer
from conveyor.store.http.payloads import InsertAnswer, InsertBody
from conveyor.store.http.store import HttpStore
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Accepted

BODY_LIMIT = ServerConfig().body_limit


class ConnectionCounter:
    """A server that shows its connections: those there were, and how many have ended."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.met = met = list[LimitedHttpProtocol]()
        self.ended = ended = list[LimitedHttpProtocol]()

        class CountingProtocol(LimitedHttpProtocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                met.append(self)

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                ended.append(self)

        self._serving = Serving(self.store, protocol=CountingProtocol)
        self.url = self._serving.url

    def shut(self) -> None:
        """Close all connections, as a server does with those that are idle for long."""
        for each in self.met:
            each.loop.call_soon_threadsafe(each.transport.close)

    def close(self) -> None:
        self._serving.close()
        self.store.close()


@pytest.fixture
def counter() -> Iterator[ConnectionCounter]:
    made = ConnectionCounter()
    yield made
    made.close()


class CannedServer:
    """A server that answers each request with the next of what it was given, whatever is asked."""

    def __init__(self, *answers: bytes) -> None:
        self.met = 0
        self._answers = iter(answers)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(60)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._listening.accept()
                self.met += 1
                with line:
                    while line.recv(65536):
                        line.sendall(next(self._answers))


def accepted(name: str) -> bytes:
    """Return the answer that a job is accepted, as the server gives it."""
    body = msgspec.json.encode(InsertAnswer(accepted=Accepted((name,))))
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.fixture
def producer(counter: ConnectionCounter) -> Iterator[HttpStore]:
    made = HttpStore(counter.url)
    yield made
    made.close()


def enqueue(producer: HttpStore, name: str) -> None:
    producer.insert([NewJob(id=name, task="t", queue="q", args=b"{}")]).result(10)


def in_queue(counter: ConnectionCounter) -> int:
    return sum(each.depth for each in counter.store.counts().result(10))


def test_a_blocking_producer_keeps_its_connection(
    counter: ConnectionCounter, producer: HttpStore
) -> None:
    for number in range(20):
        enqueue(producer, f"job-{number}")
    assert in_queue(counter) == 20
    assert len(counter.met) == 1


def test_concurrent_producers_use_one_connection_each(
    counter: ConnectionCounter, producer: HttpStore
) -> None:
    def ask(thread: int) -> None:
        for number in range(10):
            enqueue(producer, f"job-{thread}-{number}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert in_queue(counter) == 40
    assert len(counter.met) <= 4


def test_a_connection_that_the_server_has_closed_is_not_reused(
    counter: ConnectionCounter, producer: HttpStore, until: Callable[..., None]
) -> None:
    enqueue(producer, "before")
    counter.shut()
    until(lambda: counter.ended)
    enqueue(producer, "after")
    enqueue(producer, "after that")
    assert in_queue(counter) == 3
    assert len(counter.met) == 2


def test_a_forked_child_opens_its_own_connection(
    counter: ConnectionCounter, producer: HttpStore
) -> None:
    enqueue(producer, "before")
    child = os.fork()
    if child == 0:
        try:
            enqueue(producer, "of the child")
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child must never go on in pytest
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    enqueue(producer, "after")
    assert in_queue(counter) == 3
    assert len(counter.met) == 2


def test_a_server_that_switches_to_another_protocol_is_unavailable() -> None:
    server = CannedServer(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    client = BlockingClient(server.url, "", None)
    with pytest.raises(PassingError, match="the server switches to another protocol"):
        client.call(STORE_CALLS["insert"], {"queue": "q"}, InsertBody(jobs=[]))
    client.close()
    server.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + accepted("one"),
        accepted("one") + accepted("of nobody"),
        accepted("one") + b"HTTP/1.1 408 Request Time",
    ],
    ids=["with one before it", "with one after it", "with part of one after it"],
)
def test_a_response_is_never_taken_for_that_of_another_call(answer: bytes) -> None:
    server = CannedServer(answer, accepted("two"))
    producer = HttpStore(server.url)
    answers = [
        producer.insert([NewJob(id=name, task="t", queue="q", args=b"{}")]).result(10)
        for name in ("one", "two")
    ]
    producer.close()
    server.close()
    assert answers == [Accepted(("one",)), Accepted(("two",))]
    assert server.met == (1 if b"103" in answer else 2)


@pytest.mark.parametrize("call", [*STORE_CALLS.values(), *SERVER_CALLS], ids=lambda call: call.name)
def test_an_answer_may_be_as_large_as_its_call_can_need(call: ApiCall) -> None:
    has_jobs = "JobView" in repr(call.response) or "ExchangedView" in repr(call.response)
    is_list = "list" in repr(call.response)
    assert max_answer(call) >= (2 * BODY_LIMIT if has_jobs else BODY_LIMIT if is_list else 1 << 20)
    assert max_answer(call) <= (4 * BODY_LIMIT if has_jobs else BODY_LIMIT)
