"""What clients and agents decode: the responses of a server that may be anybody's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httptools
import msgspec
from harness import Target
from history_seeds import HISTORY
from server_targets import DIGEST, DUMP, ERROR, OPTIONS, SCHEDULE, TOKEN, WORKER

from conveyor.cli.exec import read_exit_code
from conveyor.errors import ConveyorError, UnavailableError, UsageError
from conveyor.store.http.api import HINTS, SERVER_CALLS, STORE_CALLS, ApiCall
from conveyor.store.http.blocking_client import receive
from conveyor.store.http.client import checked_server_url, checked_token, decode_response
from conveyor.store.http.hint_stream import decode_hint
from conveyor.store.http.problems import PROBLEMS, problem
from conveyor.store.http.wire import (
    ExchangedView,
    JobView,
    checked_files,
    decode_exchanged,
    decode_job,
)

URL = "http://localhost:1"
CALLS = [*STORE_CALLS.values(), *(call for call in SERVER_CALLS if call is not HINTS)]
JOB = {
    "seq": 1, "id": "j", "task": "t", "queue": "q", "args": {"a": 1}, "state": "running",
    "priority": 0, "run_at": 1.0, "enqueued_at": 1.0, "attempt": 1, "lease": 3, "worker": "w",
    "lease_until": 2.0, "result": [1], "error": "e", "progress": {"done": 1}, "options": OPTIONS,
    "stopping": [{"at": 1, "text": "t"}], "summary": "a=1",
}  # fmt: skip
QUEUE = {"name": "q", "capacity": 5, "paused": False, "counts": {"running": 1}, "offers": 0}
GROUP = {
    "fingerprint": "f", "count": 1, "jobs": 1, "first_at": 1.0, "last_at": 1.0, "tasks": {"t": 1},
    "queues": {"q": 1}, "became": {"discarded": 1}, "job_id": "j", "seq": 1, "type": "E",
}  # fmt: skip
# Valid responses, by the name of the call.
ANSWERS: dict[str, list[Any]] = {
    "insert": [{"accepted": {"ids": ["j"], "existing": ["j"], "dropped": 1}},
               {"offered": {"offer": "1", "queue": "q", "depth": 5, "capacity": 5}}],
    "task_defaults": [{"name": "t", "queue": "q", "options": {"retries": 1}}, None],
    "accepted": [{"accepted": {"ids": ["j"]}}],
    "withdraw": [{"accepted": None}],
    "history": [[{"attempt": 1, "at": 1.0, "worker": "w", "became": "retryable", "error": ERROR}]],
    "output": [[{"job_id": "j", "lease": 1, "offset": 0, "stream": "stdout", "at": 1.0,
                 "data": "eA==", "seq": 1}]],
    "counts": [[QUEUE]], "queue_info": [QUEUE], "offered": [QUEUE, None],
    "stage": [{"moved": 1, "next_due_at": 1.0}],
    "workers": [[WORKER]],
    "put_schedule": [SCHEDULE], "schedules": [[SCHEDULE]],
    "content": [{"size": 1, "whole": True}], "write_content": [{"size": 1, "whole": True}],
    "files": [[{"name": "a/b", "digest": DIGEST, "size": 0, "kind": "input"}]],
    "load": [[{"queue": "q", "requires": ["gpu"], "waiting": 1, "running": 1, "oldest_at": 1.0}]],
    "lead": [{"name": "n", "holder": "h", "until": 1.0, "since": 1.0, "term": 1, "note": "n"}],
    "leader": [None], "token": [TOKEN], "tokens": [[TOKEN]], "revoke_token": [TOKEN],
    "actions": [[{"who": "w", "where": "h", "what": "cancel", "subject": "j"}]],
    "stack": [{"asked_at": 1.0, "taken_at": 2.0, "dump": DUMP}, None],
    "stack_requests": [[{"id": "j", "lease": 1}]], "put_stack": [{"stored": True}],
    "beat": ["quiet"], "dismiss": [{"forgotten": True, "jobs": ["j"]}],
    "terms": [{"version": "1", "now": 1.0, "lease_for": 60.0, "hold": 25.0, "beat": 5.0}],
    "scale": [{"waiting": 1, "running": 1, "total": 2, "oldest_age": 0.5, "wanted_agents": 1}],
    "attempts": [[{"attempt": 1, "outcome": "retryable", "lease": 1, "worker": "w", "error": ERROR,
                   "due_at": 1.0, "started_at": 1.0, "ended_at": 2.0, "waited": 0.0, "seq": 3}]],
    "job_counts": [{"counts": {"running": 1}, "queues": {"q": 1}, "is_capped": True,
                    "is_complete": False, "looked_at": 5}],
    "match": [{"count": 1, "changeable": 1, "states": {"running": 1}, "queues": {"q": 1},
               "is_capped": False, "is_complete": True, "upto": 5}],
    "act": [{"changed": 1, "refused": 1, "jobs": [["j", "available"]], "problems": ["p"],
             "next": 5}],
    "failures": [{"groups": [GROUP], "attempts": 1, "limit": 5, "is_complete": True, "since": 1.0}],
    "failure": [{"group": GROUP, "error": ERROR, "newest": [
        {"seq": 1, "fingerprint": "f", "job_id": "j", "task": "t", "queue": "q", "at": 1.0,
         "became": "discarded"}]}],
    "recent_jobs": [["j"]], "copy_job": [{"id": "j"}],
    "why": [{"text": "t", "parts": [{"text": "t", "kind": "queue", "name": "q"}], "ahead": 1}],
    "job_args": [{"args": {"a": 1}, "masked": ["/a"], "size": 5}],
    "search_output": [{"lines": [{"seq": 1, "lease": 1, "stream": "stdout", "at": 1.0,
                                  "text": "t"}], "next": 5}],
    "schedule_outlook": [{"schedule": SCHEDULE, "words": "w", "next": [1.0], "outcomes": [
        {"id": "j", "state": "running", "enqueued_at": 1.0}]}],
    "scaler": [{"leader": None, "is_current": False, "status": {"at": 1.0}}],
    "suggest": [{"found": ["a"]}], **HISTORY,
}  # fmt: skip
# Calls whose answers the store takes out of what is sent.
UNWRAPPED = ("insert", "accepted", "withdraw", "put_stack")
RENEWALS = [{"id": "j", "verdict": "cancel", "reason": "r", "forced": True}]


def seeds(call: ApiCall) -> list[bytes]:
    by_type: list[tuple[Any, Any]] = [
        (JobView, JOB),
        (list[JobView], [JOB]),
        (ExchangedView, {"settled": ["j"], "jobs": [JOB]}),
        (int, 5), (bool, True), (list[str], ["a"]),
    ]  # fmt: skip
    plain = next((value for kind, value in by_type if kind == call.response), RENEWALS)
    return [json.dumps(each).encode() for each in ANSWERS.get(call.name, [plain])]


def used(call: ApiCall) -> Callable[[Any], Any]:
    """Return what the HTTP store makes of the decoded response."""
    kinds: list[tuple[Any, Callable[[Any], Any]]] = [
        (JobView, decode_job),
        (list[JobView], lambda views: list(map(decode_job, views))),
        (ExchangedView, decode_exchanged),
    ]
    if call.name == "files":
        return checked_files
    return next((make for kind, make in kinds if kind == call.response), lambda answer: answer)


def response_target(call: ApiCall) -> Target:
    make = used(call)

    def decode(data: bytes) -> Any:
        return make(decode_response(call, 200, data, URL))

    def encode(answer: Any) -> bytes:
        return msgspec.json.encode(answer if call.encode is None else call.encode(answer))

    # What was decoded for a call like insert is what goes over the wire.
    is_same = call.encode is None or call.name in UNWRAPPED
    back = msgspec.json.encode if is_same else encode
    return Target(f"response to {call.name}", decode, seeds(call), (ConveyorError,), back)


def decode_problem(data: bytes) -> str:
    status = 400 + len(data) % 200
    try:
        decode_response(STORE_CALLS["get"], status, data, URL)
    except ConveyorError as error:
        return str(error)
    raise AssertionError("an error was taken for a response")


class Socket:
    """A connection on which the server has sent some data and closed."""

    def __init__(self, data: bytes) -> None:
        self._parts = [data[start : start + 100] for start in range(0, len(data), 100)]
        self._parts.reverse()

    def settimeout(self, seconds: float) -> None:
        return

    def recv(self, size: int) -> bytes:
        return self._parts.pop() if self._parts else b""


def decode_http(data: bytes) -> None:
    """Do what BlockingClient.call does with what comes over a connection."""
    try:
        response = receive(Socket(data), URL, limit=1 << 16)  # type: ignore[arg-type]
    except (OSError, httptools.HttpParserError):
        return
    decode_response(STORE_CALLS["insert"], response.status, b"".join(response.parts), URL)


HTTP = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n{"accepted":{"ids":["j"]}}',
    (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'19;x=y\r\n{"accepted":{"ids":["j"]}}\r\n0\r\nTrailer: x\r\n\r\n'
    ),
    b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 25\r\n\r\n{"accepted":{"ids":["j"]}}',
)


def decode_address(data: bytes) -> Any:
    return checked_server_url(data.decode("utf-8", "surrogateescape"))


def client_targets() -> list[Target]:
    """Return the targets of clients and agents."""
    problems = [msgspec.json.encode(problem(code, "d")) for code in PROBLEMS]
    hint = b'{"kind":"final","subjects":["j","k"]}'
    return [
        *(response_target(call) for call in CALLS if call.response is not None),
        Target("problem", decode_problem, problems),
        Target("hint", decode_hint, [hint], (UnavailableError,), msgspec.json.encode),
        Target("HTTP response", decode_http, HTTP, (ConveyorError,)),
        Target("server address", decode_address, [b"https://h.example:80/a", b"http://[::1]:1"],
               (UsageError,), str.encode),
        Target("exit code", read_exit_code, [b'{"exit_code":5}'], (UnavailableError,)),
        Target("token to send", lambda data: checked_token(data.decode("latin-1")), [b"cvy_a_b"],
               (UsageError,), lambda text: text.encode("latin-1")),
    ]  # fmt: skip
