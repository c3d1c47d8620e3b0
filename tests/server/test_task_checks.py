"""Jobs over HTTP have the options that their tasks declare, and a server with tasks checks them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from raw_http import RawClient
from served import Serving

from conveyor import Conveyor
from conveyor.core.job import COMMAND_TASK, COMMANDS, Options, TaskDefaults
from conveyor.server.server_config import ServerConfig
from conveyor.store.http.store import HttpStore
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Claimant, Filter, Want

application = Conveyor("memory:")


@application.task(name="send", retries=5, priority=7)
def send(to: str) -> None: ...


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def checking(store: MemoryStore) -> Iterator[Serving]:
    """A server with the application."""
    serving = Serving(store, config=ServerConfig(tasks=application.tasks))
    yield serving
    serving.close()


def test_a_server_without_the_application_uses_what_a_worker_declared(store: MemoryStore) -> None:
    declared = Options(retries=3, requires=("smtp",))
    store.put_tasks([TaskDefaults(name="send", priority=2, options=declared)]).result()
    serving = Serving(store)
    ask = RawClient(serving.url)
    jobs = [{"task": "send", "id": "plain"}, {"task": "send", "id": "own", "priority": 9}]
    jobs.append({"task": "send", "id": "given", "options": {"retries": 1}})
    assert ask("POST", "/queues/q/jobs", {"jobs": jobs}).status == 200
    found = {each: store.get(each).result() for each in ("plain", "own", "given")}
    assert [job.priority for job in found.values()] == [2, 9, 2]
    assert [job.options.retries for job in found.values()] == [3, 3, 1]
    assert {job.options.requires for job in found.values()} == {("smtp",)}
    serving.close()


def test_a_program_over_http_keeps_its_own_options(store: MemoryStore, checking: Serving) -> None:
    belt = Conveyor(store=HttpStore(checking.url))
    belt.task(name="send")(send.task.function)
    job = belt.functions["send"].enqueue("ann")
    assert store.get(job.id).result().options == Options()
    by_name = Conveyor(store=belt.store).send("send", {"to": "bob"}, retries=0)
    stored = store.get(by_name.id).result()
    assert (stored.options.retries, stored.priority) == (0, 0)
    belt.close()


def test_a_server_with_the_application_refuses_what_its_tasks_do_not_take(
    store: MemoryStore, checking: Serving
) -> None:
    ask = RawClient(checking.url)
    for job, said in (
        ({"task": "sned", "args": {"to": "ann"}}, "there is no task 'sned'; known tasks: send"),
        ({"task": "send", "args": {}}, "there is no value for its parameter to"),
        ({"task": "send", "args": {"to": 7}}, "do not match its signature"),
        ({"task": "send", "args": {"to": "ann", "cc": "bob"}}, "it has no parameter cc"),
    ):
        answer = ask("POST", "/queues/q/jobs", {"jobs": [job]})
        assert answer.status == 400
        assert said in answer.data["detail"]
    assert store.counts().result() == []
    good = {"jobs": [{"task": "send", "id": "good", "args": {"to": "ann"}}]}
    assert ask("POST", "/queues/q/jobs", good).status == 200
    assert store.get("good").result().options.retries == 5
    command = {"jobs": [{"task": "conveyor.command", "id": "c", "args": {"argv": ["true"]}}]}
    assert ask("POST", "/queues/q/jobs", command).status == 200
    assert store.get("c").result().options == Options(requires=("commands",))
    # A program that submits calls runs them itself.
    call = {"jobs": [{"task": "app.call", "args": {}}]}
    assert ask("POST", "/queues/calls/jobs", call).status == 200


def test_a_job_over_http_gets_what_its_task_declares_later(store: MemoryStore) -> None:
    serving = Serving(store)
    jobs = [{"task": "send", "id": "given", "options": {"timeout": 9}}, {"task": "send", "id": "p"}]
    assert RawClient(serving.url)("POST", "/queues/q/jobs", {"jobs": jobs}).status == 200
    declared = Options(retries=3, timeout=1.0)
    store.put_tasks([TaskDefaults(name="send", options=declared)]).result()
    claimed = store.claim([Want("q", 9)], Claimant("w"), limit=9).result().jobs
    assert {job.id: job.options for job in claimed} == {
        "given": Options(retries=3, timeout=9.0),
        "p": declared,
    }
    serving.close()


def tick(due: float, *jobs: dict[str, object]) -> dict[str, object]:
    return {"due_at": due, "next_at": due + 60, "jobs": list(jobs)}


@pytest.mark.parametrize(
    "job",
    [
        {"task": ""},
        {"task": "send", "id": "a\0b"},
        {"task": "t", "args": [1]},
        {"task": "t", "run_at": 5, "delay": 5},
        {"task": "t", "options": {"retries": -1}},
        {"task": "t", "options": {"files": [{"name": "/etc/x", "digest": "0" * 64, "size": 1}]}},
        {"task": "t", "options": {"artifacts": ["../x"]}},
        {"task": "t", "args": {"a": "x" * 2000}},
    ],
    ids=lambda job: str(job)[:60],
)
def test_a_tick_stores_only_what_an_enqueue_would(store: MemoryStore, job: dict[str, Any]) -> None:
    serving = Serving(store, config=ServerConfig(args_limit=1000))
    ask = RawClient(serving.url)
    rule = {"name": "s", "cron": "@daily", "timezone": "UTC", "missed": "once", "next_at": 9}
    assert ask("PUT", "/schedules/s", {"schedule": rule}).status == 200
    refused = ask("POST", "/queues/q/jobs", {"jobs": [job]})
    assert refused.status == 400
    assert ask("POST", "/schedules/s/tick", tick(9, job)).data == refused.data
    assert store.find(Filter(), limit=9).result() == []
    assert store.schedules().result()[0].next_at == 9
    serving.close()


def test_a_tick_makes_the_ids_that_it_was_not_sent_and_keeps_commands_from_other_workers(
    store: MemoryStore,
) -> None:
    serving = Serving(store)
    ask = RawClient(serving.url)
    rule = {"name": "s", "cron": "@daily", "timezone": "UTC", "missed": "once", "next_at": 9}
    assert ask("PUT", "/schedules/s", {"schedule": rule}).status == 200
    command = {"task": COMMAND_TASK, "args": {"argv": ["true"]}}
    assert ask("POST", "/schedules/s/tick", tick(9, {"task": "t"}, command)).data is True
    jobs = store.find(Filter(), limit=9, include=["options"]).result()
    assert len({job.id for job in jobs if len(job.id) == 36}) == 2
    assert [job.options.requires for job in jobs] == [(COMMANDS,), ()]
    serving.close()


def test_an_invalid_declaration_or_schedule_is_refused(store: MemoryStore) -> None:
    serving = Serving(store)
    ask = RawClient(serving.url)
    for options in ({"retries": -1}, {"artifacts": ["../x"]}, {"requires": [""]}):
        declared = {"tasks": [{"name": "t", "options": options}]}
        assert ask("PUT", "/tasks", declared).is_problem(400, "usage")
    assert store.task_defaults("t").result() is None
    rule = {"name": "s", "timezone": "UTC", "missed": "once", "next_at": 9}
    for wrong in ({"cron": "never"}, {"cron": "@daily", "timezone": "../../etc/passwd"}):
        assert ask("PUT", "/schedules/s", {"schedule": {**rule, **wrong}}).is_problem(400, "usage")
    assert store.schedules().result() == []
    serving.close()
