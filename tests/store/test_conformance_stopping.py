"""What every store promises about stopping: cancel, force, notes, quiet workers, evidence."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from calls import BROKEN, claim, hears, new, put, settle, state

from conveyor import InvalidTransitionError, NotFoundError, State
from conveyor.core.job import StopNote, WorkerInfo
from conveyor.core.lifecycle import Interrupted, Succeeded
from conveyor.errors import BusyError
from conveyor.store.messages import (
    SILENCE,
    Claimant,
    Dismissed,
    Hint,
    Lease,
    Order,
    Renewal,
    Report,
    Want,
)
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock

ORDERS: tuple[Order, ...] = ("work", "quiet")


def running(store: Store, **options: object) -> Lease:
    put(store, new(**options))
    [job] = claim(store)
    return Lease(job.id, job.lease)


def renewal(store: Store, lease: Lease) -> Renewal:
    [renewed] = store.extend([lease], lease_for=10).result()
    return renewed


def introduce(store: Store, name: str) -> WorkerInfo:
    info = WorkerInfo(
        id=name, host="h", boot_id="b", pid=1, pid_started=1.0, started_at=0.0, slots=1, queues=()
    )
    assert store.beat(info).result() == "work"
    return info


def test_a_cancel_is_heard_at_every_renewal_until_the_job_has_ended(store: Store) -> None:
    lease = running(store)
    assert renewal(store, lease).verdict == "continue"
    store.cancel(lease.id, reason="not needed").result()
    for _ in range(2):
        assert renewal(store, lease) == Renewal(lease.id, "cancel", "not needed", forced=False)


def test_force_may_follow_a_cancel_and_is_never_taken_back(store: Store) -> None:
    lease = running(store)
    assert not store.cancel(lease.id, reason="gently").result().cancel_forced
    assert store.cancel(lease.id, reason="now", force=True).result().cancel_forced
    assert store.cancel(lease.id, reason="again").result().cancel_forced
    assert renewal(store, lease) == Renewal(lease.id, "cancel", "gently", forced=True)


def test_a_retry_forgets_the_cancel_and_its_force(store: Store) -> None:
    lease = running(store)
    store.cancel(lease.id, reason="now", force=True).result()
    assert settle(store, store.get(lease.id).result(), BROKEN)
    retried = store.retry(lease.id).result()
    assert (retried.cancel_requested_at, retried.cancel_forced, retried.stopping) == (
        None,
        False,
        (),
    )


def test_what_was_done_to_stop_a_job_stays_on_it_until_its_next_attempt(store: Store) -> None:
    lease = running(store, retries=1)
    steps = [StopNote(1.0, "asked"), StopNote(2.0, "SIGTERM to 2 processes")]
    going_on = [Renewal(lease.id, "continue")]
    assert store.set_stopping([(lease, steps[:1])]).result() == going_on
    assert store.set_stopping([(lease, steps)]).result() == going_on
    job = store.get(lease.id).result()
    assert job.stopping == tuple(steps)
    assert settle(store, job, Interrupted())
    assert store.get(lease.id).result().stopping == tuple(steps)
    [again] = claim(store)
    assert again.stopping == store.get(lease.id).result().stopping == ()


def test_notes_under_a_stale_lease_are_dropped(store: Store) -> None:
    lease = running(store)
    stale = Lease(lease.id, lease.lease - 1)
    assert store.set_stopping([(stale, [StopNote(1.0, "late")])]).result() == [
        Renewal(lease.id, "lost")
    ]
    assert store.get(lease.id).result().stopping == ()


def test_a_worker_hears_that_it_is_to_be_quiet_and_at_each_beat_again(
    store: Store, until: Callable[[Callable[[], object]], None]
) -> None:
    info = introduce(store, "w")
    heard: list[Hint] = []
    stop = store.listen(["quiet"], heard.append)
    store.order("w", "quiet").result()
    assert [store.beat(info).result() for _ in range(2)] == ["quiet"] * 2
    store.order("w", "work").result()
    assert store.beat(info).result() == "work"
    until(lambda: hears(heard, "quiet", "w"))
    stop()


def test_a_quiet_worker_is_given_nothing_from_that_moment_on(store: Store) -> None:
    introduce(store, "w")
    put(store, new(), new())
    [job] = claim(store)
    assert store.order("w", "quiet").result()
    assert claim(store) == []
    report = Report(job.id, job.lease, Succeeded())
    answer = store.exchange([report], [Want("q", 5)], Claimant("w"), limit=5).result()
    assert (answer.settled, answer.jobs) == ((job.id,), ())
    assert store.order("w", "work").result()
    assert len(claim(store)) == 1


def test_others_go_on_when_one_worker_is_quiet(store: Store) -> None:
    introduce(store, "w")
    put(store, new())
    store.order("w", "quiet").result()
    assert len(claim(store, worker="somebody else")) == 1


@pytest.mark.parametrize("confirm_within", [None, 10.0])
def test_a_worker_becomes_quiet_only_if_it_is_idle_where_that_is_asked(
    store: Store, confirm_within: float | None
) -> None:
    info = introduce(store, "w")
    put(store, new(), new())
    [job] = claim(store, confirm_within=confirm_within)
    assert store.order("w", "quiet", if_idle=True).result() is False
    assert store.beat(info).result() == "work"
    settle(store, job, Succeeded())
    assert store.order("w", "quiet", if_idle=True).result() is True
    assert store.beat(info).result() == "quiet"
    assert claim(store) == []
    with pytest.raises(NotFoundError, match="worker 'x' not found"):
        store.order("x", "quiet", if_idle=True).result()


def test_a_quiet_worker_that_is_busy_is_not_called_idle(store: Store) -> None:
    introduce(store, "w")
    put(store, new())
    claim(store)
    store.order("w", "quiet").result()
    assert store.order("w", "quiet", if_idle=True).result() is False


def test_a_worker_that_left_is_not_quiet_when_it_comes_back(store: Store) -> None:
    introduce(store, "w")
    store.order("w", "quiet").result()
    store.leave("w").result()
    with pytest.raises(NotFoundError, match="worker 'w' not found"):
        store.order("w", "quiet").result()
    introduce(store, "w")


@pytest.mark.parametrize("order", ["quiet", "drain"])
def test_a_worker_is_shown_with_its_order_at_once_and_hears_it_at_its_next_beat(
    store: Store, order: Order
) -> None:
    info = introduce(store, "w")
    assert store.order("w", order).result() is True
    [shown] = store.workers().result()
    assert (shown.quiet, shown.draining) == (order == "quiet", order == "drain")
    assert store.beat(info).result() == order
    put(store, new())
    assert claim(store) == []


def test_an_order_to_drain_is_final(store: Store) -> None:
    info = introduce(store, "w")
    assert store.order("w", "drain").result() is True
    for order in ORDERS:
        with pytest.raises(InvalidTransitionError, match="told to drain, which is final"):
            store.order("w", order, if_idle=True).result()
    assert store.order("w", "drain").result() is True
    assert store.beat(info).result() == "drain"


@pytest.mark.parametrize("confirm_within", [None, 10.0])
def test_a_worker_is_to_drain_only_if_it_is_idle_where_that_is_asked(
    store: Store, confirm_within: float | None
) -> None:
    info = introduce(store, "w")
    put(store, new(), new())
    [job] = claim(store, confirm_within=confirm_within)
    assert store.order("w", "drain", if_idle=True).result() is False
    assert store.beat(info).result() == "work"
    settle(store, job, Succeeded())
    assert store.order("w", "drain", if_idle=True).result() is True
    assert claim(store) == []


@pytest.mark.parametrize("confirm_within", [None, 10.0])
def test_a_worker_that_holds_jobs_is_not_dismissed(
    store: Store, confirm_within: float | None
) -> None:
    info = introduce(store, "w")
    put(store, new(), new())
    claim(store, confirm_within=confirm_within)
    with pytest.raises(BusyError, match=r"worker w holds 1 running job\(s\)"):
        store.dismiss("w").result()
    assert store.beat(info).result() == "work"
    assert len(claim(store)) == 1


def test_an_idle_worker_that_is_dismissed_is_to_drain(store: Store) -> None:
    info = introduce(store, "w")
    put(store, new())
    assert store.dismiss("w").result() == Dismissed(forgotten=False)
    assert claim(store) == []
    assert store.beat(info).result() == "drain"
    assert store.dismiss("w", force=True).result() == Dismissed(forgotten=False)


@pytest.mark.parametrize("force", [False, True])
def test_a_silent_worker_that_is_dismissed_is_forgotten_at_once(
    store: Store, clock: FakeClock, force: bool
) -> None:
    introduce(store, "w")
    clock.advance(SILENCE)
    assert not store.dismiss("w").result().forgotten
    clock.advance(1)
    assert store.dismiss("w", force=force).result() == Dismissed(forgotten=True)
    assert store.workers().result() == []
    introduce(store, "w")  # one that comes back all the same is a worker like any other
    with pytest.raises(NotFoundError, match="worker 'x' not found"):
        store.dismiss("x", force=force).result()


def test_the_jobs_of_a_worker_that_is_dismissed_by_force_are_given_back_as_crashed(
    store: Store, until: Callable[[Callable[[], object]], None]
) -> None:
    info = introduce(store, "w")
    begun, doomed = (running(store, crash_limit=limit) for limit in (3, 1))
    put(store, new())
    [unconfirmed] = claim(store, confirm_within=10.0)
    others = running_elsewhere(store)
    heard: list[Hint] = []
    stop = store.listen(["quiet", "cancel"], heard.append)
    dismissed = store.dismiss("w", force=True).result()
    assert dismissed == Dismissed(
        forgotten=False, jobs=tuple(sorted([begun.id, doomed.id, unconfirmed.id]))
    )
    assert store.beat(info).result() == "drain"
    assert [state(store, each.id) for each in (begun, doomed, unconfirmed, others)] == [
        State.AVAILABLE, State.DISCARDED, State.AVAILABLE, State.RUNNING,
    ]  # fmt: skip
    assert store.get(unconfirmed.id).result().crashes == 0
    [line] = store.history(begun.id).result()
    assert line.error.message.endswith("died: removed by force")
    # It is told, renews at once, and hears that the jobs are not its own any more.
    until(lambda: hears(heard, "cancel", begun.id) and hears(heard, "quiet", "w"))
    assert renewal(store, begun).verdict == "lost"
    stop()


def running_elsewhere(store: Store) -> Lease:
    put(store, new())
    [job] = claim(store, worker="somebody else")
    return Lease(job.id, job.lease)


def quieten(store: Store, worker: str) -> bool:
    return store.order(worker, "quiet", if_idle=True).result(10)


def drain(store: Store, worker: str) -> bool:
    return store.order(worker, "drain", if_idle=True).result(10)


def dismiss(store: Store, worker: str) -> bool:
    try:
        return not store.dismiss(worker).result(10).jobs
    except BusyError:
        return False


@pytest.mark.parametrize("act", [quieten, drain, dismiss])
def test_a_claim_and_what_only_the_idle_are_told_never_both_succeed(
    store: Store, act: Callable[[Store, str], bool]
) -> None:
    outcomes: Counter[tuple[bool, bool]] = Counter()
    with ThreadPoolExecutor(2) as threads:
        for number in range(40):
            worker = f"w{number}"
            introduce(store, worker)
            put(store, new(queue=worker))
            together = threading.Barrier(2)

            def ask(together: threading.Barrier = together, worker: str = worker) -> bool:
                together.wait(60)
                return bool(claim(store, queue=worker, worker=worker))

            def tell(together: threading.Barrier = together, worker: str = worker) -> bool:
                together.wait(60)
                return act(store, worker)

            claimed, told = threads.submit(ask), threads.submit(tell)
            outcomes[claimed.result(60), told.result(60)] += 1
    assert outcomes[True, True] == outcomes[False, False] == 0, outcomes


def test_a_crash_keeps_the_evidence_of_how_the_worker_died(store: Store) -> None:
    lease = running(store, crash_limit=1)
    store.rescue(dead=["w"], evidence="killed by SIGKILL; 12 MiB", limit=5).result()
    job = store.get(lease.id).result()
    assert job.state is State.DISCARDED
    [line] = store.history(lease.id).result()
    assert line.error.type == "WorkerLost"
    assert line.error.message.endswith("died: killed by SIGKILL; 12 MiB")
