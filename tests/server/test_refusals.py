"""Invalid requests get a problem with a code, and do not disturb others."""
# ruff: noqa: E501 - the tables of calls have one a line

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from raw_http import RawClient
from served import Serving

from conveyor.core.job import NewJob, QueueInfo
from conveyor.core.page import LISTED, Page
from conveyor.core.pending import Pending, failed
from conveyor.errors import NotFoundError, QueueFullError, UnavailableError, UsageError
from conveyor.server.server_config import ServerConfig
from conveyor.store.http.store import HttpStore
from conveyor.store.memory.store import MemoryStore
from conveyor.store.protocol import Store
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock

HUGE = 2**70
Until = Callable[[Callable[[], object]], None]


class Broken(MemoryStore):
    """A store that fails in a way that nobody has thought of, or as a full disk would."""

    error: Exception = ZeroDivisionError("secret of /var/lib/jobs.db")

    def counts(self, *, after: str = "", limit: int = LISTED) -> Pending[Page[QueueInfo]]:
        return failed(self.error)

    def get(self, job_id: str) -> Any:
        raise self.error


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    kind: Store = (
        MemoryStore(FakeClock())
        if request.param == "memory"
        else SqliteStore(tmp_path / "jobs.db", clock=FakeClock(), durability="normal")
    )
    yield kind
    kind.close()


@pytest.fixture
def server(store: Store) -> Iterator[Serving]:
    serving = Serving(store, config=ServerConfig(body_limit=100_000))
    yield serving
    serving.close()


@pytest.fixture
def ask(server: Serving) -> RawClient:
    return RawClient(server.url)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ZeroDivisionError("secret of /var/lib/jobs.db"), 500, "internal"),
        (UnavailableError("secret of /var/lib/jobs.db"), 503, "unavailable"),
    ],
)
def test_internal_errors_appear_only_in_the_log(error: Exception, status: int, code: str) -> None:
    store = Broken()
    store.error = error
    serving = Serving(store)
    ask = RawClient(serving.url)
    for path in ("/queues", "/jobs/x"):
        answer = ask("GET", path)
        assert answer.is_problem(status, code)
        assert "secret" not in answer.text
        assert "/var" not in answer.text
    serving.close()


@pytest.mark.parametrize("path", ["", "/", "/nothing", "/jobs/", "/jobs/a/b", "/../etc", "//"])
def test_an_unknown_path_is_no_route(path: str, ask: RawClient) -> None:
    answer = ask("GET", path)
    assert answer.status == 404
    assert answer.is_problem(404, "not_found" if path == "/jobs/" else "no_route")


def test_an_unknown_method_is_answered_with_the_allowed_ones(ask: RawClient) -> None:
    for method in ("PATCH", "PUT", "OPTIONS"):
        answer = ask(method, "/jobs/x")
        assert answer.is_problem(405, "no_method")
        assert answer.headers["allow"] == "DELETE, GET"
    assert ask("HEAD", "/queues").status == 405


def test_what_is_not_json_is_refused(ask: RawClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = ask("POST", "/queues/q/jobs", b"{}", headers={"Content-Type": kind})
        assert answer.is_problem(415, "not_json")


def test_messagepack_is_accepted_where_documented_and_refused_when_invalid(ask: RawClient) -> None:
    headers = {"Content-Type": "application/vnd.msgpack"}
    good = msgspec.msgpack.encode({"chunks": []})
    assert ask("POST", "/output", good, headers=headers).status == 200
    assert ask("POST", "/queues/q/jobs", good, headers=headers).is_problem(415, "not_json")
    for broken in (b"\xc1", good[:-1], b"\x91" * 40_000, good + good):
        assert ask("POST", "/output", broken, headers=headers).is_problem(400, "usage")
    chunk = {"job_id": "x", "lease": 1, "offset": 0, "stream": "stdout", "data": b"x"}
    for at in (float("nan"), 0.0):
        said = msgspec.msgpack.encode({"chunks": [{**chunk, "lease": 2**64 - 1, "at": at}]})
        assert ask("POST", "/output", said, headers=headers).is_problem(400, "usage")


def test_a_body_that_is_too_large_is_refused_with_and_without_a_length(ask: RawClient) -> None:
    path, large = "/queues/q/jobs", b" " * 100_001
    assert ask("POST", path, large).is_problem(413, "too_large")
    headers = {"Content-Type": "application/json"}
    chunks = [large[:60_000], large[60_000:]]
    assert ask("POST", path, chunks=chunks, headers=headers).is_problem(413, "too_large")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"jobs": ' + b"[" * 40_000,
        b'{"jobs": [{"task": "t", "args": {"a": ' + b"[" * 40_000 + b"]" * 40_000 + b"}}]}",
        b'{"jobs": [{"task": "t", "args": {"a": NaN}}]}',
        b'{"jobs": [{"task": "t", "args": {"a": "\xff"}}]}',
        b'{"jobs": [{"task": "t", "args": {"a": "\\ud800"}}]}',
        b'{"jobs": [{"task": "t", "args": [1]}]}',
        b'{"jobs": [{"task": "t", "run_at": Infinity}]}',
        b'{"jobs": [{"task": "t", "delay": 1e999}]}',
        b'{"jobs": [{"task": "\\ud800"}]}',
        b'{"jobs": [{"task": "a\\u0000b"}]}',
        b'{"jobs": [{"task": "t", "id": "a\\u0000b"}]}',
        b'{"jobs": [{"task": ""}]}',
        b'{"jobs": [{"task": "t", "options": {"retries": 1e3}}]}',
        b'{"jobs": [], "unknown": 1}',
        b'{"jobs": [{"task": "t", "arguments": {}}]}',
        b'{"jobs": [{"task": "t"}, {"task": "t", "options": {"retires": 3}}]}',
        b'{"jobs": [{"task": "t", "options": {"backoff": {"type": "fixed", "secs": 3}}}]}',
        b'{"jobs": [{"task": "t", "args": {"a": 1e400}}]}',
        b'{"jobs": [{"task": "t", "args": {"a": [-1.5E+400]}}]}',
        b'{"jobs": [{"task": "t", "args": {"a": ' + b"9" * 5000 + b"}}]}",
        b'{"jobs": [{"task": "t", "args": {"a": {"b": [-' + b"9" * 309 + b"]}}}]}",
        b'{"jobs": [{"task": "t", "options": {"meta": {"a": [' + b"9" * 309 + b"]}}}]}",
        b'{"jobs": [], "wait": -1}',
    ],
    ids=lambda body: str(body[:50]),
)
def test_an_invalid_body_is_refused(body: bytes, ask: RawClient, store: Store) -> None:
    assert ask("POST", "/queues/q/jobs", body).is_problem(400, "usage")
    assert store.counts().result() == []


LEASE = {"id": "j", "lease": HUGE}
CHUNK = {"job_id": "j", "lease": 1, "offset": 0, "stream": "stdout", "at": 1, "data": ""}
INFO = {
    "id": "w", "host": "h", "boot_id": "b", "pid": 1, "pid_started": 1, "started_at": 1,
    "slots": 1, "queues": [],
}  # fmt: skip
SCHEDULE = {"name": "s", "cron": "* * * * *", "timezone": "UTC", "missed": "skip", "next_at": 1}
NUMBERS: list[tuple[str, str, Any]] = [
    ("POST", "/queues/q/jobs", {"jobs": [{"task": "t", "priority": HUGE}]}),
    ("POST", "/queues/q/jobs", {"jobs": [{"task": "t", "options": {"retries": HUGE}}]}),
    ("POST", "/queues/q/jobs", {"jobs": [{"task": "t", "options": {"output_limit": 2**63}}]}),
    *(
        ("POST", "/queues/q/jobs", {"jobs": [{"task": "t", **given}]})
        for given in (
            {"run_at": 1e300}, {"run_at": -1}, {"delay": 1e300}, {"delay": -1},
            {"options": {"timeout": 1e300}}, {"options": {"expires_at": 1e300}},
            {"options": {"backoff": {"type": "steps", "seconds": []}}},
            {"options": {"backoff": {"type": "exponential", "jitter": 7}}},
        )
    ),
    ("POST", "/schedules/s/tick", {"due_at": 1, "next_at": 1e300, "jobs": []}),
    ("POST", "/schedules/s/tick", {"due_at": 1, "next_at": 2, "jobs": [{"task": "t", "run_at": 1e300}]}),
    ("PUT", "/schedules/s", {"schedule": {**SCHEDULE, "next_at": 1e300}}),
    ("POST", "/workers/w/claim", {"wants": [], "lease_for": 1e300}),
    ("PUT", "/leaders/s", {"holder": "h", "hold": 1e300}),
    ("PUT", "/tokens/abcdefgh", {"token": {"id": "abcdefgh", "name": "n", "digest": "", "scopes": [], "created_at": 1, "expires_at": 1e300}}),
    ("POST", "/queues/q/jobs", {"jobs": [{"task": "t"}], "capacity": HUGE}),
    ("POST", "/queues/q/jobs", {"jobs": [{"task": "t"}], "capacity": 2**63}),
    ("POST", "/workers/w/claim", {"wants": [{"queue": "q", "limit": HUGE}]}),
    ("POST", "/workers/w/claim", {"wants": [{"queue": "q", "limit": -1}]}),
    ("POST", "/workers/w/claim", {"wants": [{"queue": "", "limit": 1}]}),
    ("POST", "/workers/w/claim", {"wants": [], "limit": HUGE}),
    ("POST", "/workers/w%00/claim", {"wants": []}),
    ("POST", "/workers/w/exchange", {"wants": [], "reports": [{**LEASE, "outcome": {"type": "succeeded"}}]}),
    ("POST", "/reports", {"reports": [{**LEASE, "outcome": {"type": "succeeded"}}]}),
    ("POST", "/leases/extend", {"leases": [LEASE]}),
    ("POST", "/output", {"chunks": [{**CHUNK, "lease": HUGE}]}),
    ("POST", "/output", {"chunks": [{**CHUNK, "offset": HUGE}]}),
    ("POST", "/output", {"chunks": [{**CHUNK, "seq": HUGE}]}),
    ("POST", "/progress", {"reports": [[LEASE, {"done": 1}]]}),
    ("POST", "/stopping", {"reports": [[LEASE, []]]}),
    *(("PUT", "/workers/w", {"info": {**INFO, field: HUGE}}) for field in ("pid", "slots", "running", "rss")),
    ("PUT", "/workers/w", {"info": {**INFO, "labels": ["x" * 70_000]}}),
    ("PUT", "/workers/other", {"info": INFO}),
    ("PUT", "/schedules/other", {"schedule": SCHEDULE}),
    ("POST", "/upkeep/stage", {"limit": HUGE}),
    ("POST", "/upkeep/rescue", {"limit": HUGE}),
    ("POST", "/upkeep/prune", {"retention": {}, "limit": HUGE}),
    ("POST", "/audit", {"actions": [{"seq": HUGE, "who": "", "where": "", "what": "", "subject": ""}]}),
    ("PUT", "/tokens/other", {"token": {"id": "abcdefgh", "name": "n", "digest": "", "scopes": [], "created_at": 1}}),
    ("PUT", "/tokens/x", {"token": {"id": "x", "name": "n", "digest": "", "scopes": [], "created_at": 1}}),
    ("GET", f"/jobs?before={HUGE}", None),
    ("GET", "/jobs?enqueued_before=nan", None),
    ("GET", "/jobs?enqueued_before=inf", None),
    ("GET", "/jobs?states=running,bogus", None),
    ("GET", "/jobs?unknown=1", None),
    ("GET", "/jobs?queue=a&queue=b", None),
    ("GET", "/jobs?before=null", None),
    ("GET", f"/jobs?limit={'9' * 5000}", None),
    ("GET", f"/jobs/j/output?after={HUGE}", None),
    ("GET", f"/tokens?limit={HUGE}", None),
    ("GET", f"/audit?before={HUGE}", None),
    ("GET", "/jobs/%ff", None),
    ("GET", "/hints?kinds=bogus", None),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body"), NUMBERS, ids=lambda each: str(each)[:60])
def test_a_value_that_a_store_cannot_keep_is_refused(
    method: str, path: str, body: Any, ask: RawClient
) -> None:
    assert ask(method, path, body).is_problem(400, "usage")


def test_a_number_that_is_too_large_does_not_disturb_other_requests(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db", durability="normal")
    serving = Serving(store)
    ask = RawClient(serving.url)
    wrong, right = [], []

    def spoil() -> None:
        for _ in range(20):
            wrong.append(ask("POST", "/leases/extend", {"leases": [LEASE]}).status)

    def send(number: int) -> None:
        for each in range(20):
            job = {"task": "t", "id": f"{number}-{each}"}
            right.append(ask("POST", "/queues/q/jobs", {"jobs": [job]}).status)

    threads = [threading.Thread(target=spoil)]
    threads += [threading.Thread(target=send, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (set(wrong), set(right)) == ({400}, {200})
    assert store.counts().result()[0].depth == 60
    serving.close()
    store.close()


NAMES = ["a/b", "..", ".", "a b", "ünï/✓", "100%", "%2F", "a/history", "a?b#c", "x/cancel", "+&="]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_may_contain_any_characters(name: str, server: Serving, store: Store) -> None:
    client = HttpStore(server.url)
    job = NewJob(id=name, task="t", queue=name)
    client.insert([job]).result()
    assert client.get(name).result().queue == name
    assert client.history(name).result() == []
    assert client.output(name, limit=1).result() == []
    assert client.ahead(name).result() == 0
    client.set_paused(name, paused=True).result()
    [queue] = client.counts().result()
    assert (queue.name, queue.paused) == (name, True)
    assert client.cancel(name, reason="r").result().id == name
    client.delete(name).result()
    with pytest.raises(NotFoundError, match="not found"):
        client.get(name).result()
    client.close()


def test_an_empty_name_is_not_found_or_refused(server: Serving) -> None:
    client = HttpStore(server.url)
    for look in (client.get, client.history, client.ahead, client.retry, client.delete):
        with pytest.raises(NotFoundError, match="not found"):
            look("").result()  # type: ignore[operator]
    with pytest.raises(UsageError, match="a name must be a string"):
        client.insert([NewJob(id="j", task="t", queue="")]).result()
    client.close()


def test_a_full_queue_reports_its_depth_and_capacity(ask: RawClient, server: Serving) -> None:
    body = {"jobs": [{"task": "t"}, {"task": "t"}], "capacity": 2, "when_full": "refuse"}
    assert ask("POST", "/queues/q/jobs", body).status == 200
    answer = ask("POST", "/queues/q/jobs", {"jobs": [{"task": "t"}], "when_full": "refuse"})
    assert answer.is_problem(429, "queue_full")
    told = {name: answer.headers[name] for name in ("retry-after", "queue-depth", "queue-capacity")}
    assert told == {"retry-after": "1", "queue-depth": "2", "queue-capacity": "2"}
    client = HttpStore(server.url)
    with pytest.raises(QueueFullError) as full:
        client.insert(
            [NewJob(id="j", task="t", queue="q")], capacity=2, when_full="refuse"
        ).result()
    assert (full.value.queue, full.value.depth, full.value.capacity) == ("q", 2, 2)
    client.close()


FULL = {"jobs": [{"task": "t", "id": "late"}], "capacity": 1}


def test_a_waiting_producer_gets_the_room_that_becomes_free(
    ask: RawClient, store: Store, until: Until
) -> None:
    store.insert([NewJob(id="first", task="t", queue="q")], capacity=1).result()
    answers: list[Any] = []

    def wait() -> None:
        answers.append(ask("POST", "/queues/q/jobs", {**FULL, "wait": 20}))

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: store.counts().result()[0].offers)
    store.cancel("first", reason="r").result()
    waiting.join()
    assert answers[0].data == {
        "accepted": {"ids": ["late"], "existing": [], "dropped": 0, "replaced": []}
    }


def test_a_producer_that_waits_in_vain_is_refused(ask: RawClient, store: Store) -> None:
    store.insert([NewJob(id="first", task="t", queue="q")], capacity=1).result()
    assert ask("POST", "/queues/q/jobs", {**FULL, "wait": 0.05}).is_problem(429, "queue_full")
    assert store.counts().result()[0].offers == 0


def test_a_producer_that_disconnects_leaves_no_offer(
    ask: RawClient, store: Store, until: Until
) -> None:
    store.insert([NewJob(id="first", task="t", queue="q")], capacity=1).result()
    body = b'{"jobs": [{"task": "t", "id": "late"}], "capacity": 1, "wait": 25}'
    line = ask.raw(
        b"POST /api/v1/queues/q/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    until(lambda: store.counts().result()[0].offers)
    line.close()
    # The store's clock stands still, so this is not the end of a silent producer's offer.
    until(lambda: not store.counts().result()[0].offers)
    store.cancel("first", reason="r").result()
    with pytest.raises(NotFoundError):
        store.get("late").result()
    assert store.counts().result()[0].depth == 0


class WithoutLists(MemoryStore):
    """A store that must not be asked for all its queues."""

    def counts(self, *, after: str = "", limit: int = LISTED) -> Pending[Page[QueueInfo]]:
        raise AssertionError("an enqueue reads one queue")


def test_an_enqueue_reads_the_bound_of_its_own_queue_only() -> None:
    store = WithoutLists()
    store.insert([NewJob(id="first", task="t", queue="q")], capacity=1).result()
    serving = Serving(store)
    ask = RawClient(serving.url)
    unchanged = {"jobs": [{"task": "t"}], "when_full": "refuse"}
    assert ask("POST", "/queues/q/jobs", unchanged).is_problem(429, "queue_full")
    assert ask("POST", "/queues/new/jobs", unchanged).status == 200
    serving.close()


def test_producers_cannot_change_a_capacity_that_the_application_declares() -> None:
    from raw_http import make_token

    store = MemoryStore()
    serving = Serving(store, tokens=True, config=ServerConfig(capacities={"q": 1}))
    ask = RawClient(serving.url, make_token(store, "enqueue"))
    body = {"jobs": [{"task": "t"}], "capacity": None, "when_full": "refuse"}
    assert ask("POST", "/queues/q/jobs", body).status == 200
    assert ask("POST", "/queues/q/jobs", body).is_problem(429, "queue_full")
    admin = RawClient(serving.url, make_token(store, "admin"))
    assert admin("POST", "/queues/q/jobs", body).status == 200
    serving.close()
