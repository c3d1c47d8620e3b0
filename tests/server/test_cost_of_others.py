"""What a caller asks about one queue or job costs the same however many others there are."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Any, Self

import pytest
from calls import new, offer, put
from raw_http import RawClient, make_token
from served import Serving

from conveyor.core.pending import Pending
from conveyor.server.hub import Hub
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Load


class OneByOneStore(MemoryStore):
    """A store that refuses to read all queues."""

    def counts(self) -> Any:
        raise AssertionError("all queues are read")

    def load(self, *, limit: int, queue: str | None = None) -> Pending[list[Load]]:
        assert queue is not None, "all queues are read"
        return super().load(limit=limit, queue=queue)


class Steps:
    """Counts the instructions of Python that are executed within the context."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes = True
        self.count += event == "opcode"
        return self._trace


def full_store(queues: int) -> MemoryStore:
    """Return a store with a full queue, an offer and a job in each of many queues."""
    store = MemoryStore()
    for number in range(queues):
        put(store, new(queue=f"q{number}"), capacity=1)
        offer(store, new(id=f"offered-{number}", queue=f"q{number}"), capacity=1)
    return store


def test_a_token_of_one_queue_makes_the_server_read_that_queue_only() -> None:
    store = OneByOneStore()
    put(store, new(queue="mine"), new(queue="mine", requires=("gpu",)))
    put(store, new(queue="other"))
    text = make_token(store, "read", queues=("mine", "never"))
    serving = Serving(store, tokens=True)
    client = RawClient(serving.url, text)
    mine = [
        {"queue": "mine", "requires": labels, "waiting": 1, "running": 0}
        for labels in ([], ["gpu"])
    ]
    for path in ("/load", "/load?queue=mine"):
        found = client("GET", path).data
        assert [{name: each[name] for name in mine[0]} for each in found] == mine
    assert len(client("GET", "/load?limit=1").data) == 1
    assert [each["name"] for each in client("GET", "/queues").data] == ["mine"]
    assert client("GET", "/scale?queue=mine").data["waiting"] == 1
    assert client("GET", "/load?queue=other").is_problem(403, "forbidden")
    admin = RawClient(serving.url, make_token(store, "admin"))
    assert admin("GET", "/scale?queue=other").data["waiting"] == 1
    serving.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.offered("offered-1").result(),
        lambda store: store.load(limit=10, queue="q1").result(),
        lambda store: store.queue_info("q1").result(),
        lambda store: store.insert(
            [new(id="offered-1", queue="q1")], capacity=1, again=True
        ).result(),
        lambda store: store.accepted("2").result(),
    ],
    ids=["offered", "load", "queue_info", "insert again", "accepted"],
)
def test_a_call_about_one_queue_takes_as_long_beside_many(call: Callable[[Any], Any]) -> None:
    counts = []
    for queues in (3, 100):
        store = full_store(queues)
        call(store)  # what is done once, at the first call
        with Steps() as steps:
            call(store)
        counts.append(steps.count)
    assert counts[1] <= counts[0] * 1.1


def test_a_job_looks_at_the_waiting_claims_of_its_queue_only() -> None:
    async def count(claims: int) -> int:
        store = MemoryStore()
        hub = Hub(store, lambda _: None)
        hub.open()
        with ExitStack() as stack:
            first, *_ = [
                stack.enter_context(hub.waiting_claim(f"w{each}", [f"q{each}"], frozenset()))
                for each in range(claims)
            ]
            with Steps() as steps:
                put(store, new(id="a", queue="q0"))
                await first.sleep(60)
        hub.close()
        return steps.count

    assert asyncio.run(count(100)) <= asyncio.run(count(3)) * 1.1
