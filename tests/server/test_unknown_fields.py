"""A field, a limit or a number that the API does not know is refused, and what users send is not."""
# ruff: noqa: E501 - the tables of calls have one a line

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import msgspec.inspect
import pytest
from raw_http import WORKER, RawClient
from served import OpenAuthenticator, Serving

from conveyor.store.http.api import STORE_CALLS, ApiCall
from conveyor.store.memory.store import MemoryStore

CHUNK = {"job_id": "j", "lease": 1, "offset": 0, "stream": "stdout", "at": 1, "data": ""}
SCHEDULE = {"name": "s", "cron": "* * * * *", "timezone": "UTC", "missed": "skip", "next_at": 1}
INFO = {"id": "w", **WORKER}
REPORT: dict[str, Any] = {"id": "j", "lease": 1, "outcome": {"type": "succeeded"}}
FILE = {"name": "f", "digest": "0" * 64, "size": 0, "kind": "artifact"}
LISTS = ("/jobs?", "/jobs/j/output?", "/tokens?", "/audit?")
UPKEEP: dict[str, dict[str, Any]] = {
    "stage": {},
    "rescue": {},
    "sweep": {},
    "prune": {"retention": {}},
}
REFUSED: list[tuple[str, str, Any]] = [
    ("POST", "/workers/w/claim", {"wants": [{"queue": "q", "limit": 1, "labels": []}]}),
    ("POST", "/workers/w/exchange", {"wants": [], "reports": [{**REPORT, "result": 1}]}),
    ("POST", "/reports", {"reports": [{**REPORT, "outcome": {"type": "succeeded", "results": 1}}]}),
    ("POST", "/reports", {"reports": [{**REPORT, "outcome": {"type": "succeeded", "result": 10**309}}]}),
    ("POST", "/leases/extend", {"leases": [{"id": "j", "lease": 1, "until": 5}]}),
    ("POST", "/output", {"chunks": [{**CHUNK, "length": 0}]}),
    ("POST", "/progress", {"reports": [[{"id": "j", "lease": 1}, {"done": 1, "text": ""}]]}),
    ("POST", "/stopping", {"reports": [[{"id": "j", "lease": 1}, [{"at": 1, "text": "", "by": ""}]]]}),
    ("PUT", "/workers/w", {"info": {**INFO, "slot": 1}}),
    ("PUT", "/schedules/s", {"schedule": {**SCHEDULE, "tz": "UTC"}}),
    ("POST", "/schedules/s/tick", {"due_at": 1, "next_at": 2, "jobs": [{"task": "t", "prio": 1}]}),
    ("PUT", "/tasks", {"tasks": [{"name": "t", "retries": 1}]}),
    ("POST", "/jobs/j/artifacts", {"lease": 1, "file": {**FILE, "mode": 0o755}}),
    ("POST", "/audit", {"actions": [{"who": "", "where": "", "what": "", "subject": "", "why": ""}]}),
    *(("GET", f"{path}limit={limit}", None) for path in LISTS for limit in (0, -1, 1001)),
    *(("POST", f"/upkeep/{call}", {**body, "limit": 10_001}) for call, body in UPKEEP.items()),
    ("GET", "/load?limit=10001", None),
]  # fmt: skip


@pytest.fixture
def ask(store: MemoryStore) -> Iterator[RawClient]:
    serving = Serving(store, authenticator=OpenAuthenticator(store))
    yield RawClient(serving.url)
    serving.close()


@pytest.mark.parametrize(("method", "path", "body"), REFUSED, ids=lambda each: str(each)[:60])
def test_what_is_not_known_is_refused(method: str, path: str, body: Any, ask: RawClient) -> None:
    assert ask(method, path, body).is_problem(400, "usage")


def test_an_unknown_field_is_named_with_its_place(ask: RawClient) -> None:
    jobs = [{"task": "t"}, {"task": "t", "options": {"retires": 3}}]
    answer = ask("POST", "/queues/q/jobs", {"jobs": jobs})
    assert answer.data["detail"] == (
        "body of insert: Object contains unknown field `retires` - at `$.jobs[1].options`"
    )
    headers = {"Content-Type": "application/vnd.msgpack"}
    body = msgspec.msgpack.encode({"chunks": [{**CHUNK, "data": b"", "length": 0}]})
    answer = ask("POST", "/output", body, headers=headers)
    assert answer.is_problem(400, "usage")
    assert "unknown field `length`" in answer.data["detail"]


def twice(call: ApiCall) -> Iterator[str]:
    """Yield a body of a call for each of its fields, with this field twice."""
    for field in msgspec.inspect.type_info(call.request).fields:  # type: ignore[union-attr]
        inner = field.type
        value = {msgspec.inspect.StructType: "{}", msgspec.inspect.ListType: "[]"}
        one = f'"{field.name}":{value.get(type(inner), "1")}'
        yield f"{{{one},{one}}}"


def test_a_field_that_comes_twice_is_refused_in_every_body(ask: RawClient) -> None:
    bodies = [
        (call, body) for call in STORE_CALLS.values() if not call.in_query for body in twice(call)
    ]
    assert len(bodies) > 50
    for call, body in bodies:
        path = re.sub(r"{\w+}", "x", call.path)
        answer = ask(call.method, path, body.encode())
        assert answer.is_problem(400, "usage"), (call.name, body)
        assert answer.data["detail"].startswith("a field comes twice"), (call.name, body)


@pytest.mark.parametrize("data", [
    b'{"jobs":[{"task":"t","options":{"meta":{}},"options":{}}]}',
    b'{"jobs":[{"task":"t","options":{"meta":{},"meta":{}}}]}',
    b'{"jobs":[{"task":"t","args":{},"args":{}}]}',
    b'{"jobs":[{"task":"t","a\\u0072gs":{}}]}',
])  # fmt: skip
def test_a_field_of_a_job_that_comes_twice_is_refused(data: bytes, ask: RawClient) -> None:
    answer = ask("POST", "/queues/q/jobs", data)
    assert answer.is_problem(400, "usage")
    assert "comes twice, or its name is written with escapes" in answer.data["detail"]


def test_a_field_that_comes_twice_in_messagepack_is_refused(ask: RawClient) -> None:
    headers = {"Content-Type": "application/vnd.msgpack"}
    once = msgspec.msgpack.encode({"chunks": []})
    assert ask("POST", "/output", once, headers=headers).status == 200
    twice = b"\x82" + once[1:] * 2
    assert "comes twice" in ask("POST", "/output", twice, headers=headers).data["detail"]


def test_blanks_and_escapes_of_values_are_no_matter(ask: RawClient) -> None:
    body = b' {"jobs" : [ {"task":"\\u0074", "args":{"a" :\t"\\u0061" }}\r\n] } '
    assert ask("POST", "/queues/q/jobs", body).status == 200


def test_what_users_send_as_their_own_may_have_any_fields_and_large_numbers(
    ask: RawClient, store: MemoryStore
) -> None:
    args = {"task": 1, "n": 2**70, "f": 1e307, "s": "9" * 400, "b": True, "x": None}
    meta = {"owner": {"retires": 10**300}}
    job = {"task": "t", "id": "j", "args": args, "options": {"meta": meta}}
    assert ask("POST", "/queues/q/jobs", {"jobs": [job]}).status == 200
    stored = store.get("j").result()
    assert (stored.to_dict()["args"], stored.options.meta) == (args, meta)
