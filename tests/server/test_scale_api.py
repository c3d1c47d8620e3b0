"""The load for one kind of agent, as external autoscalers see it."""

from __future__ import annotations

from typing import Any

import pytest
from calls import claim, new, put
from raw_http import RawClient, make_token
from served import OpenAuthenticator, Serving

from conveyor.store.memory.store import MemoryStore
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock)


def told(server: Serving, query: str = "") -> Any:
    answer = RawClient(server.url)("GET", f"/scale{query}")
    assert answer.status == 200, answer
    return answer.data


def waiting(server: Serving, query: str) -> int:
    return int(told(server, query)["waiting"])


@pytest.fixture
def opened(store: Store) -> Any:
    serving = Serving(store, authenticator=OpenAuthenticator(store))
    yield serving
    serving.close()


def test_an_empty_store_has_a_load_of_zeros(opened: Serving) -> None:
    zeros = {"waiting": 0, "running": 0, "total": 0, "oldest_age": 0.0, "wanted_agents": 0}
    assert told(opened) == zeros
    assert told(opened, "?queue=never-used&requires=gpu") == zeros


def test_the_load_counts_waiting_and_running_jobs_and_wanted_agents(
    opened: Serving, store: Store, clock: FakeClock
) -> None:
    put(store, *(new() for _ in range(6)), new(delay=60.0))
    claim(store)
    clock.advance(7)
    assert told(opened, "?queue=q&slots=4") == {
        "waiting": 5,
        "running": 1,
        "total": 6,
        "oldest_age": 7.0,
        "wanted_agents": 2,
    }
    assert told(opened)["wanted_agents"] == 6


def test_a_job_counts_for_the_agents_that_can_run_it(opened: Serving, store: Store) -> None:
    put(store, new(), new(requires=("gpu",)), new(requires=("big", "gpu")))
    put(store, new(queue="other"))
    assert waiting(opened, "?queue=q") == 1
    assert waiting(opened, "?queue=q&requires=gpu") == 2
    assert waiting(opened, "?queue=q&requires=big,gpu,more") == 3
    assert waiting(opened, "?queue=q&requires=gpu!only") == 1
    assert waiting(opened, "?queue=q&requires=gpu%21only,%20big") == 2
    assert waiting(opened, "") == 2


def test_a_paused_queue_needs_agents_only_for_running_jobs(opened: Serving, store: Store) -> None:
    put(store, new(), new())
    claim(store)
    store.set_paused("q", paused=True).result()
    figures = told(opened)
    assert (figures["waiting"], figures["running"], figures["oldest_age"]) == (0, 1, 0.0)


@pytest.mark.parametrize("query", ["?slots=0", "?slots=x", "?queue=", "?label=gpu", "?slots=99999"])
def test_an_invalid_query_is_refused(opened: Serving, query: str) -> None:
    assert RawClient(opened.url)("GET", f"/scale{query}").is_problem(400, "usage")


def test_a_token_for_a_queue_sees_the_load_of_that_queue_only(
    server: Serving, store: Store
) -> None:
    put(store, new(queue="mine"))
    put(store, new(queue="other"), new(queue="other"))
    ask = RawClient(server.url, make_token(store, "read", queues=["mine"]))
    assert ask("GET", "/scale").data["waiting"] == 1
    assert ask("GET", "/scale?queue=mine").data["waiting"] == 1
    assert ask("GET", "/scale?queue=other").is_problem(403, "forbidden")
    agent = RawClient(server.url, make_token(store, "agent"))
    assert agent("GET", "/scale").is_problem(403, "forbidden")
