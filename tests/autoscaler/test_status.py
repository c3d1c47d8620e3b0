"""What a scaler keeps of a day: its events, and the load against the machines."""

from __future__ import annotations

from itertools import pairwise

from conveyor.autoscaler.plan import PoolCounts
from conveyor.autoscaler.state import EMPTY_STATE
from conveyor.autoscaler.status import (
    MAX_EVENTS,
    MAX_TALLIED_POOLS,
    ScalerEvent,
    ScalerNote,
    ScalerStatus,
    ScalerTally,
    add_events,
    add_tally,
    decode_note,
    encode_note,
    tally_of,
)
from conveyor.store.leadership import LARGEST_NOTE
from conveyor.store.messages import Load

DAY = 86_400.0
NAMES = [f"{'x' * 100}{number}" for number in range(20)]
NOW = 1_000_000_200.0


def event(at: float, why: str = "12 jobs wait") -> ScalerEvent:
    return ScalerEvent(at=at, did="start", subject="small", why=why)


def test_a_tally_has_the_load_and_the_machines_of_each_pool() -> None:
    loads = [Load("a", (), waiting=3, running=1), Load("b", ("gpu",), waiting=4, running=2)]
    pools = [PoolCounts(pool=f"p{number}", wanted=number, idle=1, busy=2) for number in range(30)]
    tally = tally_of(NOW, loads, pools)
    assert (tally.at, tally.waiting, tally.running) == (NOW, 7, 3)
    assert (tally.machines["p3"], tally.wanted["p3"]) == (3, 3)
    assert len(tally.machines) == MAX_TALLIED_POOLS


def test_one_tally_in_five_minutes_is_kept_for_a_day() -> None:
    tallies: tuple[ScalerTally, ...] = ()
    for number in range(3 * 8640):  # three days, every 10 s
        new = ScalerTally(at=NOW + 10.0 * number, waiting=number, running=0)
        tallies = add_tally(tallies, new)
    assert 288 <= len(tallies) <= 289
    assert tallies[-1].waiting == 3 * 8640 - 1
    assert tallies[-1].at - tallies[0].at <= DAY
    assert all(later.at - each.at <= 300.0 for each, later in pairwise(tallies))


def test_a_clock_that_is_set_back_keeps_no_tallies_of_the_future() -> None:
    kept = add_tally((ScalerTally(at=NOW + 999, waiting=1, running=0),), ScalerTally(
        at=NOW, waiting=2, running=0))  # fmt: skip
    assert [each.waiting for each in kept] == [2]


def test_events_are_kept_for_a_day_and_are_bounded() -> None:
    old, new = event(NOW - DAY - 1), event(NOW)
    assert add_events((old,), [new]) == (new,)
    assert add_events((old,), []) == (old,)
    many = [event(NOW + number) for number in range(MAX_EVENTS + 5)]
    assert add_events((), many) == tuple(many[5:])


def test_a_note_that_is_too_long_loses_its_tallies_before_its_memory() -> None:
    tallies = tuple(
        ScalerTally(at=NOW + n, waiting=1, running=1, machines=dict.fromkeys(NAMES, 1))
        for n in range(288)
    )
    events = tuple(event(NOW + number, "y" * 2000) for number in range(MAX_EVENTS))
    status = ScalerStatus(at=NOW, every=10.0, events=events, tallies=tallies)
    text = encode_note(ScalerNote(status, EMPTY_STATE))
    assert len(text) <= LARGEST_NOTE
    note = decode_note(text)
    assert note is not None
    assert note.status.tallies == ()
    assert note.status.events == events[-50:]
    small = encode_note(
        ScalerNote(ScalerStatus(at=NOW, every=10.0, tallies=tallies[:5]), EMPTY_STATE)
    )
    note = decode_note(small)
    assert note is not None
    assert len(note.status.tallies) == 5
