"""The memory store is the specification: SQLite must agree with it, call by call.

A Hypothesis machine makes the same calls to both and compares every answer, every job and every
count after each step. The planted faults at the end show that it would notice.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from calls import data, new
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from model_faults import AFTER, ALERT, FAULTY, KEYS
from reference_answers import check_counts, check_load, check_past, past_of

from conveyor.core.files import FileInfo, InputFile
from conveyor.core.job import (
    DETAILS,
    FINAL,
    AttemptError,
    ErrorInfo,
    JobRecord,
    NewJob,
    OutputChunk,
    Progress,
    State,
    StopNote,
    WorkerInfo,
)
from conveyor.core.lifecycle import (
    Cancelled,
    Crashed,
    Failed,
    Interrupted,
    Outcome,
    Snoozed,
    Succeeded,
    Unsupported,
)
from conveyor.core.retry import Fixed
from conveyor.errors import ConveyorError, QueueFullError
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import SILENCE, Claimant, Filter, Lease, Offered, Order, Report, Want
from conveyor.store.protocol import Store
from conveyor.store.protocol_files import UNUSED
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock

pytestmark = pytest.mark.computes

ERROR = ErrorInfo("ValueError", "broken", "Traceback", ("Exception",))
OUTCOMES: st.SearchStrategy[Outcome] = st.sampled_from(
    [
        *(Succeeded(), Succeeded(b"[1]"), Failed(ERROR), Failed(ERROR, retry=False)),
        *(Crashed(ERROR), Snoozed(3.0), Cancelled("stopped"), Interrupted(), Unsupported(ERROR)),
    ]
)
WORKER = WorkerInfo(
    id="w", host="h", boot_id="b", pid=1, pid_started=1.0, started_at=0.0, slots=1, queues=()
)
ORDERS: st.SearchStrategy[Order] = st.sampled_from(["work", "quiet", "drain"])
QUEUES = st.sampled_from(["a", "b"])
CAPACITY = {"a": 3, "b": 0}
WITHIN = st.sampled_from([None, 2.0])
CONTENTS = {hashlib.sha256(data).hexdigest(): data for data in (b"abc", b"defgh")}
DIGESTS = st.sampled_from(list(CONTENTS))
INPUT = InputFile(name="in", digest=next(iter(CONTENTS)), size=3)
NUMBERED = OutputChunk, AttemptError
LABELS = st.sampled_from([frozenset[str](), frozenset({"gpu"}), frozenset({"gpu!only"})])


class Agreement(RuleBasedStateMachine):
    """Two stores, one clock, the same calls."""

    spec: Callable[[FakeClock], Store] = staticmethod(lambda clock: MemoryStore(clock, lambda: 0.5))

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.stores: tuple[Store, Store] = (
            self.spec(self.clock),
            SqliteStore(
                Path(self.folder.name) / "m.db",
                clock=self.clock,
                durability="normal",
                draw=lambda: 0.5,
            ),
        )
        self.ids: list[str] = []
        self.held: list[JobRecord] = []
        self.offers: list[tuple[str, str]] = []
        self.final: dict[str, Any] = {}
        self.sent: tuple[list[NewJob], dict[str, Any]] | None = None

    def both(self, call: Callable[[Store], Any]) -> Any:
        """Make a call to both stores; the answers or errors must be the same."""
        answers = [self.answer(call, store) for store in self.stores]
        assert self.data(answers[0]) == self.data(answers[1])
        return answers

    def data(self, answer: Any) -> Any:
        return data(self.plain(answer))

    def answer(self, call: Callable[[Store], Any], store: Store) -> Any:
        try:
            return call(store).result(10)
        except QueueFullError as error:
            return type(error).__name__, error.depth, error.capacity
        except ConveyorError as error:
            return type(error).__name__

    def plain(self, answer: Any) -> Any:
        """Forget what need not be the same: the names of offers, and the numbers in a list."""
        if isinstance(answer, Offered):
            return msgspec.structs.replace(answer, offer="")
        if answer and isinstance(answer, list) and isinstance(answer[0], NUMBERED):
            return [msgspec.structs.replace(each, seq=0) for each in answer]
        return answer

    @initialize(running=st.integers(0, 2), full=st.booleans())
    def begin(self, running: int, full: bool) -> None:
        """Let jobs run and producers wait: by chance alone they hardly ever do."""
        for count in (running, *((3, 1, 1) if full else ())):
            given: dict[str, Any] = {"backoff": Fixed(2.0), "retries": 1, "callbacks": (ALERT,)}
            jobs = [new(queue="a", **given) for _ in range(count)]
            self.ids += [job.id for job in jobs]
            self.send(jobs, capacity=CAPACITY["a"])
            self.claim_from(["a"], running - len(self.held), Claimant("w", 10.0))

    @rule(
        queue=QUEUES,
        priority=st.integers(-1, 1),
        delay=st.sampled_from([0.0, 0.0, 0.0, 4.0]),
        key=st.sampled_from(KEYS),
        key_until=st.sampled_from(["final", "final", "pruned"]),
        retries=st.integers(0, 2),
        requires=st.sampled_from([(), (), ("gpu",)]),
        expires=st.sampled_from([None, None, 6.0]),
        files=st.sampled_from([(), (), (), (INPUT,)]),
        when_full=st.sampled_from(["wait", "refuse", "drop_oldest"]),
        callbacks=st.sampled_from([(), (), (AFTER,), (ALERT, AFTER)]),
        count=st.sampled_from([1, 1, 2]),
        bounded=st.sampled_from([True, True, True, False]),
    )
    def insert(self, **given: Any) -> None:
        queue, count, bounded = (given.pop(name) for name in ("queue", "count", "bounded"))
        when_full, expires = given.pop("when_full"), given.pop("expires")
        given |= given.pop("key")
        if queue == "b":
            given["delay"] = 0.0
            when_full = "refuse" if when_full == "drop_oldest" else when_full
        jobs: list[NewJob] = [
            new(
                queue=queue,
                backoff=Fixed(2.0),
                expires_at=None if expires is None else self.clock.now() + expires,
                **given,
            )
            for _ in range(count)
        ]
        self.ids += [job.id for job in jobs]
        capacity = CAPACITY[queue] if bounded or queue == "b" else None
        self.sent = jobs, {"capacity": capacity, "when_full": when_full}
        self.send(jobs, **self.sent[1])

    @rule()
    def insert_again(self) -> None:
        if self.sent is not None:
            self.send(self.sent[0], again=True, **self.sent[1])

    def send(self, jobs: list[NewJob], **how: Any) -> None:
        first, second = self.both(lambda store: store.insert(jobs, **how))
        if isinstance(first, Offered) and (first.offer, second.offer) not in self.offers:
            self.offers.append((first.offer, second.offer))

    def of_offer(self, number: int, call: Callable[[Store, str], Any]) -> None:
        if self.offers:
            names = dict(zip(self.stores, self.offers[number % len(self.offers)], strict=True))
            self.both(lambda store: call(store, names[store]))

    @rule(number=st.integers(0, 9))
    def accepted(self, number: int) -> None:
        self.of_offer(number, lambda store, offer: store.accepted(offer))

    @rule(number=st.integers(0, 9))
    def withdraw(self, number: int) -> None:
        self.of_offer(number, lambda store, offer: store.withdraw(offer))

    @rule(limit=st.integers(1, 4), labels=LABELS, strict=st.booleans(), within=WITHIN)
    def claim(self, limit: int, labels: frozenset[str], strict: bool, within: float | None) -> None:
        order = ["a", "b"] if strict else ["b", "a"]
        self.claim_from(order, limit, Claimant("w", 10.0, labels, within))

    def claim_from(self, queues: list[str], limit: int, claimant: Claimant) -> None:
        wants = [Want(name, limit) for name in queues]
        answers = self.both(lambda store: store.claim(wants, claimant, limit=limit))
        self.hold(answers[0].jobs)

    def hold(self, jobs: tuple[JobRecord, ...]) -> None:
        self.held += jobs
        self.ids += [job.id for job in jobs if job.id not in self.ids]

    @rule(number=st.integers(0, 20), outcome=OUTCOMES, stale=st.sampled_from([0, 0, 0, 1]))
    def settle(self, number: int, outcome: Outcome, stale: int) -> None:
        if self.held:
            job = self.held[-4:][number % len(self.held[-4:])]  # older ones are settled, mostly
            report = Report(job.id, job.lease - stale, outcome)
            self.both(lambda store: store.settle([report]))

    @rule(number=st.integers(0, 20), outcome=OUTCOMES)
    def exchange(self, number: int, outcome: Outcome) -> None:
        if self.held:
            job = self.held[number % len(self.held)]
            report, claimant = Report(job.id, job.lease, outcome), Claimant("w", 10.0)
            answers = self.both(
                lambda store: store.exchange([report], [Want("a", 2)], claimant, limit=2)
            )
            self.hold(answers[0].jobs)

    @rule(number=st.integers(0, 20))
    def extend(self, number: int) -> None:
        if self.held:
            job = self.held[number % len(self.held)]
            self.both(lambda store: store.extend([Lease(job.id, job.lease)], lease_for=10.0))

    @rule()
    def extend_all(self) -> None:
        self.both(lambda store: store.extend_worker("w", lease_for=10.0))

    @rule(order=ORDERS, if_idle=st.booleans())
    def order(self, order: Order, if_idle: bool) -> None:
        self.both(lambda store: store.beat(WORKER))
        self.both(lambda store: store.order("w", order, if_idle=if_idle))
        self.both(lambda store: store.beat(WORKER))

    @rule(silent=st.booleans(), force=st.booleans())
    def dismiss(self, silent: bool, force: bool) -> None:
        if silent:
            self.clock.advance(SILENCE + 1)
        self.both(lambda store: store.dismiss("w", force=force))

    @rule()
    def leave(self) -> None:
        self.both(lambda store: store.leave("w"))

    @rule(number=st.integers(0, 20), offset=st.integers(0, 2))
    def write(self, number: int, offset: int) -> None:
        if self.held:
            job = self.held[number % len(self.held)]
            chunk = OutputChunk(
                job_id=job.id, lease=job.lease, offset=offset, stream="log", at=0.0, data=b"x"
            )
            lease = Lease(job.id, job.lease)
            self.both(lambda store: store.write_output([chunk]))
            self.both(lambda store: store.set_progress([(lease, Progress(offset))]))
            self.both(lambda store: store.set_stopping([(lease, [StopNote(offset, "asked")])]))
            self.both(lambda store: store.output(job.id, limit=9))

    @rule(digest=DIGESTS, offset=st.sampled_from([0, 0, 1, 4]), last=st.sampled_from([True, False]))
    def write_content(self, digest: str, offset: int, last: bool) -> None:
        piece = CONTENTS[digest][offset : None if last else 2]
        self.both(lambda store: store.write_content(digest, offset, piece, last=last))
        self.both(lambda store: store.content(digest))
        self.both(lambda store: store.read_content(digest, offset, 2))

    @rule(number=st.integers(0, 20), digest=DIGESTS, name=st.sampled_from(["b", "a", "../a"]))
    def attach(self, number: int, digest: str, name: str) -> None:
        if self.held:
            job = self.held[number % len(self.held)]
            size = len(CONTENTS[digest])
            file = FileInfo(name=name, digest=digest, size=size, kind="artifact")
            self.both(lambda store: store.attach(Lease(job.id, job.lease), file))

    @rule(later=st.sampled_from([False, False, True]))
    def sweep(self, later: bool) -> None:
        if later:
            self.clock.advance(UNUSED + 1)
        self.both(lambda store: store.sweep_contents(limit=9))

    @rule(number=st.integers(0, 20), force=st.booleans(), newest=st.booleans())
    def cancel(self, number: int, force: bool, newest: bool) -> None:
        # The one claimed last is likely to run still, and to be settled next.
        number = self.ids.index(self.held[-1].id) if newest and self.held else number
        self.of_job(number, lambda store, job_id: store.cancel(job_id, reason="r", force=force))

    @rule(number=st.integers(0, 20))
    def retry(self, number: int) -> None:
        if self.ids:
            self.final.pop(self.ids[number % len(self.ids)], None)
        self.of_job(number, lambda store, job_id: store.retry(job_id))

    @rule(number=st.integers(0, 20))
    def delete(self, number: int) -> None:
        self.of_job(number, lambda store, job_id: store.delete(job_id))

    @rule(number=st.integers(0, 20))
    def look(self, number: int) -> None:
        self.of_job(number, lambda store, job_id: store.history(job_id))
        self.of_job(number, lambda store, job_id: store.ahead(job_id))
        self.of_job(number, lambda store, job_id: store.files(job_id))
        self.of_job(number, lambda store, job_id: store.offered(job_id))

    def of_job(self, number: int, call: Callable[[Store, str], Any]) -> None:
        if self.ids:
            self.both(lambda store: call(store, self.ids[number % len(self.ids)]))

    @rule(queue=QUEUES, paused=st.booleans())
    def pause(self, queue: str, paused: bool) -> None:
        self.both(lambda store: store.set_paused(queue, paused=paused))

    @rule(seconds=st.sampled_from([1.0, 3.0, 6.0, 11.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def stage(self) -> None:
        self.both(lambda store: store.stage(limit=100))

    @rule(dead=st.sampled_from([(), ("w",)]))
    def rescue(self, dead: tuple[str, ...]) -> None:
        answers = [self.answer(lambda s: s.rescue(dead=dead, limit=100), s) for s in self.stores]
        assert sorted(answers[0]) == sorted(answers[1])

    @rule()
    def prune(self) -> None:
        retention = {State.COMPLETED: 5.0, State.CANCELLED: 5.0, State.DISCARDED: 5.0}
        self.both(lambda store: store.prune(retention, limit=100))

    @invariant()
    def the_stores_agree(self) -> None:
        found, _ = self.both(lambda store: store.find(Filter(), limit=1000, include=DETAILS))
        counts, _ = self.both(lambda store: store.counts())
        load, _ = self.both(lambda store: store.load(limit=100))
        self.both(lambda store: store.workers())
        check_counts(found, counts)
        check_load(load, found, counts)
        self.final_jobs_stay(found)

    def final_jobs_stay(self, found: list[JobRecord]) -> None:
        now = {job.id: data(job) for job in found}
        for job_id, before in self.final.items():
            assert now.get(job_id, before) == before
        self.final = {job.id: now[job.id] for job in found if job.state in FINAL}

    def teardown(self) -> None:
        try:
            # Nothing that happened is forgotten, so it is enough to look at the end.
            for queue in self.both(lambda store: store.counts())[0]:
                check_past(self.both(past_of(queue))[0], queue)
        finally:
            for store in self.stores:
                store.close()
            self.folder.cleanup()


# Always the same examples, so that a change is judged by itself; the long run draws new ones.
QUICK = settings(
    derandomize=True,
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_sqlite_does_what_the_memory_store_does() -> None:
    run_state_machine_as_test(Agreement, settings=QUICK)


@pytest.mark.slow
def test_sqlite_does_what_the_memory_store_does_for_long() -> None:
    long = settings(QUICK, derandomize=False, max_examples=1500, stateful_step_count=80)
    run_state_machine_as_test(Agreement, settings=long)


@pytest.mark.parametrize("faulty", FAULTY)
def test_the_machine_notices_a_planted_fault(faulty: type[MemoryStore]) -> None:
    class Planted(Agreement):
        spec = staticmethod(lambda clock: faulty(clock, lambda: 0.5))

    few: dict[str, Any] = {"report_multiple_bugs": False, "phases": (Phase.generate,)}
    tries = settings(QUICK, max_examples=2000, stateful_step_count=50, **few)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Planted, settings=tries)
