"""What every store promises to operators and to maintenance."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from calls import BROKEN, claim, counted, depth, hears, new, put, settle, state

from conveyor.core.job import ERROR_LINE, ErrorInfo, OutputChunk, ScheduleInfo, State, WorkerInfo
from conveyor.core.lifecycle import Failed, Succeeded
from conveyor.errors import InvalidTransitionError, NotFoundError, QueueFullError, UnavailableError
from conveyor.store.messages import Filter, Hint, HintKind, Offered
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock


@pytest.mark.parametrize("exit_code", [None, 3, 137])
def test_the_exit_code_of_a_failed_command_is_in_its_history(
    store: Store, exit_code: int | None
) -> None:
    [job_id] = put(store, new())
    [job] = claim(store)
    settle(store, job, Failed(ErrorInfo("CommandFailed", "sh failed", exit_code=exit_code)))
    [attempt] = store.history(job_id).result()
    assert attempt.error.exit_code == exit_code


@pytest.mark.parametrize("delay", [0.0, 60.0])
def test_a_waiting_job_is_cancelled_at_once_and_says_why(store: Store, delay: float) -> None:
    [job_id] = put(store, new(delay=delay))
    cancelled = store.cancel(job_id, reason="not needed").result()
    assert cancelled.state is State.CANCELLED
    assert cancelled.error == "Cancelled: not needed"
    assert claim(store) == []
    assert depth(store) == 0


def test_a_job_that_waits_for_its_retry_is_cancelled_at_once(store: Store) -> None:
    put(store, new(retries=1))
    [job] = claim(store)
    settle(store, job, BROKEN)
    assert store.cancel(job.id, reason="r").result().state is State.CANCELLED


def test_a_cancel_that_comes_too_late_is_refused_and_changes_nothing(store: Store) -> None:
    put(store, new())
    [job] = claim(store)
    settle(store, job, Succeeded())
    with pytest.raises(InvalidTransitionError, match="already completed"):
        store.cancel(job.id, reason="r").result()
    assert state(store, job.id) is State.COMPLETED


def test_the_first_reason_for_a_cancel_stands(store: Store, clock: FakeClock) -> None:
    put(store, new())
    [job] = claim(store)
    first = store.cancel(job.id, reason="first").result()
    clock.advance(1)
    second = store.cancel(job.id, reason="second").result()
    assert second.cancel_requested_at == first.cancel_requested_at


def test_a_retried_job_has_all_its_tries_again_and_keeps_its_history(store: Store) -> None:
    put(store, new(retries=0))
    [job] = claim(store)
    settle(store, job, BROKEN)
    assert store.retry(job.id).result().state is State.AVAILABLE
    [again] = claim(store)
    assert again.attempt == 1
    assert again.lease == 2
    assert len(store.history(job.id).result()) == 1


@pytest.mark.parametrize("which", ["available", "running"])
def test_a_job_that_waits_or_runs_cannot_be_retried(store: Store, which: str) -> None:
    [job_id] = put(store, new())
    if which == "running":
        claim(store)
    with pytest.raises(InvalidTransitionError, match=which):
        store.retry(job_id).result()


def test_only_final_jobs_can_be_deleted(store: Store) -> None:
    [job_id] = put(store, new())
    with pytest.raises(InvalidTransitionError, match="cancel it first"):
        store.delete(job_id).result()
    store.cancel(job_id, reason="r").result()
    store.delete(job_id).result()
    with pytest.raises(NotFoundError):
        store.get(job_id).result()
    assert sum(counted(store)["q"].values()) == 0


@pytest.mark.parametrize("how", ["delete", "prune"])
def test_a_deleted_job_leaves_nothing_behind(store: Store, clock: FakeClock, how: str) -> None:
    [job_id, other] = put(store, new(key="cat", key_until="pruned"), new())
    job, kept = claim(store, 2)
    chunk = OutputChunk(job_id=job_id, lease=1, offset=0, stream="stdout", at=1.0, data=b"out")
    store.write_output([chunk]).result()
    assert settle(store, job, BROKEN)
    clock.advance(1)
    assert settle(store, kept, BROKEN)
    if how == "delete":
        store.delete(job_id).result()
    else:
        assert store.prune({State.DISCARDED: 0.5}, limit=9).result() == 1
        assert store.queue_info("q").result().counts[State.DISCARDED] == 1
    for read in (store.get, store.history, store.files, store.ahead, store.delete):
        with pytest.raises(NotFoundError):
            read(job_id).result()
    assert [each.id for each in store.find(Filter(), limit=9).result()] == [other]
    assert len(store.history(other).result()) == 1
    assert store.check().result() == []
    # Neither its key nor its output is left for a job that comes later under the same id.
    assert put(store, new(id=job_id, key="cat")) == [job_id]
    assert store.output(job_id, limit=9).result() == []
    assert store.history(job_id).result() == []


def test_jobs_are_found_newest_first_by_what_they_are_and_page_by_page(store: Store) -> None:
    ids = put(store, *(new() for _ in range(5)))
    put(store, new(queue="other", task="x"))
    claim(store)
    first = store.find(Filter(queue="q"), limit=3).result()
    rest = store.find(Filter(queue="q", before=first[-1].seq), limit=3).result()
    assert [job.id for job in (*first, *rest)] == ids[::-1]
    running = store.find(Filter(states=frozenset({State.RUNNING})), limit=9).result()
    assert [job.id for job in running] == ids[:1]
    assert len(store.find(Filter(task="x"), limit=9).result()) == 1


def test_it_is_known_how_many_jobs_are_ahead(store: Store) -> None:
    ids = put(store, new(), new(priority=5), new(requires=("gpu",)), new())
    assert [store.ahead(job_id).result() for job_id in ids] == [1, 0, 2, 3]


def test_jobs_are_pruned_when_their_state_s_time_is_over(store: Store, clock: FakeClock) -> None:
    done, gone, waiting = put(store, new(), new(), new())
    [job] = claim(store)
    settle(store, job, Succeeded())
    store.cancel(gone, reason="r").result()
    clock.advance(100)
    retention = {State.COMPLETED: 50.0, State.CANCELLED: 200.0}
    assert store.prune(retention, limit=10).result() == 1
    with pytest.raises(NotFoundError):
        store.get(done).result()
    assert state(store, gone) is State.CANCELLED
    assert state(store, waiting) is State.AVAILABLE
    clock.advance(200)
    assert store.prune(retention, limit=10).result() == 1
    assert counted(store)["q"][State.AVAILABLE] == 1


def test_pruning_stops_at_its_limit(store: Store, clock: FakeClock) -> None:
    for job_id in put(store, *(new() for _ in range(5))):
        store.cancel(job_id, reason="r").result()
    clock.advance(10)
    assert store.prune({State.CANCELLED: 1.0}, limit=3).result() == 3
    assert store.prune({State.CANCELLED: 1.0}, limit=3).result() == 2


def worker(name: str) -> WorkerInfo:
    return WorkerInfo(
        id=name, host="h", boot_id="b", pid=1, pid_started=2.0, started_at=3.0, slots=4,
        queues=("q",), labels=("gpu",),
    )  # fmt: skip


def test_workers_are_known_from_their_first_beat_until_they_leave(
    store: Store, clock: FakeClock
) -> None:
    store.beat(worker("b")).result()
    store.beat(worker("a")).result()
    clock.advance(5)
    store.beat(worker("a")).result()
    heard = {each.id: each.beat_at for each in store.workers().result()}
    assert heard == {"a": clock.now(), "b": clock.now() - 5}
    assert list(heard) == ["a", "b"]
    store.leave("a").result()
    assert [each.id for each in store.workers().result()] == ["b"]


def rule(cron: str = "0 * * * *", next_at: float = 100.0) -> ScheduleInfo:
    return ScheduleInfo(name="s", cron=cron, timezone="UTC", missed="once", next_at=next_at)


def test_a_tick_happens_once_however_many_try(store: Store) -> None:
    store.put_schedule(rule()).result()
    first = store.tick("s", due_at=100.0, next_at=200.0, jobs=[new()]).result()
    second = store.tick("s", due_at=100.0, next_at=200.0, jobs=[new()]).result()
    assert (first, second) == (True, False)
    assert depth(store) == 1
    [info] = store.schedules().result()
    assert (info.last_at, info.next_at) == (100.0, 200.0)


def test_an_unchanged_rule_keeps_its_ticks_and_its_pause(store: Store) -> None:
    store.put_schedule(rule(next_at=100.0)).result()
    store.pause_schedule("s", paused=True).result()
    kept = store.put_schedule(rule(next_at=999.0)).result()
    assert (kept.next_at, kept.paused) == (100.0, True)
    changed = store.put_schedule(rule("5 * * * *", next_at=999.0)).result()
    assert (changed.next_at, changed.paused) == (999.0, True)


def test_a_changed_rule_keeps_the_time_of_the_last_tick(store: Store) -> None:
    store.put_schedule(rule(next_at=100.0)).result()
    assert store.tick("s", due_at=100.0, next_at=200.0, jobs=[]).result()
    changed = store.put_schedule(rule("5 * * * *", next_at=999.0)).result()
    assert (changed.last_at, changed.next_at) == (100.0, 999.0)
    assert store.schedules().result() == [changed]


def test_a_paused_schedule_does_not_tick(store: Store) -> None:
    store.put_schedule(rule()).result()
    store.pause_schedule("s", paused=True).result()
    assert not store.tick("s", due_at=100.0, next_at=200.0, jobs=[new()]).result()
    with pytest.raises(NotFoundError):
        store.pause_schedule("none", paused=True).result()
    with pytest.raises(NotFoundError):
        store.tick("none", due_at=1, next_at=2, jobs=[]).result()


def test_a_removed_schedule_is_gone_until_it_is_declared_again(store: Store) -> None:
    store.put_schedule(rule()).result()
    store.pause_schedule("s", paused=True).result()
    store.remove_schedule("s").result()
    assert store.schedules().result() == []
    with pytest.raises(NotFoundError):
        store.remove_schedule("s").result()
    with pytest.raises(NotFoundError):
        store.tick("s", due_at=100.0, next_at=200.0, jobs=[new()]).result()
    assert not store.put_schedule(rule()).result().paused


def test_whoever_listens_hears_of_what_he_asked_for(store: Store) -> None:
    heard: list[Hint] = []
    gate = threading.Semaphore(0)

    def hear(hint: Hint) -> None:
        heard.append(hint)
        gate.release()

    stop = store.listen(["final", "cancel", "offer"], hear)
    [job_id] = put(store, new(), capacity=1)
    waiting = store.insert([new()], capacity=1).result()
    assert isinstance(waiting, Offered)
    [job] = claim(store)
    store.cancel(job_id, reason="r").result()
    settle(store, job, Succeeded())
    wanted: dict[HintKind, str] = {"offer": waiting.offer, "cancel": job_id, "final": job_id}
    while not all(hears(list(heard), kind, subject) for kind, subject in wanted.items()):
        assert gate.acquire(timeout=60), heard
    stop()


def test_a_worker_that_found_nothing_hears_of_work(
    store: Store, until: Callable[[Callable[[], object]], None]
) -> None:
    heard: list[Hint] = []
    stop = store.listen(["work"], heard.append)
    assert claim(store) == []
    put(store, new())
    until(lambda: hears(heard, "work", "q"))
    assert len(claim(store)) == 1
    stop()


def test_a_closed_store_says_so(store: Store) -> None:
    put(store, new())
    store.close()
    store.close()
    with pytest.raises(UnavailableError):
        store.counts().result()


def test_racing_threads_claim_nothing_twice_and_settle_everything_once(store: Store) -> None:
    jobs = 300
    ids: Counter[str] = Counter()
    settled = 0
    lock = threading.Lock()

    def produce(_: int) -> None:
        for _ in range(jobs // 3):
            put(store, new(id=f"{threading.get_ident()}-{next(numbers)}"))

    def consume(_: int) -> None:
        nonlocal settled
        while settled < jobs:
            for job in claim(store, 7):
                assert settle(store, job, Succeeded())
                with lock:
                    ids[job.id] += 1
                    settled += 1

    numbers = iter(range(10_000))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda work: work(0), [produce] * 3 + [consume] * 3))
    assert len(ids) == jobs
    assert set(ids.values()) == {1}
    assert counted(store)["q"][State.COMPLETED] == jobs


def test_racing_producers_never_pass_the_bound(store: Store) -> None:
    capacity, seen = 5, []

    def produce(_: int) -> int:
        taken = 0
        for _ in range(60):
            try:
                put(store, new(id=f"{threading.get_ident()}-{next(numbers)}"), capacity=capacity,
                    when_full="refuse")  # fmt: skip
                taken += 1
            except QueueFullError as full:
                seen.append(full.depth)
                claim(store, 2)
            seen.append(depth(store))
        return taken

    numbers = iter(range(10_000))
    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(produce, range(6))) > 0
    assert max(seen) <= capacity


def test_coroutines_of_one_loop_share_a_store(store: Store) -> None:
    async def produce() -> None:
        for _ in range(50):
            await store.insert([new(id=f"async-{next(numbers)}")])

    async def main() -> None:
        await asyncio.gather(*(produce() for _ in range(8)))

    numbers = iter(range(10_000))
    asyncio.run(main())
    assert depth(store) == 400
    assert store.check().result() == []


def test_the_limit_of_pruning_is_one_for_all_states_together(
    store: Store, clock: FakeClock
) -> None:
    ids = put(store, *(new() for _ in range(6)))
    for job in claim(store, limit=3):
        settle(store, job, Succeeded())
    for job_id in ids[3:]:
        store.cancel(job_id, reason="r").result()
    clock.advance(10)
    retention = {State.COMPLETED: 1.0, State.CANCELLED: 1.0}
    assert store.prune(retention, limit=4).result() == 4
    assert sum(counted(store)["q"].values()) == 2
    assert store.prune(retention, limit=4).result() == 2


def test_the_error_on_a_job_is_one_short_line_and_its_history_has_the_whole(store: Store) -> None:
    put(store, new(retries=0))
    [job] = claim(store)
    settle(store, job, Failed(ErrorInfo("Boom", "x" * 5_000)))
    shown = store.get(job.id).result().error
    assert shown is not None
    assert shown.startswith("Boom: xxx")
    assert len(shown) == ERROR_LINE
    [attempt] = store.history(job.id).result()
    assert attempt.error.message == "x" * 5_000


def test_one_queue_is_shown_as_in_the_list_of_all(store: Store) -> None:
    put(store, new(), capacity=5)
    put(store, new(queue="other"))
    assert [store.queue_info(name).result(10) for name in ("other", "q")] == store.counts().result(
        10
    )
    with pytest.raises(NotFoundError, match="there is no queue 'typo'"):
        store.queue_info("typo").result(10)
