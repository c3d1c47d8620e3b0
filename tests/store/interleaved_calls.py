"""The calls that are made two at a time, the jobs they meet, and what they may answer.

The memory store is the specification: two calls at once must answer and leave behind what it does
when they are made one after the other, in either order. A call that takes what nobody else holds
(a claim, a rescue) may also pass over what the other call holds; `weaker` is then what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from calls import BROKEN, claim, data, new, offer, put, settle

from conveyor.core.job import DETAILS, FINAL, ErrorInfo, JobRecord, OutputChunk, WorkerInfo
from conveyor.core.lifecycle import Failed, Interrupted, Snoozed, Succeeded
from conveyor.core.page import PAGE_BYTES
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Claimant, Filter, Lease, Report, Want
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock
from interleaving import Answer, Call, answer_of

START = 1_000_000.0
QUEUES = ("q", "b", "full", "one")
WORKER = WorkerInfo(
    id="w", host="h", boot_id="b", pid=1, pid_started=1.0, started_at=1.0, slots=1, queues=("q",)
)
IDLE = msgspec.structs.replace(WORKER, id="idle")
RESULT = Succeeded(b'"done"')
TRIED = Failed(ErrorInfo("ValueError", "broken"))
Make = Callable[[Store, str], Any]
# What ever happened in each queue.
Totals = dict[str, dict[str, int]]


class Operation(NamedTuple):
    """A call by either side, whose name is part of what it adds, and what it may do instead."""

    make: Make
    weaker: tuple[Make, ...] = ()


def set_clock(clock: FakeClock, moment: float) -> None:
    clock.advance(moment - clock.now())


def prepare(store: Store, clock: FakeClock) -> Totals:
    """Leave jobs in every state, and producers that wait at a full queue; return the totals."""
    set_clock(clock, START)
    put(store, new(id="lapsed", retries=3), new(id="final", key="f"), new(id="old"))
    lapsed, final, old = claim(store, 3, worker="dead", lease_for=5.0)
    settle(store, final, RESULT)
    settle(store, old, RESULT)
    clock.advance(10)
    put(
        store,
        new(id="runs", retries=3, key="r"),
        new(id="asked"),
        new(id="late", run_at=START + 15),
    )
    for each in claim(store, 2, worker="w"):
        if each.id == "asked":
            store.cancel(each.id, reason="asked").result()
    put(store, new(id="waits"), new(id="keyed", key="k"))
    put(store, new(queue="b", id="in-b"), capacity=2)
    put(store, new(queue="full", id="in-full"), capacity=1)
    offer(store, new(queue="full", id="offered"), capacity=1)
    put(store, new(queue="one", id="in-one"))
    store.beat(WORKER).result()
    store.beat(IDLE).result()
    clock.advance(1)
    # `late` is due once somebody stages it.
    clock.advance(5)
    assert lapsed.lease == 1
    return totals(store)


def totals(store: Store) -> Totals:
    return {each.name: data(each.totals) for each in store.counts().result()}


def lease(job_id: str, number: int = 1) -> Lease:
    return Lease(job_id, number)


def _claim(queues: Sequence[str], limit: int, worker: str = "") -> Make:
    def make(store: Store, side: str) -> Any:
        wants = [Want(queue, limit) for queue in queues]
        return store.claim(
            wants, Claimant(worker or side, 60.0), limit=limit * len(queues)
        ).result()

    return make


def _settle(job_id: str, outcome: Any) -> Operation:
    return Operation(lambda store, _: store.settle([Report(job_id, 1, outcome)]).result())


def _exchange(store: Store, side: str) -> Any:
    return store.exchange(
        [Report("runs", 1, RESULT)], [Want("one", 1)], Claimant("w", 60.0), limit=1
    ).result()


def _insert(queue: str, *, capacity: int | None = None, how: Any = "wait", **options: Any) -> Make:
    def make(store: Store, side: str) -> Any:
        return offer(
            store,
            new(queue=queue, id=options.get("id", f"new-{side}"), **_without_id(options)),
            capacity=capacity,
            when_full=how,
        )

    return make


def _insert_many(store: Store, side: str) -> Any:
    return offer(store, *(new(id=f"new-{side}-{number}") for number in range(5)))


def _without_id(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "id"}


def _nothing(answer: Any) -> Make:
    return lambda store, side: answer


def _write(store: Store, side: str) -> Any:
    chunk = OutputChunk(job_id="runs", lease=1, offset=0, stream="stdout", at=1.0, data=b"text")
    return store.write_output([chunk]).result()


def _take_over(store: Store, side: str) -> Any:
    """Rescue what a dead worker had, and claim it: two calls."""
    return store.rescue(dead=["dead"], limit=10).result(), _claim(["q"], 4)(store, side)


def _take_over_nothing(store: Store, side: str) -> Any:
    return [], _claim(["q"], 4)(store, side)


EMPTY_CLAIM: Any = MemoryStore(FakeClock()).claim([], Claimant("w"), limit=1).result()
EVERY = dict.fromkeys(FINAL, 0.0)
OPERATIONS: dict[str, Operation] = {
    "insert": Operation(_insert("q")),
    "insert many": Operation(_insert_many),
    "insert with a key": Operation(_insert("q", key="n")),
    "insert with a taken key": Operation(_insert("q", key="k")),
    "insert that postpones": Operation(_insert("q", key="k", on_conflict="postpone", delay=30.0)),
    "insert that follows": Operation(_insert("q", key="r", on_conflict="replace", args=b"[1]")),
    "insert one id": Operation(_insert("q", id="same")),
    "bounded insert": Operation(_insert("b", capacity=2)),
    "bounded insert that refuses": Operation(_insert("b", capacity=2, how="refuse")),
    "bounded insert that drops": Operation(_insert("b", capacity=2, how="drop_oldest")),
    "raise a capacity": Operation(_insert("full", capacity=3)),
    "lower a capacity": Operation(_insert("b", capacity=1)),
    "claim": Operation(_claim(["q"], 2), (_claim(["q"], 1), _nothing(EMPTY_CLAIM))),
    "claim all": Operation(_claim(["q", "full", "b"], 3), (_nothing(EMPTY_CLAIM),)),
    "claim as an idle worker": Operation(_claim(["one"], 1, "idle"), (_nothing(EMPTY_CLAIM),)),
    "claim where producers wait": Operation(_claim(["full"], 1), (_nothing(EMPTY_CLAIM),)),
    "settle": _settle("runs", RESULT),
    "settle a lapsed one": _settle("lapsed", RESULT),
    "fail": _settle("runs", BROKEN),
    "release": _settle("runs", Interrupted()),
    "snooze": _settle("runs", Snoozed(5.0)),
    "fail an asked one": _settle("asked", TRIED),
    "exchange": Operation(
        _exchange, (lambda store, _: store.settle([Report("runs", 1, RESULT)]).result(),)
    ),
    "extend": Operation(lambda store, _: store.extend([lease("runs")], lease_for=90).result()),
    "extend a lapsed one": Operation(
        lambda store, _: store.extend([lease("lapsed"), lease("runs")], lease_for=90).result()
    ),
    "extend a worker": Operation(lambda store, _: store.extend_worker("w", lease_for=90).result()),
    "cancel a waiting one": Operation(
        lambda store, side: store.cancel("waits", reason="r").result()
    ),
    "cancel a running one": Operation(
        lambda store, side: store.cancel("runs", reason="r").result()
    ),
    "cancel in a full queue": Operation(
        lambda store, side: store.cancel("in-full", reason="r").result()
    ),
    "cancel a late one": Operation(lambda store, side: store.cancel("late", reason="r").result()),
    "rescue": Operation(lambda store, _: store.rescue(limit=10).result(), (_nothing([]),)),
    "rescue of the dead": Operation(
        lambda store, _: store.rescue(dead=["dead"], limit=10).result(), (_nothing([]),)
    ),
    "retry": Operation(lambda store, _: store.retry("final").result()),
    "delete": Operation(lambda store, _: store.delete("final").result()),
    "prune": Operation(
        lambda store, _: store.prune(EVERY, limit=10).result(),
        (lambda store, _: store.prune({}, limit=10).result(),),
    ),
    "stage": Operation(lambda store, _: store.stage(limit=10).result().moved, (_nothing(0),)),
    "pause": Operation(lambda store, _: store.set_paused("one", paused=True).result()),
    "quiet": Operation(lambda store, _: store.order("w", "quiet").result()),
    "take over": Operation(_take_over, (_take_over_nothing,)),
    "quiet if idle": Operation(
        lambda store, _: store.order("idle", "quiet", if_idle=True).result()
    ),
    "dismiss": Operation(lambda store, _: store.dismiss("w", force=True).result()),
    "beat": Operation(lambda store, _: store.beat(WORKER).result()),
    "write output": Operation(_write),
}


def plain(value: Any) -> Any:
    """Return plain data without what depends on the order of the rows' numbers."""
    told = data(value)
    if isinstance(told, dict):
        return {key: plain(each) for key, each in told.items() if key not in {"seq", "offer"}}
    return [plain(each) for each in told] if isinstance(told, list | tuple) else told


def since(before: Totals, queue: Any) -> Any:
    """Return a queue with what its totals have grown by. A store may have been used before."""
    first = before[queue["name"]]
    grown = {name: number - first[name] for name, number in queue["totals"].items()}
    return {**queue, "totals": grown}


def contents(store: Store, before: Totals) -> Any:
    """Return all that a store shows: jobs, histories, counts, workers and output."""
    jobs: Sequence[JobRecord] = store.find(Filter(), limit=100, include=DETAILS).result()
    return {
        "jobs": {job.id: plain(job) for job in jobs},
        "errors": {
            job.id: [plain(each) for each in store.history(job.id).result()] for job in jobs
        },
        "output": {
            job.id: [plain(each) for each in store.output(job.id, limit=PAGE_BYTES).result()]
            for job in jobs
            if job.id == "runs"
        },
        "queues": {
            each.name: since(before, plain(each))
            for each in store.counts().result()
            if each.name in QUEUES
        },
        "workers": [plain(each) for each in store.workers().result()],
    }


class Outcome(NamedTuple):
    """What two calls answered, and what they left behind."""

    answers: list[Any]
    contents: Any


def sided(operation: Make, store: Store, side: str) -> Call:
    return lambda: operation(store, side)


def serial_outcomes(first: Operation, second: Operation) -> list[Outcome]:
    """Return every outcome that is right: those of the memory store, one call after the other."""
    outcomes: list[Outcome] = []
    for one in (first.make, *first.weaker):
        for other in (second.make, *second.weaker):
            for is_swapped in (False, True):
                clock = FakeClock()
                store = MemoryStore(clock, draw=lambda: 0.5)
                before = prepare(store, clock)
                calls = [sided(one, store, "a"), sided(other, store, "b")]
                made = [answer_of(each) for each in (calls[::-1] if is_swapped else calls)]
                outcomes.append(outcome(made[::-1] if is_swapped else made, store, before))
    return outcomes


def outcome(answers: Sequence[Answer], store: Store, before: Totals) -> Outcome:
    # A claim does not see an offer that is not committed; the next look of maintenance does.
    store.stage(limit=0).result()
    return Outcome([[kind, plain(value)] for kind, value in answers], contents(store, before))


def finish_all(store: Store, clock: FakeClock) -> None:
    """Run and prune what is there, which proves that no job is stuck and no count wrong."""
    assert store.check().result() == []
    clock.advance(100_000)
    store.stage(limit=100).result()
    for queue in QUEUES:
        store.set_paused(queue, paused=False).result()
    store.rescue(limit=100).result()
    store.stage(limit=100).result()
    wants = [Want(queue, 100) for queue in QUEUES]
    jobs = store.claim(wants, Claimant("last"), limit=100).result().jobs
    store.settle([Report(job.id, job.lease, RESULT) for job in jobs]).result()
    clock.advance(1)
    store.prune(EVERY, limit=100).result()
    for worker in ("w", "idle"):
        store.leave(worker).result()
    for each in store.counts().result():
        assert not any(each.counts.values()), each
        assert not each.offers
    # Every queue has the bound with which the next jobs come.
    put(store, new(queue="full", id="bound"), capacity=1)
    store.cancel("bound", reason="r").result()
    clock.advance(1)
    assert store.prune(EVERY, limit=100).result() == 1
