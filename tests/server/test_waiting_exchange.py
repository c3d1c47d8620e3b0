"""An exchange can wait for a job as a claim does; its reports are written at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from calls import claim, new, put, state
from raw_http import RawClient
from served import Serving

from conveyor.core.job import State
from conveyor.store.memory.store import MemoryStore


@pytest.fixture
def server(store: MemoryStore) -> Any:
    serving = Serving(store)
    yield serving
    serving.close()


def exchange_in_thread(server: Serving, body: dict[str, Any], answers: list[Any]) -> Any:
    def exchange() -> None:
        answers.append(RawClient(server.url)("POST", "/workers/w/exchange", body))

    thread = threading.Thread(target=exchange)
    thread.start()
    return thread


def report_of(store: MemoryStore) -> dict[str, Any]:
    put(store, new(id="first"))
    [job] = claim(store)
    outcome = {"type": "succeeded"}
    wants = [{"queue": "q", "limit": 1}]
    return {"reports": [{"id": job.id, "lease": job.lease, "outcome": outcome}], "wants": wants}


def test_an_exchange_waits_for_a_job_after_its_reports(store: MemoryStore, server: Serving) -> None:
    answers: list[Any] = []
    settled = threading.Event()
    store.listen(("final",), lambda _: settled.set())
    thread = exchange_in_thread(server, {**report_of(store), "wait": 60}, answers)
    assert settled.wait(60)
    assert state(store, "first") is State.COMPLETED
    put(store, new(id="next"))
    thread.join(120)
    [answer] = answers
    assert answer.data["settled"] == ["first"]
    assert [job["id"] for job in answer.data["jobs"]] == ["next"]


def test_an_exchange_that_waits_in_vain_returns_what_it_settled(
    store: MemoryStore, server: Serving
) -> None:
    answer = RawClient(server.url)(
        "POST", "/workers/w/exchange", {**report_of(store), "wait": 0.05}
    )
    assert answer.data == {"settled": ["first"], "jobs": [], "became": {}}


@pytest.mark.parametrize("call", ["claim", "exchange"])
def test_a_queue_may_be_wanted_twice(call: str, server: Serving) -> None:
    wants = [{"queue": "q", "limit": 1}, {"queue": "q", "limit": 2}]
    answer = RawClient(server.url)("POST", f"/workers/w/{call}", {"wants": wants, "wait": 0.05})
    assert (answer.status, answer.data) == (200, {"settled": [], "jobs": [], "became": {}})


def test_a_server_that_stops_answers_a_waiting_exchange_with_what_it_settled(
    store: MemoryStore, server: Serving
) -> None:
    answers: list[Any] = []
    settled = threading.Event()
    store.listen(("final",), lambda _: settled.set())
    thread = exchange_in_thread(server, {**report_of(store), "wait": 60}, answers)
    assert settled.wait(60)
    server.close()
    thread.join(120)
    [answer] = answers
    assert (answer.status, answer.data) == (200, {"settled": ["first"], "jobs": [], "became": {}})
