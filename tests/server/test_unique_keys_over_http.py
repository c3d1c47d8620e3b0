"""Unique keys of jobs that programs in other languages send."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from raw_http import RawClient, make_token
from served import Serving

from conveyor.core.job import Options, TaskDefaults
from conveyor.core.key_template import KeyTemplate
from conveyor.store.protocol import Store

REPORT = TaskDefaults(
    name="report",
    options=Options(on_conflict="replace"),
    key=KeyTemplate("{user}:{day}", {"day": "today"}),
)


@pytest.fixture
def send(store: Store, server: Serving) -> Any:
    ask = RawClient(server.url, make_token(store, "admin"))
    store.put_tasks([REPORT]).result()

    def send(**job: Any) -> Any:
        return ask("POST", "/queues/q/jobs", {"jobs": [{"task": "report", **job}]})

    return send


def test_a_job_without_a_key_has_the_one_that_its_task_declares(store: Store, send: Any) -> None:
    first = send(id="a", args={"user": 7, "version": 1})
    again = send(id="b", args={"user": 7, "version": 2, "day": "today"})
    assert first.data["accepted"]["ids"] == ["a"]
    assert again.data["accepted"] == {
        "ids": ["a"],
        "existing": ["a"],
        "dropped": 0,
        "replaced": ["a"],
    }
    job = store.get("a").result()
    assert job.options.key == "7:today"
    assert msgspec.json.decode(job.args) == {"user": 7, "version": 2, "day": "today"}


def test_a_key_that_is_sent_is_literal(store: Store, send: Any) -> None:
    send(id="a", args={"user": 7}, options={"key": "{user}"})
    assert store.get("a").result().options.key == "{user}"


def test_a_complete_job_has_no_key_of_its_task(store: Store, send: Any) -> None:
    send(id="a", args={"user": 7}, complete=True)
    assert store.get("a").result().options.key is None


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({"args": {}}, "needs 'user', which the call does not have"),
        ({"args": {"user": None}}, "'user' is None in JSON"),
        ({"args": {"user": "x" * 200}}, "a name must be a string of 1 to 200 characters"),
        ({"options": {"key": "k", "on_conflict": "overwrite"}}, "on_conflict"),
        ({"complete": True, "options": {"on_conflict": "join"}}, "needs a key"),
        ({"options": {"key": "k", "postpone_limit": -1}}, "postpone_limit"),
    ],
)
def test_what_makes_no_sense_is_refused(
    store: Store, send: Any, job: dict[str, Any], said: str
) -> None:
    answer = send(**job)
    assert (answer.status, said in answer.data["detail"]) == (400, True), answer.data
