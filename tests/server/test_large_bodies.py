"""A large body stops the server for nobody else, and one that arrives late outlives no token."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from raw_http import RawClient, make_token
from served import Serving
from starlette.requests import Request

from conveyor.core.access import token_id
from conveyor.core.task import task
from conveyor.server import http_io
from conveyor.server.body_room import BodyRoom, BodySpace
from conveyor.server.body_shape import SMALL, read_shape
from conveyor.server.enqueue_api import MANY_JOBS
from conveyor.server.server_config import ServerConfig
from conveyor.store.http.api import JSON, STORE_CALLS
from conveyor.store.http.payloads import InsertBody
from conveyor.store.memory.store import MemoryStore
from conveyor.system.file_threads import FileThreads

LONG = 60
checking, checked = threading.Event(), threading.Event()


@dataclasses.dataclass
class Slow:
    """An argument whose check takes until another request was answered."""

    number: int

    def __post_init__(self) -> None:
        checking.set()
        assert checked.wait(LONG), "the server answered nobody else meanwhile"


def work(slow: Slow) -> None: ...


def send_in_thread(ask: RawClient, path: str, body: Any) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(ask("POST", path, body)))
    thread.start()
    return thread, answers


def test_others_are_answered_while_many_jobs_are_checked(store: MemoryStore) -> None:
    checking.clear()
    checked.clear()
    made = task(work)
    serving = Serving(store, config=ServerConfig(tasks={made.name: made}))
    ask = RawClient(serving.url)
    jobs = [{"task": made.name, "args": {"slow": {"number": 1}}}] * (MANY_JOBS + 1)
    thread, answers = send_in_thread(ask, "/queues/q/jobs", {"jobs": jobs})
    assert checking.wait(LONG)
    assert ask("GET", "/queues").status == 200
    checked.set()
    thread.join(LONG)
    [answer] = answers
    assert len(answer.data["accepted"]["ids"]) == MANY_JOBS + 1
    serving.close()


class Threads(FileThreads):
    """Counts what is run in threads."""

    runs = 0

    def run(self, operation: Any) -> Any:
        self.runs += 1
        return super().run(operation)


@pytest.mark.parametrize(("spaces", "runs"), [(0, 0), (SMALL, 1)])
def test_a_large_body_is_decoded_in_a_thread(spaces: int, runs: int) -> None:
    data = b"{" + b" " * spaces + b'"jobs": [{"task": "t"}]}'

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    async def main() -> None:
        headers = [(b"content-type", b"application/json")]
        http = Request({"type": "http", "method": "POST", "headers": headers}, receive)
        threads = Threads()
        insert = STORE_CALLS["insert"]
        space = BodySpace(BodyRoom(len(data), wait=0), "")
        body = await http_io.read_payload(http, insert, len(data), 1 << 20, threads, space)
        assert ([each.task for each in body.jobs], threads.runs) == (["t"], runs)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("entry", "error"),
    [(b"{}", "missing required field `task` - at `$.jobs[0]`"), (b'{"task":"t"}', "<= 100000")],
)
def test_a_body_with_millions_of_jobs_is_refused_before_each_is_looked_at(
    entry: bytes, error: str
) -> None:
    data = b'{"jobs":[' + b",".join([entry] * 100_001) + b"]}"
    with pytest.raises(msgspec.ValidationError) as raised:
        read_shape(InsertBody, JSON, data)
    assert error in str(raised.value)


def test_a_request_whose_token_is_revoked_while_its_body_arrives_does_nothing(
    store: MemoryStore, server: Serving
) -> None:
    text = make_token(store, "admin")
    body = json.dumps({"paused": True}).encode()
    line = socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=LONG)
    line.sendall(
        b"PUT /api/v1/queues/q/paused HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        + f"Authorization: Bearer {text}\r\nContent-Length: {len(body)}\r\n".encode()
        + b"Expect: 100-continue\r\n\r\n"
    )
    assert line.recv(100).startswith(b"HTTP/1.1 100")  # it is authenticated, and reads the body
    store.revoke_token(token_id(text) or "").result()
    line.sendall(body)
    answer = line.recv(1000)
    line.close()
    assert answer.startswith(b"HTTP/1.1 401")
    assert store.counts().result() == []


def test_a_rescue_of_a_million_workers_is_refused(store: MemoryStore, server: Serving) -> None:
    text = make_token(store, "agent")
    dead = [f"w{number}@{token_id(text)}" for number in range(1001)]
    answer = RawClient(server.url, text)("POST", "/upkeep/rescue", {"dead": dead})
    assert answer.is_problem(400, "usage")
