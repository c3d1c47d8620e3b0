"""What every store promises about stopping: cancel, force, notes, quiet workers, evidence."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from calls import BROKEN, claim, hears, new, put, settle

from conveyor import NotFoundError, State
from conveyor.job import StopNote, WorkerInfo
from conveyor.lifecycle import Interrupted, Succeeded
from conveyor.store.messages import Claimant, Hint, Lease, Renewal, Report, Want
from conveyor.store.protocol import Store


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
    assert store.set_stopping([(lease, steps[:1])]).result() == []
    assert store.set_stopping([(lease, steps)]).result() == []
    job = store.get(lease.id).result()
    assert job.stopping == tuple(steps)
    assert settle(store, job, Interrupted())
    assert store.get(lease.id).result().stopping == tuple(steps)
    [again] = claim(store)
    assert again.stopping == store.get(lease.id).result().stopping == ()


def test_notes_under_a_stale_lease_are_dropped(store: Store) -> None:
    lease = running(store)
    stale = Lease(lease.id, lease.lease - 1)
    assert store.set_stopping([(stale, [StopNote(1.0, "late")])]).result() == [lease.id]
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
    with pytest.raises(NotFoundError, match="no worker x"):
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
    with pytest.raises(NotFoundError, match="no worker w"):
        store.order("w", "quiet").result()
    introduce(store, "w")


def test_a_crash_keeps_the_evidence_of_how_the_worker_died(store: Store) -> None:
    lease = running(store, crash_limit=1)
    store.rescue(dead=["w"], evidence="killed by SIGKILL; 12 MiB", limit=5).result()
    job = store.get(lease.id).result()
    assert job.state is State.DISCARDED
    [line] = store.history(lease.id).result()
    assert line.error.type == "WorkerLost"
    assert line.error.message.endswith("died: killed by SIGKILL; 12 MiB")
