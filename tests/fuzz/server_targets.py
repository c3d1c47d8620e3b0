"""What the server decodes: bodies, queries, paths, headers, and whole requests and connections."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
import uvicorn
from harness import Target
from history_seeds import HISTORY_REQUESTS
from inspection_seeds import INSPECTION
from starlette.datastructures import Headers, QueryParams
from uvicorn.server import ServerState

from conveyor.core.access import agent_suffix, issue_token, matches_token, token_id
from conveyor.core.storable import check_tasks
from conveyor.errors import AccessError, ConveyorError, UsageError
from conveyor.server.application import Application
from conveyor.server.authorization import leases_in
from conveyor.server.http_io import ProblemError, decode_body, decode_query
from conveyor.server.http_limits import LimitedHttpProtocol
from conveyor.server.job_intake import JobIntake, check_declarations
from conveyor.server.metrics_snapshot import read_status
from conveyor.server.origin_guard import check_local_origin
from conveyor.server.router import RouteTable, decode_names
from conveyor.server.validation import check_consistency
from conveyor.store.http import list_queries, payloads
from conveyor.store.http.api import JSON, MSGPACK, PREFIX, SERVER_CALLS, STORE_CALLS, ApiCall
from conveyor.store.memory.store import MemoryStore

CALLS = (*STORE_CALLS.values(), *SERVER_CALLS)
REFUSALS = (ProblemError, ConveyorError)
DIGEST = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
LEASE = {"id": "j", "lease": 1}
ERROR = {"type": "ValueError", "message": "m", "traceback": "t", "bases": ["Exception"]}
OPTIONS = {
    "retries": 3, "backoff": {"type": "exponential", "first": 1.0, "jitter": 0.5},
    "retry_on": ["OSError"], "timeout": 5.0, "key": "k", "meta": {"a": [1, {"b": None}]},
    "requires": ["gpu"], "artifacts": ["**/*.txt"], "expires_at": 1e9,
    "files": [{"name": "a/b", "digest": DIGEST, "size": 0}],
    "trace": {"parent": f"00-{'4b' * 16}-{'0f' * 8}-01", "state": "a=1", "linked": True},
}  # fmt: skip
JOB = {"task": "t", "id": "j", "args": {"a": [1, "é"]}, "priority": 1, "options": OPTIONS}
REPORTS = [
    {**LEASE, "outcome": outcome}
    for outcome in (
        {"type": "succeeded", "result": [1]},
        {"type": "failed", "error": ERROR, "retry": False},
        {"type": "crashed", "error": ERROR},
        {"type": "snoozed", "delay": 1.5},
        {"type": "cancelled", "reason": "r"},
        {"type": "interrupted"},
        {"type": "unsupported", "error": ERROR},
    )
]
WORKER = {
    "id": "w", "host": "h", "boot_id": "b", "pid": 1, "pid_started": 1.0, "started_at": 1.0,
    "slots": 4, "queues": ["q"], "labels": ["gpu"], "sick": {"thread": "r"},
}  # fmt: skip
WANTS = [{"queue": "q", "limit": 2}]
CHUNK = {**LEASE, "job_id": "j", "offset": 0, "stream": "stdout", "at": 1.0, "data": "eA=="}
del CHUNK["id"]
SCHEDULE = {
    "name": "s", "cron": "0 3 * * *", "timezone": "Europe/Berlin", "missed": "skip", "next_at": 1.0,
}  # fmt: skip
TOKEN = {"id": "abcdefgh", "name": "n", "digest": "d", "scopes": ["read"], "created_at": 1.0}
ACTION = {"who": "w", "where": "h", "what": "cancel", "subject": "j"}
CLAIM = {"wants": WANTS, "limit": 2, "labels": ["gpu"], "confirm_within": 10.0, "wait": 0.0}

DUMP = {
    "kind": "process",
    "frames": [{"file": "f", "line": 1, "function": "g", "code": "h()", "own": False}],
    "processes": [{"pid": 2, "parent": 1, "command": "c", "state": "S", "rss": 4096}],
    "note": "n",
}

# Valid bodies and queries by their type; a type without any has no fields.
SEEDS: dict[type[payloads.Payload], list[dict[str, Any]]] = {
    payloads.InsertBody: [{"jobs": [JOB, {"task": "t"}], "capacity": 5, "when_full": "refuse"}],
    payloads.ClaimBody: [CLAIM],
    payloads.ExchangeBody: [{**CLAIM, "reports": REPORTS}],
    payloads.SettleBody: [{"reports": [each]} for each in REPORTS],
    payloads.ExtendBody: [{"leases": [LEASE], "lease_for": 60}],
    payloads.ExtendWorkerBody: [{"lease_for": 60.5}],
    payloads.WriteOutputBody: [{"chunks": [CHUNK]}],
    payloads.SetProgressBody: [{"reports": [[LEASE, {"done": 1, "total": 2, "message": "m"}]]}],
    payloads.SetStoppingBody: [{"reports": [[LEASE, [{"at": 1, "text": "t"}]]]}],
    payloads.PutStackBody: [{"lease": LEASE, "dump": DUMP}],
    payloads.CancelBody: [{"reason": "r", "force": True}],
    payloads.PauseBody: [{"paused": True}],
    payloads.LimitBody: [{"limit": 10}],
    payloads.RescueBody: [{"dead": ["w"], "begun": ["j"], "evidence": "e", "limit": 5}],
    payloads.PruneBody: [{"retention": {"completed": 5.0}, "limit": 5}],
    payloads.BeatBody: [{"info": WORKER}],
    payloads.OrderBody: [{"order": "quiet", "if_idle": True}],
    payloads.PutTasksBody: [{"tasks": [{"name": "t", "queue": "q", "options": {"retries": 1}}]}],
    payloads.PutScheduleBody: [{"schedule": SCHEDULE}],
    payloads.TickBody: [{"due_at": 1, "next_at": 2.5, "jobs": [{"task": "t"}], "queue": "q"}],
    payloads.AttachBody: [
        {"lease": 1, "file": {"name": "a/b", "digest": DIGEST, "size": 0, "kind": "artifact"}}
    ],
    payloads.LeadBody: [{"holder": "h", "hold": 5, "note": "n"}],
    payloads.AddTokenBody: [{"token": TOKEN}],
    payloads.NoteActionBody: [{"actions": [ACTION]}],
    list_queries.FindQuery: [
        {"queue": "q", "task": "t", "states": "running,completed", "before": 5, "limit": 10},
        {"states": "running,available", "enqueued_before": 1.5},
        {"include": "args,result,summary"},
        {"error": "0123456789ab", "text": "t", "order": "oldest", "enqueued_after": 1.5},
    ],
    list_queries.HistoryQuery: [{"after": 5, "limit": 10}],
    list_queries.OutputQuery: [{"after": 5, "limit": 10}],
    payloads.PieceQuery: [{"offset": 5, "last": "true"}],
    payloads.BytesQuery: [{"offset": 5, "limit": 10}],
    payloads.DismissQuery: [{"force": "true"}],
    payloads.LoadQuery: [{"limit": 10}],
    payloads.ScaleQuery: [{"queue": "q", "requires": "gpu,linux!only", "slots": 4}],
    list_queries.PageQuery: [{"after": "abc", "limit": 10}],
    list_queries.ListQuery: [{"after": "abc", "limit": 10}],
    list_queries.ActionsQuery: [
        {"before": 5, "limit": 10, "who": "w", "what": "cancel", "subject": "j"},
        {"since": 1.5, "until": 2.5},
    ],
    list_queries.CountQuery: [{"queue": "q", "states": "running", "worker": "w", "after": 5}],
    list_queries.FailuresQuery: [{"queue": "q", "task": "t", "limit": 10}],
    list_queries.FailureQuery: [{"queue": "q"}],
    payloads.ReasonBody: [{"reason": "r"}],
    payloads.ReasonQuery: [{"reason": "r"}],
    **INSPECTION,
    **HISTORY_REQUESTS,
    payloads.MetricsQuery: [{"scalers": "a,b"}],
    payloads.HintsQuery: [{"kinds": "final,offer"}],
}
# Names in paths that agree with the bodies above.
PATH = {"queue": "q", "worker": "w", "name": "s", "token_id": "abcdefgh", "job_id": "j",
        "fingerprint": "0123456789ab"}  # fmt: skip
INTAKE = JobIntake(1 << 20)


def path_of(call: ApiCall) -> dict[str, str]:
    return {name: value for name, value in PATH.items() if f"{{{name}}}" in call.path}


def accept(call: ApiCall, body: Any) -> Any:
    """Do with a body what the server does before its store gets it."""
    path = path_of(call)
    check_consistency(path, body)
    leases_in(body, path.get("job_id", ""))
    match body:
        case payloads.InsertBody():
            INTAKE.new_jobs(body.jobs, path["queue"], 1.0, {})
        case payloads.TickBody():
            INTAKE.new_jobs(body.jobs, body.queue, 1.0, {})
        case payloads.PutTasksBody():
            check_declarations(body.tasks)
            check_tasks(body.tasks)
        case _:
            body.arguments(path)
    return body


def body_target(call: ApiCall) -> Target:
    seeds = [json.dumps(each).encode() for each in SEEDS.get(call.request, [{}])]
    return Target(
        f"body of {call.name}",
        lambda data: accept(call, decode_body(call, JSON, data)),
        seeds,
        REFUSALS,
        msgspec.json.encode,
    )


def msgpack_target(call: ApiCall) -> Target:
    seeds = [msgspec.msgpack.encode({"chunks": [{**CHUNK, "data": b"x\xff"}]})]
    return Target(
        f"MessagePack of {call.name}",
        lambda data: accept(call, decode_body(call, MSGPACK, data)),
        seeds,
        REFUSALS,
        msgspec.msgpack.encode,
    )


def query_target(call: ApiCall) -> Target:
    def decode(data: bytes) -> Any:
        # As starlette reads the query from an ASGI scope.
        return accept(call, decode_query(QueryParams(data.decode("latin-1")), call))

    seeds = [urlencode(each).encode() for each in SEEDS.get(call.request, [{}])]
    return Target(f"query of {call.name}", decode, seeds, REFUSALS)


def routes() -> RouteTable:
    table = RouteTable()
    for call in CALLS:
        table.add(call.method, PREFIX + call.path, _no_endpoint)
    return table


async def _no_endpoint(*_: object) -> Any:
    raise NotImplementedError


def path_target() -> Target:
    table = routes()

    def decode(data: bytes) -> None:
        route = table.find(data.decode("ascii", "replace"))
        if route is not None:
            check_consistency(decode_names(route.names), None)

    seeds = [(PREFIX + call.path).replace("{", "").replace("}", "%2F").encode() for call in CALLS]
    return Target("path", decode, seeds, (UsageError,))


SECRET, KNOWN = issue_token("n", ["read"], now=0.0, random_bytes=bytes)


def decode_token(data: bytes) -> None:
    text = data.decode("latin-1")
    agent_suffix(text)
    if matches_token(KNOWN, text):
        assert text == SECRET
        assert token_id(text) == KNOWN.id


def decode_origin(data: bytes) -> None:
    host, origin, site = [*data.decode("latin-1").split("\n"), "", "", ""][:3]
    given = {"host": host, "origin": origin, "sec-fetch-site": site}
    check_local_origin({name: value for name, value in given.items() if value})


class RequestTarget:
    """Answers whole requests, each written as HTTP; a new store and application now and then."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._answered = 0
        self._app = self._new_app()

    def __call__(self, data: bytes) -> None:
        self._answered += 1
        if self._answered % 500 == 0:
            self._app = self._new_app()
        head, _, body = data.partition(b"\n\n")
        first, *lines = head.split(b"\n")
        method, _, target = first.partition(b" ")
        path, _, query = target.partition(b"?")
        pairs = [line.partition(b":")[::2] for line in lines]
        scope = {
            "type": "http",
            "method": method.decode("latin-1"),
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "headers": [(name.strip().lower(), value.strip()) for name, value in pairs],
            "client": ("127.0.0.1", 1),
        }
        status = self._loop.run_until_complete(self._answer(scope, body))
        assert status is None or status < 500, f"status {status}"

    def _new_app(self) -> Application:
        return Application(MemoryStore(), tokens=False)

    async def _answer(self, scope: dict[str, Any], body: bytes) -> int | None:
        status: int | None = None
        messages = [{"type": "http.request", "body": body}]

        async def receive() -> Mapping[str, Any]:
            if messages:
                return messages.pop()
            return await asyncio.Event().wait()  # type: ignore[return-value]

        async def send(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)

        answering = asyncio.ensure_future(self._app(scope, receive, send))
        for _ in range(50):
            if answering.done():
                break
            await asyncio.sleep(0)
        answering.cancel()  # it waits for jobs, for room or for hints
        await asyncio.wait([answering])
        if not answering.cancelled() and (error := answering.exception()) is not None:
            raise error
        return status


def request_seeds() -> Iterable[bytes]:
    for call in CALLS:
        path = PREFIX + call.path.format_map({**PATH, "digest": DIGEST, "offer": "1", "task": "t"})
        for each in SEEDS.get(call.request, [{}]):
            query = f"?{urlencode(each)}" if call.in_query and each else ""
            body = "" if call.in_query else json.dumps(each)
            yield (
                f"{call.method} {path}{query}\nhost: localhost\ncontent-type: application/json\n\n"
                f"{body}"
            ).encode()


SILENT = logging.getLogger("fuzz.silent")
SILENT.setLevel(logging.CRITICAL + 1)


class Wire(asyncio.Transport):
    """A connection that takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self._is_closing = False

    def write(self, data: object) -> None:
        return

    def close(self) -> None:
        self._is_closing = True

    abort = close

    def is_closing(self) -> bool:
        return self._is_closing

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return


class ConnectionTarget:
    """Feeds what a client may send on one connection to the server's protocol."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            Headers(scope=scope)
            await receive()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        self._config = uvicorn.Config(
            answer, http=LimitedHttpProtocol, ws="none", lifespan="off", log_config=None
        )
        self._config.load()

    def __call__(self, data: bytes) -> None:
        self._loop.run_until_complete(self._receive(data))

    async def _receive(self, data: bytes) -> None:
        state = ServerState()
        protocol = LimitedHttpProtocol(self._config, state, {}, self._loop)
        protocol.logger = SILENT
        protocol.connection_made(Wire())
        for start in range(0, len(data), 1000):
            protocol.data_received(data[start : start + 1000])
            for _ in range(5):
                await asyncio.sleep(0)
        protocol.connection_lost(None)
        for task in state.tasks:
            task.cancel()


CONNECTIONS = (
    b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nHost: x\r\n\r\n",
)


def server_targets() -> list[Target]:
    """Return the targets of the server; of calls, those whose request has fields."""
    asking = [call for call in CALLS if call.request in SEEDS]
    packed = [call for call in CALLS if call.accepts_msgpack]
    return [
        *(body_target(call) for call in asking if not call.in_query),
        *(query_target(call) for call in asking if call.in_query),
        *(msgpack_target(call) for call in packed),
        path_target(),
        Target("token", decode_token, [SECRET.encode()]),
        Target("origin", decode_origin, [b"localhost:1\nhttp://localhost:1\nsame-origin"],
               (AccessError,)),
        Target("note of a scaler to show", lambda data: read_status(data.decode(errors="replace")),
               [b'{"status": {"at": 1.5, "pools": [{"pool": "p", "wanted": 1}], "held": ["a"]}}']),
        Target("request", RequestTarget(), list(request_seeds())),
        Target("connection", ConnectionTarget(), CONNECTIONS),
    ]  # fmt: skip
