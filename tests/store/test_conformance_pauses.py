"""What every store promises about pauses and capacities of queues, and about schedules."""

from __future__ import annotations

import msgspec
import pytest
from calls import new, put

from conveyor.core.job import ScheduleInfo
from conveyor.errors import InvalidTransitionError, NotFoundError
from conveyor.store.messages import Offered
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock


def test_a_pause_says_since_when_and_why_until_the_queue_is_resumed(
    store: Store, clock: FakeClock
) -> None:
    put(store, new())
    begin = clock.now()
    store.set_paused("q", paused=True, reason="provider is down", by="ops").result()
    clock.advance(5)
    store.set_paused("q", paused=True, reason="still down", by="ops").result()
    for info in (store.queue_info("q").result(), store.counts().result()[0]):
        assert (info.paused_at, info.pause_reason) == (begin, "still down")
        # A server knows who it was, whatever a client says.
        assert info.paused_by in ("ops", "anybody")
    store.set_paused("q", paused=False).result()
    info = store.queue_info("q").result()
    assert (info.paused_at, info.paused_by, info.pause_reason) == (None, "", "")


def test_a_larger_capacity_makes_room_for_producers_that_wait(store: Store) -> None:
    put(store, new(), capacity=1)
    waiting = store.insert([new()], capacity=1).result()
    assert isinstance(waiting, Offered)
    store.set_capacity("q", 2).result()
    assert store.accepted(waiting.offer).result() is not None
    assert store.queue_info("q").result().capacity == 2
    store.set_capacity("q", None).result()
    assert store.queue_info("q").result().capacity is None
    with pytest.raises(NotFoundError, match="nowhere"):
        store.set_capacity("nowhere", 1).result()


def declare(store: Store, next_at: float = 100.0) -> None:
    rule = {"cron": "0 3 * * *", "timezone": "UTC", "missed": "skip", "next_at": next_at}
    store.put_schedule(msgspec.convert({"name": "s", **rule}, ScheduleInfo)).result()


def test_a_schedule_says_why_it_is_paused_also_after_its_rule_has_changed(
    store: Store, clock: FakeClock
) -> None:
    declare(store)
    begin = clock.now()
    store.pause_schedule("s", paused=True, reason="holidays", by="ops").result()
    clock.advance(5)
    [known] = store.schedules().result()
    store.put_schedule(msgspec.structs.replace(known, cron="0 4 * * *")).result()
    [changed] = store.schedules().result()
    assert (changed.paused, changed.paused_at, changed.pause_reason) == (True, begin, "holidays")
    assert changed.paused_by in ("ops", "anybody")
    with pytest.raises(InvalidTransitionError, match="is paused"):
        store.run_schedule("s").result()
    store.pause_schedule("s", paused=False).result()
    [open_again] = store.schedules().result()
    assert (open_again.paused_at, open_again.paused_by, open_again.pause_reason) == (None, "", "")
    with pytest.raises(NotFoundError):
        store.pause_schedule("none", paused=True).result()


def test_a_schedule_that_is_run_now_ticks_once_and_goes_on_as_before(
    store: Store, clock: FakeClock
) -> None:
    later = clock.now() + 1000
    declare(store, next_at=later)
    store.run_schedule("s").result()
    store.run_schedule("s").result()
    [due] = store.schedules().result()
    assert due.next_at == clock.now()
    assert store.tick("s", due_at=due.next_at, next_at=later, jobs=[new(id="now")]).result()
    assert not store.tick("s", due_at=due.next_at, next_at=later, jobs=[new()]).result()
    assert store.schedules().result()[0].next_at == later
    assert store.recent_jobs("s").result() == ["now"]
    with pytest.raises(NotFoundError):
        store.run_schedule("none").result()


def test_a_schedule_knows_the_jobs_of_its_last_ticks(store: Store) -> None:
    declare(store)
    assert store.recent_jobs("s").result() == []
    for number in range(25):
        due, following = 100.0 + number, 101.0 + number
        store.tick("s", due_at=due, next_at=following, jobs=[new(id=f"job {number}")]).result()
    assert store.recent_jobs("s").result() == [f"job {number}" for number in range(24, 4, -1)]
    store.remove_schedule("s").result()
    with pytest.raises(NotFoundError):
        store.recent_jobs("s").result()
    declare(store)
    assert store.recent_jobs("s").result() == []
