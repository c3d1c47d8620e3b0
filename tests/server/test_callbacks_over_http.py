"""Callbacks in requests: checked as the job itself is, and only for queues of the token."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from calls import BROKEN, claim, settle
from raw_http import RawClient, make_token
from served import Serving

from conveyor.core.job import Callback, NewJob, Options, TaskDefaults
from conveyor.core.trace_context import TraceContext
from conveyor.store.messages import Filter
from conveyor.store.protocol import Store

CALLBACK = {"on": "finished", "task": "after", "parameter": "ended", "queue": "mine"}


@pytest.fixture
def ask(store: Store, server: Serving) -> RawClient:
    return RawClient(server.url, make_token(store, "enqueue", queues=["mine"]))


def enqueue(ask: RawClient, **callback: Any) -> Any:
    job = {"task": "t", "callbacks": [{**CALLBACK, **callback}]}
    return ask("POST", "/queues/mine/jobs", {"jobs": [job]})


def test_a_token_may_name_callbacks_of_its_own_queue(ask: RawClient) -> None:
    assert enqueue(ask).status == 200


def test_a_job_that_says_nothing_gets_the_callbacks_that_its_task_declares(
    ask: RawClient, store: Store
) -> None:
    own = Callback(on="finished", task="own", parameter="ended", queue="mine")
    alert = Callback(on="discarded", task="alert", parameter="ended", queue="mine")
    declared = msgspec.structs.replace(own, task="declared")
    store.put_tasks([TaskDefaults(name="t", callbacks=(declared, alert))]).result()
    assert enqueue(ask, task="own").status == 200
    assert ask("POST", "/queues/mine/jobs", {"jobs": [{"task": "t"}]}).status == 200
    for job in claim(store, 2, queue="mine"):
        settle(store, job, BROKEN)
    tasks = [job.task for job in claim(store, 9, queue="mine")]
    assert sorted(tasks) == ["alert", "alert", "declared", "own"]


@pytest.mark.parametrize("queue", ["other", "default"])
def test_a_token_cannot_reach_another_queue_by_a_callback(ask: RawClient, queue: str) -> None:
    answer = enqueue(ask, queue=queue)
    assert answer.status == 403
    assert queue in answer.text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"task": "conveyor.command"}, "cannot be a callback"),
        ({"task": ""}, "task"),
        ({"parameter": "p" * 300}, "parameter"),
        ({"priority": 2**40}, "priority"),
        ({"options": {"retries": -1}}, "retries"),
        ({"options": {"key": "k"}}, "key"),
        ({"on": "started"}, "started"),
    ],
)
def test_a_callback_that_could_not_run_is_refused_with_the_reason(
    ask: RawClient, wrong: dict[str, Any], said: str
) -> None:
    answer = enqueue(ask, **wrong)
    assert answer.status in (400, 422)
    assert said in answer.text


def test_a_copy_has_the_callbacks_that_its_task_declares_and_no_trace(
    store: Store, ask: RawClient
) -> None:
    trace = TraceContext(f"00-{'4b' * 16}-{'0f' * 8}-01")
    job = NewJob(id="a", task="t", queue="mine", options=Options(trace=trace, retries=3))
    store.insert([job]).result()
    alert = Callback(on="finished", task="alert", parameter="ended", queue="mine")
    store.put_tasks([TaskDefaults(name="t", callbacks=(alert,))]).result()
    copy = ask("POST", "/jobs/a/copy", {}).data["id"]
    store.cancel("a", reason="over").result()
    options = store.get(copy).result().options
    assert (options.trace, options.retries) == (None, 3)
    store.cancel(copy, reason="over").result()
    [called] = store.find(Filter(task="alert"), limit=9, include=["args"]).result()
    assert json.loads(called.args)["ended"]["id"] == copy
