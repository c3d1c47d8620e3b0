"""What a token that is limited to one queue learns of the jobs, keys and offers of other queues."""

from __future__ import annotations

from typing import Any

import pytest
from raw_http import WORKER, RawClient, claim, make_token, put
from served import Serving

from conveyor.core.access import token_id
from conveyor.core.lifecycle import Succeeded
from conveyor.server.known_queues import KnownQueues
from conveyor.store.messages import Report
from conveyor.store.protocol import Store


@pytest.fixture
def admin(store: Store, server: Serving) -> RawClient:
    return RawClient(server.url, make_token(store, "admin"))


@pytest.fixture
def text(store: Store, admin: RawClient) -> str:
    """Return a token that may do everything, but only on the queue `mine`."""
    return make_token(store, "enqueue", "read", "agent", queues=["mine"])


@pytest.fixture
def ask(server: Serving, text: str) -> RawClient:
    return RawClient(server.url, text)


def unique(ask: RawClient, queue: str, **job: Any) -> Any:
    """Enqueue a job with a key; return the answer."""
    keyed = {"task": "t", "options": {"key": "k"}, **job}
    return ask("POST", f"/queues/{queue}/jobs", {"jobs": [keyed]}).data["accepted"]


JOB_PATHS = [
    ("GET", ""),
    ("GET", "/history"),
    ("GET", "/output"),
    ("GET", "/ahead"),
    ("GET", "/offered"),
    ("GET", "/files"),
    ("POST", "/cancel"),
]


@pytest.mark.parametrize(("method", "rest"), JOB_PATHS)
def test_a_job_of_another_queue_is_answered_like_one_that_does_not_exist(
    method: str, rest: str, ask: RawClient, store: Store
) -> None:
    put(store, "theirs", "other")
    body = {"reason": "r"} if method == "POST" else None
    found, missing = (ask(method, f"/jobs/{name}{rest}", body) for name in ("theirs", "nobody"))
    assert found.is_problem(404, "not_found")
    assert found.text == missing.text.replace("nobody", "theirs")


@pytest.mark.parametrize(("method", "rest"), [("POST", "/collect"), ("DELETE", "")])
def test_an_offer_of_another_queue_is_answered_like_one_that_does_not_exist(
    method: str, rest: str, ask: RawClient, admin: RawClient
) -> None:
    jobs = {"jobs": [{"task": "t"}], "capacity": 1}
    admin("POST", "/queues/other/jobs", jobs)
    offered = admin("POST", "/queues/other/jobs", jobs).data["offered"]["offer"]
    found, missing = (ask(method, f"/offers/{name}{rest}") for name in (offered, "99"))
    assert found.is_problem(404, "not_found")
    assert found.text == missing.text.replace("99", offered)
    assert admin("POST", f"/offers/{offered}/collect").status == 200


def test_a_key_of_another_queue_is_neither_named_nor_taken(
    ask: RawClient, admin: RawClient
) -> None:
    theirs = unique(admin, "other")
    mine = unique(ask, "mine")
    assert mine["existing"] == theirs["existing"] == []
    assert unique(ask, "mine")["existing"] == mine["ids"]
    assert unique(admin, "other")["existing"] == theirs["ids"]


def test_a_request_again_does_not_answer_for_a_job_of_another_queue(
    ask: RawClient, store: Store
) -> None:
    put(store, "theirs", "other")
    for again in (False, True):
        body = {"jobs": [{"id": "theirs", "task": "t"}], "again": again}
        assert ask("POST", "/queues/mine/jobs", body).is_problem(409, "duplicate_id")


def test_hints_name_only_jobs_and_offers_of_the_token_s_queues(
    ask: RawClient, admin: RawClient, store: Store, text: str
) -> None:
    worker = f"w@{token_id(text)}"
    held = {}
    for queue in ("mine", "other"):
        put(store, f"asked-{queue}", queue)
        put(store, f"held-{queue}", queue)
        claim(store, queue, worker)
        held[queue] = claim(store, queue, worker)
        ask("GET", f"/jobs/asked-{queue}")
    lease = [{"id": "held-mine", "lease": held["mine"].lease}]
    assert ask("POST", "/leases/extend", {"leases": lease}).status == 200
    offers = {}
    for client, queue in ((ask, "mine"), (admin, "other")):
        for _ in range(2):
            jobs = {"jobs": [{"task": "t"}], "capacity": 1}
            answer = client("POST", f"/queues/{queue}/jobs", jobs)
        offers[queue] = answer.data["offered"]["offer"]
    line = ask.raw(
        f"GET /api/v1/hints?kinds=final,offer,cancel,output HTTP/1.1\r\nHost: h\r\n"
        f"Authorization: Bearer {text}\r\n\r\n".encode()
    )
    heard = line.recv(1000)
    while b"\r\n\r\n1\r\n\n" not in heard:  # the stream has begun
        heard += line.recv(1000)
    for queue in ("other", "mine"):
        store.cancel(f"held-{queue}", reason="r").result()
        store.settle([Report(f"asked-{queue}", 1, Succeeded())]).result()
        claim(store, queue, worker)  # makes room for the offer
    expected = (b'"held-mine"', b'"asked-mine"', f'"{offers["mine"]}"'.encode())
    while not all(each in heard for each in expected):
        heard += line.recv(1000)
    line.close()
    assert b"other" not in heard
    assert f'"{offers["other"]}"'.encode() not in heard


def test_a_worker_of_several_queues_is_shown_without_what_may_be_of_the_others(
    ask: RawClient, admin: RawClient
) -> None:
    known = {"waits": {"theirs": "room in queue 'other' (1/1)"}, "unsupported": {"secret": 1}}
    for worker, queues in (("both", ["mine", "other"]), ("own", ["mine"]), ("none", [])):
        info = {"id": worker, **WORKER, **known, "queues": queues}
        assert admin("PUT", f"/workers/{worker}", {"info": info}).status == 200
    shown = {each["id"]: each for each in ask("GET", "/workers").data}
    nothing = {"waits": {}, "unsupported": {}}
    assert {name: shown["own"][name] for name in known} == known
    for worker in ("both", "none"):
        assert {name: shown[worker][name] for name in known} == nothing
    assert (shown["both"]["queues"], shown["none"]["queues"]) == (["mine"], [])


def test_the_queues_of_the_oldest_jobs_are_forgotten() -> None:
    known = KnownQueues(limit=2)
    for number in (1, 2, 1, 3):
        known.remember(str(number), f"queue {number}")
    assert [known.queue_of(each) for each in "123"] == [None, "queue 2", "queue 3"]
