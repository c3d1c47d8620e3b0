"""The audit log of a server has whatever a caller did to others."""

from __future__ import annotations

from typing import Any

import pytest
from calls import claim
from raw_http import RawClient, make_token
from served import Serving

from conveyor.core.access import Action, token_id
from conveyor.core.job import NewJob
from conveyor.server.audit import RepeatedActions
from conveyor.store.protocol import Store

Line = tuple[str, str, str]


class Caller:
    """Calls a server with an admin token."""

    def __init__(self, store: Store, server: Serving) -> None:
        self._store = store
        self._ask = RawClient(server.url, make_token(store, "admin"))

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        answer = self._ask(method, path, body)
        assert answer.status < 300, answer

    def enqueue(self, job: str, **body: Any) -> None:
        self.call("POST", "/queues/q/jobs", {"jobs": [{"task": "t", "id": job}], **body})

    @property
    def lines(self) -> list[Line]:
        """What was recorded, oldest first."""
        found = reversed(self._store.actions(limit=100).result())
        return [(each.what, each.subject, each.detail) for each in found]


@pytest.fixture
def caller(store: Store, server: Serving) -> Caller:
    return Caller(store, server)


def test_a_revoked_token_is_named(store: Store, caller: Caller) -> None:
    other = token_id(make_token(store, "read"))
    assert other is not None
    caller.call("DELETE", f"/tokens/{other}")
    assert caller.lines == [("revoke token", other, "read")]


def test_a_capacity_that_changes_is_recorded_once_an_hour(caller: Caller) -> None:
    caller.enqueue("a", capacity=10)
    caller.enqueue("b", capacity=10)
    assert caller.lines == []
    caller.enqueue("c", capacity=None)
    caller.enqueue("d", capacity=10)
    assert caller.lines == [("set capacity", "q", "10 -> unbounded")]


def test_a_capacity_that_the_server_did_not_set_is_compared_too(
    store: Store, caller: Caller
) -> None:
    store.insert([NewJob(id="a", task="t", queue="q")], capacity=3).result()
    caller.enqueue("b", capacity=4)
    assert caller.lines == [("set capacity", "q", "3 -> 4")]


def test_jobs_dropped_to_make_room_are_recorded_once_an_hour(caller: Caller) -> None:
    for job in ("a", "b", "c", "d"):
        caller.enqueue(job, capacity=2, when_full="drop_oldest")
    assert caller.lines == [
        ("drop jobs", "q", "1 jobs, to make room; more within the hour are not recorded")
    ]


def test_jobs_replaced_by_their_keys_are_recorded_once_an_hour(caller: Caller) -> None:
    options = {"key": "k", "on_conflict": "replace"}
    for job in ("a", "b", "c"):
        jobs = [{"task": "t", "id": job, "options": options}]
        caller.call("POST", "/queues/q/jobs", {"jobs": jobs})
    assert caller.lines == [
        ("replace jobs", "q", "a, by their unique keys; more within the hour are not recorded")
    ]


def test_a_waiting_enqueue_that_drops_jobs_is_recorded(caller: Caller) -> None:
    caller.enqueue("a", capacity=1)
    caller.enqueue("b", capacity=1, when_full="drop_oldest", wait=0)
    assert [line[0] for line in caller.lines] == ["drop jobs"]


def test_a_schedule_is_recorded_when_its_rule_changes_and_when_it_ticks(caller: Caller) -> None:
    schedule = {
        "name": "s", "cron": "@daily", "timezone": "UTC", "missed": "skip", "next_at": 100.0
    }  # fmt: skip
    for _ in range(2):  # as an application declares it at each start
        caller.call("PUT", "/schedules/s", {"schedule": schedule})
    tick = {"due_at": 100.0, "next_at": 200.0, "jobs": [{"task": "t", "id": "x"}]}
    for _ in range(2):  # the second one is too late
        caller.call("POST", "/schedules/s/tick", tick)
    caller.call("DELETE", "/schedules/s")
    assert caller.lines == [
        ("put schedule", "s", "@daily UTC"),
        ("tick schedule", "s", "1 jobs"),
        ("remove schedule", "s", ""),
    ]


def test_declarations_of_tasks_are_recorded_when_they_change(caller: Caller) -> None:
    for priority in (0, 0, 5):
        caller.call("PUT", "/tasks", {"tasks": [{"name": "t", "priority": priority}]})
    assert caller.lines == [("declare tasks", "", "t")] * 2


def test_a_prune_is_recorded_if_it_deleted_something(store: Store, caller: Caller) -> None:
    caller.enqueue("a")
    store.cancel("a", reason="over").result()
    for _ in range(2):
        caller.call("POST", "/upkeep/prune", {"retention": {"cancelled": 0.0}})
    caller.call("POST", "/upkeep/sweep", {})
    assert caller.lines == [("prune", "", "1 jobs")]


def test_a_stack_is_recorded_once_for_a_caller_and_a_job(store: Store, caller: Caller) -> None:
    for job in ("a", "b"):
        caller.enqueue(job)
    claim(store, limit=2)
    for job in ("a", "a", "b", "a"):
        caller.call("POST", f"/jobs/{job}/stack")
    assert caller.lines == [("stack", "a", ""), ("stack", "b", "")]


def test_a_repeated_action_is_recorded_again_after_ten_minutes() -> None:
    now = 0.0
    repeated = RepeatedActions(lambda: now)
    stack = Action(who="ann", where="h", what="stack", subject="a", detail="")
    other = Action(who="bob", where="h", what="stack", subject="a", detail="")
    cancel = Action(who="ann", where="h", what="cancel", subject="a", detail="")
    assert [repeated.is_due(each) for each in (stack, stack, other)] == [True, False, True]
    assert [repeated.is_due(cancel) for _ in range(2)] == [True, True]
    now = 599.9
    assert not repeated.is_due(stack)
    now = 600.0
    assert repeated.is_due(stack)


def test_a_mark_is_recorded_and_is_of_the_token_that_made_it(store: Store, caller: Caller) -> None:
    caller.call("POST", "/marks", {"text": "deployed", "who": "somebody else"})
    assert caller.lines == [("mark", "", "deployed")]
    [mark] = store.marks(limit=9).result()
    [action] = store.actions(limit=9).result()
    assert mark.who == action.who
