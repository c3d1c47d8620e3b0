"""Connections are cut again and again, and no job is lost, duplicated or settled twice."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from itertools import count, islice

import pytest
from agent_tasks import talk
from cutting_proxy import CuttingProxy
from deployment import Deployment, wait_for
from state_log import objections

from conveyor import Conveyor, State
from conveyor.core.job import FINAL
from conveyor.store.messages import Filter
from conveyor.store.sqlite.store import SqliteStore
from other_process import sql
from state_changes import changes, watch

QUEUE = "talking"
BOUND = 40
PRODUCERS = 8
SEED = 20261128
DEPTH = """
CREATE TABLE depth (waiting INTEGER);
CREATE TRIGGER deepening AFTER INSERT ON job BEGIN
    INSERT INTO depth SELECT count(*) FROM job
    WHERE state IN ('available', 'scheduled', 'retryable');
END;
"""
# So many jobs a program enqueues one after the other.
EACH = 3
Produce = Callable[[str, str, Sequence[int]], object]


def enqueue(url: str, token: str, numbers: Sequence[int]) -> None:
    """Have jobs run as a program does, and wait for some of them."""
    with Conveyor(url, token=token) as belt:
        task = belt.queue(QUEUE, capacity=BOUND).task(name=talk.task.name)(talk.task.function)
        for number in numbers:
            job = task.enqueue(number, 0.1 if number % 10 == 0 else 0.002)
            if number % 5 == 0:
                assert job.result(120) == number


def enqueue_without_ids(url: str, token: str, numbers: Sequence[int]) -> None:
    """The known-bad one: it sends what got no answer again, as if that were something new."""
    for number in numbers:
        _send_until_answered(url, token, number)


def _send_until_answered(url: str, token: str, number: int) -> None:
    body = {"jobs": [{"task": talk.task.name, "args": {"number": number, "pause": 0.0}}]}
    request = urllib.request.Request(
        f"{url}/api/v1/queues/{QUEUE}/jobs",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                answer.read()
        except (OSError, HTTPException):
            continue
        return


class Drill:
    """A server, two agents and some producers, with a proxy between them that cuts."""

    def __init__(self, deployment: Deployment, cuts: int) -> None:
        self.deployment = deployment
        deployment.server()
        self.proxy = deployment.closing(CuttingProxy(deployment.port, seed=SEED, most=cuts))
        watch(deployment.db)
        sql(deployment.db, DEPTH)
        for _ in range(2):
            deployment.agent(
                "--app", "agent_tasks:belt", "-q", QUEUE, "-c", "8", url=self.proxy.url
            )
        self.numbers: list[int] = []
        self.errors: list[Exception] = []

    def produce(self, make: Produce) -> None:
        """Have jobs enqueued until all cuts are made."""
        numbers = count()
        threads = [
            threading.Thread(target=self._produce, args=(make, numbers)) for _ in range(PRODUCERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def see_through(self) -> None:
        """Wait until all jobs have ended."""
        store = self.deployment.store()
        alive = Filter(states=frozenset(State) - FINAL)
        wait_for(lambda: not store.find(alive, limit=1).result(10), 60)

    def objections(self) -> list[str]:
        """Say all that is wrong."""
        ids, found = self.miscounted()
        db = self.deployment.db
        store = self.deployment.closing(SqliteStore(db))
        found += objections(changes(db), ids)
        for job, number in ids.items():
            record = store.get(job).result(10)
            if record.state is not State.COMPLETED or record.result != str(number).encode():
                found.append(f"{number} is {record.state} with {record.result!r}: {record.error}")
            chunks = store.output(job, limit=1000).result(10)
            wrote = b"".join(c.data for c in chunks if c.lease == record.lease).decode()
            if wrote != "".join(f"{number}.{line}\n" for line in range(5)):
                found.append(f"{number} wrote {wrote!r}")
        [[deepest]] = sql(db, "SELECT max(waiting) FROM depth")
        if deepest > BOUND:
            found.append(f"{deepest} jobs waited where {BOUND} may")
        return found

    def miscounted(self) -> tuple[dict[str, int], list[str]]:
        """Return the jobs by their ids, and say what was not enqueued just once."""
        number = "json_extract(CAST(args AS TEXT), '$.number')"
        rows = sql(self.deployment.db, f"SELECT id, {number} FROM job")
        ids: dict[str, int] = dict(rows)
        times = Counter(ids.values())
        found = [
            f"{number} was enqueued {times[number]} times"
            for number in self.numbers
            if times[number] != 1
        ]
        return ids, found

    def _produce(self, make: Produce, numbers: Iterator[int]) -> None:
        try:
            while not self.proxy.done:
                mine = list(islice(numbers, EACH))
                make(self.proxy.url, self.deployment.admin, mine)
                self.numbers += mine
        except Exception as error:  # noqa: BLE001 - it is looked at by the test
            self.errors.append(error)


def check(deployment: Deployment, cuts: int) -> None:
    drill = Drill(deployment, cuts)
    drill.produce(enqueue)
    drill.see_through()
    print(f"\n{drill.proxy.cuts} cuts, {len(drill.numbers)} jobs")
    assert drill.errors == []
    assert drill.objections() == []
    assert drill.proxy.cuts >= cuts


def test_nothing_is_lost_or_duplicated_when_300_connections_are_cut(
    deployment: Deployment,
) -> None:
    check(deployment, 300)


@pytest.mark.slow
def test_nothing_is_lost_or_duplicated_when_5000_connections_are_cut(
    deployment: Deployment,
) -> None:
    check(deployment, 5000)


def test_the_harness_detects_a_producer_that_retries_without_job_ids(
    deployment: Deployment,
) -> None:
    drill = Drill(deployment, 80)
    drill.produce(enqueue_without_ids)
    _, found = drill.miscounted()
    assert found != []
