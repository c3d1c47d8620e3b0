"""What a database with many writers relies on: row locks in one order, and guarded updates.

SQLite needs neither, as its transactions exclude each other; so the operations run here over a
connection that records the locks which it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from calls import BROKEN, new

from conveyor.core.job import (
    Callback,
    JobRecord,
    NewJob,
    Options,
    Progress,
    ScheduleInfo,
    State,
    TaskDefaults,
    WorkerInfo,
)
from conveyor.core.lifecycle import Interrupted, Succeeded, Transition
from conveyor.core.pending import run_sync
from conveyor.errors import ConveyorError, QueueFullError
from conveyor.store.messages import Claimant, Lease, Offered, Report, Want
from conveyor.store.sql.executor import Lockable, Params
from conveyor.store.sql.operations import (
    admin,
    artifacts,
    autoscale,
    claim,
    enqueue,
    maintenance,
    tasks,
    transitions,
    workers,
)
from conveyor.store.sql.rows import Row
from conveyor.store.sql.transaction import ConflictError, Lanes, Tx
from conveyor.store.sqlite.connection import Database

NOW = 1_000_000.0
LATER = NOW + 3600
ME = Claimant("w")
LABELLED = Options(requires=("gpu",))
WORKER = WorkerInfo(
    id="w", host="h", boot_id="b", pid=1, pid_started=1.0, started_at=0.0, slots=1, queues=()
)
RANKS: tuple[Lockable, ...] = ("worker", "queue", "job")
MADE = "add_queue", "add_lane"


class ManyWriters:
    """A SQLite connection that says it does not exclude writers, and records the locks."""

    excludes_writers = False

    def __init__(self, db: Database) -> None:
        self.locks: list[tuple[Lockable, str]] = []
        self.others: Callable[[], Any] = lambda: None
        self._db = db
        self.statements: list[str] = []
        # The rows that others would wait for until the commit, in the order of making.
        self.made: list[tuple[Any, ...]] = []
        self.many, self.change = db.many, db.change

    async def rows(self, name: str, params: Params = ()) -> list[Row]:
        self.statements.append(name)
        if name in MADE:
            self.made.append((MADE.index(name), *params))
        # What happened is an array where writers are many; a file has it as text.
        if name == "tally":
            params = [str(each) if isinstance(each, list) else each for each in params]
        return await self._db.rows(name, params)

    async def lock(self, what: Lockable, keys: Sequence[str], *, shared: bool = False) -> None:
        self.locks += [(what, key) for key in keys]
        self.others()

    async def limit_waits(self) -> None:
        await self._db.limit_waits()

    async def try_lock_queue(self, name: str, *, patiently: bool) -> bool:
        await self.lock("queue", [name])
        return True


class Transactions:
    """Runs operations, each in a transaction of its own."""

    def __init__(self, path: Path) -> None:
        self.db = Database(str(path), "normal")
        self.connection = ManyWriters(self.db)

    def run(
        self, operation: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **how: Any
    ) -> Any:
        self.connection.locks.clear()
        self.connection.statements.clear()
        self.connection.made.clear()
        with self.open() as tx:
            return run_sync(operation(tx, *args, **how))

    @contextmanager
    def open(self, now: float = NOW) -> Iterator[Tx]:
        with self.db.writing():
            tx = Tx(self.connection, Lanes(), now, lambda: 0.5)
            yield tx
            run_sync(tx.write_tallies())

    def put(self, *ids: str, queue: str = "q", capacity: int | None = None, **options: Any) -> None:
        jobs = [new(id=each, queue=queue, **options) for each in ids]
        self.run(enqueue.insert, jobs, capacity=capacity)

    def claim(self, queue: str = "q", limit: int = 9) -> Sequence[JobRecord]:
        jobs: Sequence[JobRecord] = self.run(
            claim.claim, [Want(queue, limit)], ME, limit=limit
        ).jobs
        return jobs

    @property
    def locks(self) -> list[tuple[Lockable, str]]:
        return self.connection.locks


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Transactions]:
    transactions = Transactions(tmp_path / "jobs.db")
    yield transactions
    transactions.db.close()


# -- which operations lock what --------------------------------------------------------------------


def test_an_insert_locks_its_queue_only_where_that_is_bounded(store: Transactions) -> None:
    store.put("a")
    assert store.locks == []
    store.put("b", capacity=5)
    assert store.locks == [("queue", "q")]
    store.put("c", capacity=5)
    assert store.locks == [("queue", "q")]


def test_a_claim_locks_a_bounded_queue_only_where_producers_wait(store: Transactions) -> None:
    for queue in ("z", "a"):
        store.put(f"{queue}1", queue=queue, capacity=1)
    wants = [Want("z", 1), Want("a", 1)]
    store.run(claim.claim, wants, ME, limit=9)
    assert store.locks == [("worker", "w")]
    for queue in ("z", "a"):
        store.put(f"{queue}2", f"{queue}3", queue=queue, capacity=2)
        store.put(f"{queue}4", queue=queue, capacity=2)
    store.run(claim.claim, wants, ME, limit=9)
    assert store.locks == [("worker", "w"), ("queue", "a"), ("queue", "z")]


def test_write_backs_lock_their_jobs_by_id(store: Transactions) -> None:
    store.put("b", "a", "c")
    jobs = store.claim()
    leases = [Lease(job.id, job.lease) for job in jobs]
    held = [("job", "a"), ("job", "b"), ("job", "c")]
    store.run(claim.extend, leases, lease_for=9.0)
    assert store.locks == held
    store.run(claim.set_progress, [(lease, Progress(1)) for lease in leases])
    assert store.locks == held
    store.run(claim.set_stopping, [(lease, []) for lease in leases])
    assert store.locks == held
    reports = [Report(job.id, job.lease, BROKEN) for job in jobs]
    store.run(claim.exchange, reports, [Want("q", 1)], ME, limit=1)
    assert store.locks == [("worker", "w"), *held]


def test_an_operator_locks_the_job_before_the_queue(store: Transactions) -> None:
    store.put("a", "b", capacity=2)
    store.put("offered", capacity=2)
    store.run(admin.cancel, "a", reason="r")
    assert store.locks == [("job", "a"), ("queue", "q")]
    store.run(admin.retry, "a")
    assert store.locks == [("job", "a")]
    store.run(admin.cancel, "a", reason="r")
    store.run(admin.delete, "a")
    assert store.locks == [("job", "a")]


def test_upkeep_locks_the_queues_at_which_producers_wait_by_name(store: Transactions) -> None:
    for queue in ("z", "a"):
        store.put(f"{queue}1", queue=queue, capacity=1, expires_at=NOW + 1)
        store.put(f"{queue}2", queue=queue, capacity=1)
    store.connection.locks.clear()
    with store.open(NOW + 2) as tx:
        run_sync(maintenance.stage(tx, limit=9))
    assert store.locks == [("queue", "a"), ("queue", "z")]


def test_orders_lock_the_worker_that_a_claim_relies_on(store: Transactions) -> None:
    store.run(workers.beat, WORKER)
    store.run(workers.order, "w", "quiet", if_idle=True)
    assert store.locks == [("worker", "w")]
    store.run(workers.dismiss, "w")
    assert store.locks == [("worker", "w")]


def test_a_withdrawal_locks_the_queue_before_it_looks_for_an_answer(store: Transactions) -> None:
    store.put("a", capacity=1)
    offered = store.run(enqueue.insert, [new()], capacity=1)
    assert isinstance(offered, Offered)
    store.run(enqueue.withdraw, offered.offer)
    assert store.locks == [("queue", "q")]


def test_locks_are_always_taken_in_one_order(store: Transactions) -> None:
    store.run(workers.beat, WORKER)
    for queue in ("y", "x"):
        store.put(f"{queue}1", f"{queue}2", queue=queue, capacity=2, expires_at=LATER)
        store.put(f"{queue}3", queue=queue, capacity=2)
    held = store.claim("y", 1)
    calls: list[tuple[Callable[..., Coroutine[Any, Any, Any]], tuple[Any, ...], dict[str, Any]]]
    report = [Report(held[0].id, held[0].lease, Interrupted())]
    calls = [
        (claim.exchange, (report, [Want("y", 2), Want("x", 2)], ME), {"limit": 3}),
        (admin.cancel, ("x2",), {"reason": "r"}),
        (maintenance.stage, (), {"limit": 9}),
        (maintenance.rescue, (), {"dead": ["w"], "limit": 9}),
        (enqueue.insert, ([new(queue="x")],), {"capacity": 3}),
        (workers.dismiss, ("w",), {"force": True}),
        (maintenance.prune, ({State.CANCELLED: 0.0},), {"limit": 9}),
        (artifacts.files, ("y1",), {}),
    ]
    for operation, args, how in calls:
        store.run(operation, *args, **how)
        ranked = [(RANKS.index(what), key) for what, key in store.locks]
        assert ranked == sorted(ranked), operation.__name__


# -- new rows, for whose commit all wait that need the same ----------------------------------------


def calling(**options: Any) -> NewJob:
    """Return a job with callbacks to two queues, with and without labels."""
    callbacks = [
        Callback(on="finished", task="x", parameter="p", queue="z"),
        Callback(on="discarded", task="x", parameter="p", queue="a", options=LABELLED),
    ]
    return new(callbacks=tuple(callbacks), **options)


def test_new_queues_are_made_before_new_lanes_and_both_in_one_order(store: Transactions) -> None:
    jobs = [new(queue="m", requires=("z",)), calling(queue="m"), new(queue="m", requires=("a",))]
    rows = [(0, "a"), (0, "m"), (0, "z")]
    rows += [(1, "a", '["gpu"]'), (1, "m", "[]"), (1, "m", '["a"]'), (1, "m", '["z"]')]
    rows += [(1, "z", "[]")]
    store.run(enqueue.insert, jobs, capacity=3)
    assert store.connection.made == rows


def test_a_tick_makes_new_queues_and_lanes_of_all_its_jobs_in_that_order(
    store: Transactions,
) -> None:
    rule = ScheduleInfo(
        name="s", cron="* * * * *", timezone="UTC", missed="once", next_at=NOW, last_at=None
    )
    store.run(maintenance.put_schedule, rule)
    jobs = [new(queue="b"), calling(queue="b")]
    assert store.run(maintenance.tick, "s", due_at=NOW, next_at=LATER, jobs=jobs)
    assert store.connection.made == sorted(store.connection.made)
    assert [key for rank, key, *_ in store.connection.made if rank == 0] == ["a", "b", "z"]


def test_a_claim_that_accepts_an_offer_makes_no_row_for_which_others_wait(
    store: Transactions,
) -> None:
    store.put("first", capacity=1)
    answer = store.run(enqueue.insert, [calling(id="waits", requires=("gpu",))], capacity=1)
    assert isinstance(answer, Offered)
    assert len(store.claim()) == 1
    assert store.connection.made == []
    assert store.run(admin.get, "waits").state is State.AVAILABLE


def test_a_claim_that_adds_declared_callbacks_makes_no_row_for_which_others_wait(
    store: Transactions,
) -> None:
    store.put("named", given=())
    store.run(tasks.put_tasks, [TaskDefaults(name="t", callbacks=calling().callbacks)])
    assert store.connection.made == [(0, "a"), (0, "z"), (1, "a", '["gpu"]'), (1, "z", "[]")]
    assert len(store.claim()) == 1
    assert store.connection.made == []


# -- what others committed in the meantime ---------------------------------------------------------


def test_a_bound_is_judged_by_what_others_had_committed_when_the_lock_was_free(
    store: Transactions,
) -> None:
    store.put("a", capacity=3)
    store.connection.others = lambda: store.db._connection.execute(
        "UPDATE queue SET available = available + 2"
    )
    with pytest.raises(QueueFullError) as refused:
        store.run(enqueue.insert, [new()], capacity=3, when_full="refuse")
    assert (refused.value.depth, refused.value.capacity) == (3, 3)


def conflicts(store: Transactions, stale: JobRecord) -> None:
    with pytest.raises(ConflictError):
        store.run(transitions.apply, stale, Transition(State.DISCARDED))


def test_a_transition_of_a_job_that_has_changed_meanwhile_changes_nothing(
    store: Transactions,
) -> None:
    store.put("a")
    waiting = store.run(admin.get, "a")
    [running] = store.claim()
    conflicts(store, waiting)
    conflicts(store, msgspec.structs.replace(running, lease=running.lease + 1))
    assert store.run(admin.get, "a") == running
    store.run(claim.settle, [Report("a", running.lease, Succeeded())])
    conflicts(store, running)
    assert store.run(admin.get, "a").state is State.COMPLETED


@pytest.mark.parametrize(
    ("statement", "params"),
    [
        ("lease", ("w", LATER, NOW, 1, 5)),
        ("make_available", (1, NOW)),
        ("request_cancel", (NOW, "r", False, 1, 5)),
        (
            "end_damaged",
            {
                "state": "discarded",
                "final_at": NOW,
                "error": "e",
                "seq": 1,
                "state_before": "running",
            },
        ),
        ("delete_job", (1, "completed")),
        ("answer_offer", (b"{}", LATER, 7)),
        ("keep_offer", (LATER, 7)),
        ("order", (1, "nobody")),
    ],
)
def test_an_update_that_finds_another_state_or_lease_is_a_conflict(
    store: Transactions, statement: str, params: Any
) -> None:
    store.put("a")
    before = store.run(admin.get, "a")
    with store.open() as tx, pytest.raises(ConflictError):
        run_sync(tx.change(statement, [params]))
    assert store.run(admin.get, "a") == before


def test_two_that_want_to_lead_at_once_do_not_both(store: Transactions) -> None:
    store.run(autoscale.lead, "l", "a", hold=9.0)
    row = {"name": "l", "holder": "b", "until": LATER, "since": NOW, "term": 1, "note": ""}
    with store.open() as tx, pytest.raises(ConflictError):
        run_sync(tx.change("put_leader", [row | {"term_before": 0, "until_before": 0}]))
    assert store.run(autoscale.leader, "l").holder == "a"


def test_a_conflict_is_an_error_that_is_safe_to_repeat() -> None:
    assert issubclass(ConflictError, ConveyorError)


# -- how many statements an exchange asks ----------------------------------------------------------


def test_a_claim_over_many_queues_asks_one_statement_for_all_that_are_empty(
    store: Transactions,
) -> None:
    for number in range(200):
        store.put(f"done-{number}", queue=f"q-{number}", capacity=5)
    wants = [Want(f"q-{number}", 300) for number in range(200)]
    assert len(store.run(claim.claim, wants, ME, limit=300).jobs) == 200
    store.put("waits", queue="q-77", capacity=5)
    assert len(store.run(claim.claim, wants, ME, limit=300).jobs) == 1
    assert len(store.connection.statements) < 10


def test_a_claim_of_one_empty_queue_asks_for_nothing_but_the_queue(store: Transactions) -> None:
    store.put("done")
    store.claim()
    assert store.claim() == ()
    assert store.connection.statements == ["is_held_back", "queue_state"]
