"""No job keeps an agent from the others: not one that kills it, nor one that it cannot read."""

from __future__ import annotations

import signal
from contextlib import closing
from typing import Any

from agent_tasks import add, poison
from calls import claim, new, put, state
from deployment import Deployment, wait_for
from remote_jobs import remote
from served import OpenAuthenticator, Serving

from conveyor import State
from conveyor.client.job_handle import Job
from conveyor.store.http.store import HttpStore
from conveyor.store.memory.store import MemoryStore

BEFORE, BEHIND = 300, 100


def test_jobs_that_a_killed_agent_had_not_started_return_without_a_crash(
    deployment: Deployment,
) -> None:
    deployment.server_thread()  # its leases are far longer than this test
    program = remote(deployment)
    quick = program.task(name=add.task.name)(add.task.function)
    kills = program.task(name=poison.task.name)(poison.task.function)
    program.queue("default").pause()
    quick.enqueue_many([(number, 0) for number in range(BEFORE)])
    guilty: Job[Any] = kills.enqueue()
    others = quick.enqueue_many([(number, 1) for number in range(BEHIND)])
    agent = deployment.agent("--app", "agent_tasks:belt", "-c", "1")
    program.queue("default").resume()
    assert agent.popen.wait(60) == -signal.SIGKILL
    wait_for(lambda: program.store.counts().result()[0].counts.get(State.RUNNING, 0) == 0)
    assert guilty.refresh().record.crashes == 1
    records = [job.refresh().record for job in others]
    assert {record.state for record in records} == {State.AVAILABLE}
    assert {(record.attempt, record.crashes) for record in records} == {(0, 0)}
    assert any(record.lease for record in records), "none was claimed ahead: this shows nothing"


def test_a_job_whose_arguments_are_not_json_is_one_damaged_job() -> None:
    store = MemoryStore()
    server = Serving(store, authenticator=OpenAuthenticator(store))
    put(store, new(id="poison", args=b'{"a":Infinity}'), new(id="good"))
    with closing(server), closing(HttpStore(server.url)) as client:
        poisoned, good = claim(client, limit=2)
        assert (good.id, good.damage) == ("good", "")
        assert poisoned.damage.startswith("its arguments or its result are not JSON")
        assert client.get("poison").result(10).damage
        assert state(client, "good") is State.RUNNING
