"""Authentication and authorization: every call with every scope, and ways around them."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from raw_http import WORKER, RawClient, make_token, put
from served import Serving

from conveyor.core.access import SCOPES, token_id
from conveyor.core.job import NewJob, State
from conveyor.errors import AccessError
from conveyor.server.auth import Authenticator
from conveyor.store.http.api import SERVER_CALLS, STORE_CALLS, ApiCall
from conveyor.store.memory.store import MemoryStore
from conveyor.store.protocol import Store
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock

WANT: dict[str, Any] = {"wants": [{"queue": "q", "limit": 1}]}
ALL = [*STORE_CALLS.values(), *SERVER_CALLS]
# The least that each call takes, so that it is refused for nothing but the token.
BODIES: dict[str, Any] = {
    "insert": {"jobs": []},
    "claim": {"wants": []},
    "exchange": {"wants": []},
    "settle": {"reports": []},
    "extend": {"leases": []},
    "write_output": {"chunks": []},
    "set_progress": {"reports": []},
    "set_stopping": {"reports": []},
    "set_paused": {"paused": False},
    "pause_schedule": {"paused": False},
    "order": {"order": "work"},
    "prune": {"retention": {}},
    "tick": {"due_at": 1, "next_at": 2, "jobs": []},
    "note_action": {"actions": []},
}


def asked(call: ApiCall, ask: RawClient, worker: str = "w") -> Any:
    """Make a call with as few fields as possible."""
    names = dict.fromkeys(("queue", "job_id", "offer", "name", "digest", "task"), "mine")
    names |= {"worker": worker.replace("@", "%40"), "token_id": "abcdefgh", "fingerprint": "f"}
    path = call.path.format(**names)
    body = BODIES.get(call.name)
    if call.name == "beat":
        body = {"info": {"id": worker, **WORKER}}
    return ask(call.method, path, None if call.method == "GET" else body)


@pytest.mark.parametrize("call", ALL, ids=lambda call: call.name)
def test_no_call_is_answered_without_a_token(call: ApiCall, server: Serving) -> None:
    answer = asked(call, RawClient(server.url))
    assert answer.is_problem(401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_allows_exactly_the_calls_of_the_table(
    scope: str, store: Store, server: Serving
) -> None:
    put(store, "mine", "mine")
    text = make_token(store, scope)
    ask = RawClient(server.url, text)
    allowed = set()
    for call in ALL:
        answer = asked(call, ask, f"w@{token_id(text)}")
        if answer.status == 403:
            assert answer.is_problem(403, "forbidden")
        else:
            assert answer.status in (200, 202, 204, 400, 404, 409), (call.name, answer)
            allowed.add(call.name)
    every = {call.name for call in ALL}
    wanted = {call.name for call in ALL if scope in call.scopes}
    assert allowed == (every if scope == "admin" else wanted)


@pytest.mark.parametrize(
    "text", ["", "x", "cvy_", "cvy_abcdefgh_" + "A" * 43, "cvy_" + "a" * 100_00, "ä"]
)
def test_an_invalid_token_is_unauthorized(text: str, server: Serving) -> None:
    for kind in ("Bearer", "bearer", "Basic", ""):
        header = f"{kind} {text}".encode()
        answer = RawClient(server.url)("GET", "/queues", headers={"Authorization": header})  # type: ignore[dict-item]
        assert answer.is_problem(401, "unauthorized")


def test_a_token_of_another_server_is_unauthorized(server: Serving) -> None:
    text = make_token(MemoryStore(), "admin")
    assert RawClient(server.url, text)("GET", "/queues").is_problem(401, "unauthorized")


def test_a_token_with_a_wrong_secret_is_unauthorized(store: Store, server: Serving) -> None:
    text = make_token(store, "admin")
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    assert RawClient(server.url, wrong)("GET", "/queues").is_problem(401, "unauthorized")


def test_an_expired_token_is_unauthorized() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    text = make_token(store, "read", expires_at=clock.now() + 10)
    serving = Serving(store, tokens=True)
    ask = RawClient(serving.url, text)
    assert ask("GET", "/queues").status == 200
    clock.advance(10)
    answer = ask("GET", "/queues")
    assert answer.is_problem(401, "unauthorized")
    assert "expired" in answer.data["detail"]
    serving.close()


@pytest.mark.alone
def test_a_token_that_another_process_revokes_is_unauthorized_at_once(tmp_path: Path) -> None:
    store, elsewhere = SqliteStore(tmp_path / "jobs.db"), SqliteStore(tmp_path / "jobs.db")
    text = make_token(store, "read")
    serving = Serving(store, tokens=True)
    ask = RawClient(serving.url, text)
    assert ask("GET", "/queues").status == 200
    elsewhere.revoke_token(token_id(text) or "").result()
    deadline = time.monotonic() + 5
    while ask("GET", "/queues").status == 200:
        assert time.monotonic() < deadline
    assert ask("GET", "/queues").is_problem(401, "unauthorized")
    for each in (serving, store, elsewhere):
        each.close()


def test_waiting_calls_end_when_their_token_is_revoked(store: Store, server: Serving) -> None:
    text = make_token(store, "agent", "enqueue")
    ask, worker = RawClient(server.url, text), f"w%40{token_id(text)}"
    store.insert([NewJob(id="first", task="t", queue="full")], capacity=1).result()
    answers: dict[str, Any] = {}

    def wait(name: str, path: str, body: Any) -> None:
        answers[name] = ask("POST", path, body)

    job = {"jobs": [{"task": "t"}], "capacity": 1, "wait": 20}
    waiting = [
        threading.Thread(target=wait, args=each)
        for each in (
            ("claim", f"/workers/{worker}/claim", {**WANT, "wait": 20}),
            ("insert", "/queues/full/jobs", job),
        )
    ]
    began = time.monotonic()
    for each in waiting:
        each.start()
    line = ask.raw(
        f"GET /api/v1/hints?kinds=work HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
        f"Authorization: Bearer {text}\r\n\r\n".encode()
    )
    assert b"200 OK" in line.recv(1000)
    while not store.counts().result()[0].offers:
        assert time.monotonic() < began + 15
    time.sleep(0.05)  # for the claim to stand: nothing tells of it
    store.revoke_token(token_id(text) or "").result()
    while line.recv(1000):
        continue
    line.close()
    for each in waiting:
        each.join()
    assert time.monotonic() < began + 15
    assert answers["claim"].is_problem(401, "unauthorized")
    assert answers["insert"].is_problem(401, "unauthorized")
    [queue] = store.counts().result()
    assert (queue.offers, queue.depth) == (0, 1)


@pytest.mark.alone
def test_an_open_server_requires_a_token_as_soon_as_one_exists() -> None:
    store = MemoryStore()
    serving = Serving(store)
    ask = RawClient(serving.url)
    assert ask("GET", "/queues").status == 200
    text = make_token(store, "read")
    deadline = time.monotonic() + 5
    while ask("GET", "/queues").status == 200:
        assert time.monotonic() < deadline
    assert ask("GET", "/queues").is_problem(401, "unauthorized")
    assert RawClient(serving.url, text)("GET", "/queues").status == 200
    store.revoke_token(token_id(text) or "").result()
    assert ask("GET", "/queues").is_problem(401, "unauthorized")
    serving.close()


async def stays_closed() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    authenticator = Authenticator(store, required=True, elapsed=clock.now)
    clock.advance(100 * 86400.0)
    assert await store.tokens(limit=1) == []
    with pytest.raises(AccessError, match="requires a token"):
        await authenticator.identify({}, "")


def test_a_server_still_requires_a_token_after_all_tokens_are_deleted() -> None:
    import asyncio

    asyncio.run(stays_closed())


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "[::1"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_web_page_cannot_use_an_open_server(headers: dict[str, str]) -> None:
    store = MemoryStore()
    serving = Serving(store)
    ask = RawClient(serving.url)
    assert ask("POST", "/jobs/x/retry", headers=headers).is_problem(403, "forbidden")
    assert ask("GET", "/queues", headers=headers).is_problem(403, "forbidden")
    for site in ("none", "same-origin"):
        assert ask("GET", "/queues", headers={"Sec-Fetch-Site": site}).status == 200
    same = {"Origin": serving.url, "Host": serving.url.partition("://")[2]}
    assert ask("GET", "/queues", headers=same).status == 200
    assert ask("GET", "/queues", headers={"Host": "localhost:1"}).status == 200
    serving.close()


@pytest.fixture
def limited(store: Store, server: Serving) -> tuple[RawClient, str]:
    """Return who may everything, but only on one queue, and the mark of their workers."""
    put(store, "mine", "mine")
    put(store, "theirs", "other")
    text = make_token(store, "enqueue", "read", "agent", queues=["mine"])
    return RawClient(server.url, text), f"%40{token_id(text)}"


@pytest.mark.parametrize("queue", ["mine", "other"])
def test_a_token_for_a_queue_gives_no_access_to_other_queues(
    queue: str, limited: tuple[RawClient, str], store: Store
) -> None:
    ask, mark = limited
    job = "mine" if queue == "mine" else "theirs"
    want = {"wants": [{"queue": queue, "limit": 1}]}
    both = {"wants": [{"queue": "mine", "limit": 1}, *want["wants"]]}
    tried = [
        ask("POST", f"/queues/{queue}/jobs", {"jobs": [{"task": "t"}]}),
        ask("GET", f"/jobs?queue={queue}"),
        *(ask("GET", f"/jobs/{job}{rest}") for rest in ("", "/history", "/output", "/ahead")),
        ask("GET", f"/jobs/{job}/offered"),
        ask("POST", f"/workers/w{mark}/claim", want),
        ask("POST", f"/workers/w{mark}/claim", both),
        ask("POST", f"/workers/w{mark}/exchange", both),
        ask("POST", f"/jobs/{job}/cancel", {"reason": "r"}),
    ]
    allowed = [answer.status == 200 for answer in tried]
    if queue == "other":
        refused = [answer.status for answer in tried]
        assert refused == [403, 403, 404, 404, 404, 404, 404, 403, 403, 403, 404]
    assert allowed == [queue == "mine"] * len(tried), tried
    if queue == "other":
        assert all("other" not in answer.text for answer in (*tried[2:7], tried[-1]))
        assert store.get("theirs").result().state is State.AVAILABLE
        [theirs] = [each for each in store.counts().result() if each.name == "other"]
        assert theirs.depth == 1


def test_a_token_for_a_queue_sees_no_list_of_all(
    limited: tuple[RawClient, str], store: Store
) -> None:
    ask, mark = limited
    info = {"id": f"w{mark.replace('%40', '@')}", **WORKER}
    assert ask("PUT", f"/workers/w{mark}", {"info": info}).status == 200
    assert [each["name"] for each in ask("GET", "/queues").data] == ["mine"]
    assert [each["queues"] for each in ask("GET", "/workers").data] == [["mine"]]
    assert {each["queue"] for each in ask("GET", "/load").data} == {"mine"}
    for path in ("/jobs", "/schedules", "/leaders/scaler"):
        assert ask("GET", path).is_problem(403, "forbidden")


def test_only_an_admin_leads(limited: tuple[RawClient, str], store: Store, server: Serving) -> None:
    ask, _ = limited
    body = {"holder": "h", "hold": 30}
    assert ask("PUT", "/leaders/scaler", body).is_problem(403, "forbidden")
    admin = RawClient(server.url, make_token(store, "admin"))
    assert admin("PUT", "/leaders/scaler", body).data["term"] == 1
    reader = RawClient(server.url, make_token(store, "read"))
    assert reader("PUT", "/leaders/scaler", body).is_problem(403, "forbidden")
    assert reader("GET", "/leaders/scaler").data["holder"] == "h"


def test_offers_of_other_queues_cannot_be_read_or_withdrawn(
    limited: tuple[RawClient, str], store: Store, server: Serving
) -> None:
    ask, _ = limited
    other = RawClient(server.url, make_token(store, "enqueue"))
    job = {"jobs": [{"task": "t"}], "capacity": 1}
    offered = other("POST", "/queues/other/jobs", job).data["offered"]["offer"]
    for method, path in (("POST", f"/offers/{offered}/collect"), ("DELETE", f"/offers/{offered}")):
        assert ask(method, path).is_problem(404, "not_found")
    assert other("POST", f"/offers/{offered}/collect").status == 200
    mine = ask("POST", "/queues/mine/jobs", job).data["offered"]["offer"]
    assert ask("DELETE", f"/offers/{mine}").status == 200
    assert ask("DELETE", "/offers/nobody-knows").is_problem(404, "not_found")


def test_hints_of_other_queues_are_not_sent(
    limited: tuple[RawClient, str], store: Store, server: Serving
) -> None:
    text = make_token(store, "read", queues=["mine"])
    line = RawClient(server.url).raw(
        f"GET /api/v1/hints?kinds=work,due,access,quiet HTTP/1.1\r\nHost: h\r\n"
        f"Authorization: Bearer {text}\r\n\r\n".encode()
    )
    heard = line.recv(1000)
    while b"\r\n\r\n1\r\n\n" not in heard:  # the stream has begun
        heard += line.recv(1000)
    make_token(store, "read")
    for queue in ("other", "mine"):
        store.insert([NewJob(id=f"later-{queue}", task="t", queue=queue, delay=60)]).result()
        put(store, f"now-{queue}", queue)
    while not (b'"due"' in heard and b'"work"' in heard):
        heard += line.recv(1000)
    line.close()
    assert b"mine" in heard
    assert b"other" not in heard
    assert b"access" not in heard
