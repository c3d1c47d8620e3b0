"""What is seen beside what is remembered: the rules of the scaler's memory, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from machines import NOW, policy, pool

from conveyor.autoscaler.machine_state import (
    Booting,
    Busy,
    Drained,
    Draining,
    Errored,
    Gone,
    Idle,
    Lost,
    Standing,
    Stopping,
)
from conveyor.autoscaler.provider import Machine, MachineState
from conveyor.autoscaler.reconcile import Recalled, Times, demands, recall, worse
from conveyor.autoscaler.snapshot import Sight
from conveyor.autoscaler.state import Memory, Seen, Trouble
from conveyor.autoscaler.status import Note, Status, read_note, write_note
from conveyor.core.job import WorkerInfo
from conveyor.store.messages import Load

TIMES = Times(every=10, lease=60, beat=15)
PLAIN = policy(pool("plain", max=3, boot_deadline=100.0))
ID = "conveyor-plain-1"


def machine(state: MachineState = "running", name: str = ID, **what: Any) -> Machine:
    about = {"id": name, "pool": "plain", "created_at": NOW - 50, "state": state}
    return Machine(**{**about, **what})


def worker(name: str = "w", on: str = ID, **what: Any) -> WorkerInfo:
    about = {
        "id": name,
        "host": "h",
        "boot_id": "b",
        "pid": 1,
        "pid_started": 0.0,
        "started_at": NOW - 40,
        "slots": 2,
        "queues": ("default",),
        "labels": (f"machine={on}",) if on else (),
        "beat_at": NOW - 5,
    }
    return WorkerInfo(**{**about, **what})


def sight(
    machines: Sequence[Machine] = (),
    workers: Sequence[WorkerInfo] = (),
    server_at: float = NOW,
    **what: Any,
) -> Sight:
    server = worker("server-1", on="", slots=0, beat_at=server_at)
    about = {
        "at": NOW,
        "loads": [],
        "workers": [server, *workers],
        "machines": {"process": machines},
        "blind": {},
    }
    return Sight(**{**about, **what})


def memory(seen: Seen | None = None, **what: Any) -> Memory:
    machines = {} if seen is None else {ID: seen}
    about = {"looked_at": NOW - 10, "awake_since": NOW - 5000, "machines": machines}
    return Memory(**{**about, **what})


def known(before: Memory, seen: Sight, by: Any = PLAIN) -> Recalled:
    return recall(before, seen, by, TIMES)


THERE = Seen(beat_at=NOW - 12)
MISSING = Seen(beat_at=NOW - 50, missing_since=NOW - 45)


@pytest.mark.parametrize(
    ("state", "agent", "before", "standing"),
    [
        # Whose agent never was there.
        ("running", None, memory(), Booting()),
        ("errored", None, memory(), Errored()),
        ("gone", None, memory(), Gone()),
        # Whose agent is known no more: a goodbye, unless the store may have lost it.
        ("running", None, memory(THERE), Draining(0)),
        ("running", None, memory(MISSING), Drained()),
        ("errored", None, memory(THERE), Draining(0)),
        ("running", None, memory(msgspec.structs.replace(THERE, draining=True)), Drained()),
        # It was silent before it was forgotten, so it may be there still.
        ("running", None, memory(Seen(beat_at=NOW - 80)), Lost(NOW + 40)),
        (
            "running",
            None,
            memory(Seen(beat_at=NOW - 300, missing_since=NOW - 100)),
            Lost(NOW - 180),
        ),
        # Nobody looked for a while: it counts from now.
        ("running", None, memory(Seen(beat_at=NOW - 300), looked_at=NOW - 200), Lost(NOW + 120)),
        # An agent that is there.
        ("running", {}, memory(), Idle(NOW)),
        ("running", {}, memory(Seen(beat_at=NOW - 20, idle_since=NOW - 200)), Idle(NOW - 200)),
        ("running", {"running": 1}, memory(Seen(idle_since=NOW - 200)), Busy(1)),
        # What it did between two beats was work, too.
        ("running", {"finished": 3}, memory(Seen(finished=2, idle_since=NOW - 200)), Idle(NOW)),
        (
            "running",
            {"finished": 3},
            memory(Seen(finished=3, idle_since=NOW - 200)),
            Idle(NOW - 200),
        ),
        # After a gap nobody knows what it did meanwhile.
        ("running", {}, memory(Seen(idle_since=NOW - 200), looked_at=NOW - 40), Idle(NOW)),
        ("running", {}, memory(Seen(idle_since=NOW - 200), looked_at=NOW - 29), Idle(NOW - 200)),
        # It is silent, from when it could be heard.
        ("running", {"beat_at": NOW - 100}, memory(), Lost(NOW + 20)),
        ("running", {"beat_at": NOW - 100}, memory(looked_at=NOW - 90), Idle(NOW)),
        ("running", {"beat_at": NOW - 500}, memory(awake_since=NOW - 100), Lost(NOW + 20)),
        # Its end is under way.
        ("running", {}, memory(Seen(stop_again_at=NOW + 1)), Stopping()),
        ("running", {}, memory(Seen(stop_again_at=NOW - 1)), Idle(NOW)),
        ("gone", {}, memory(Seen(stop_again_at=NOW + 1)), Gone()),
    ],
)
def test_how_a_machine_stands_beside_what_is_remembered(
    state: MachineState, agent: dict[str, Any] | None, before: Memory, standing: Standing
) -> None:
    workers = [] if agent is None else [worker(**agent)]
    found = known(before, sight([machine(state)], workers))
    assert found.agents[0].standing == standing


def test_a_machine_has_as_long_to_come_from_when_its_agent_could_be_heard() -> None:
    old = machine(created_at=NOW - 99)
    late = known(memory(awake_since=NOW - 30), sight([old]))
    assert late.agents[0].created_at == NOW - 30
    on_time = known(memory(), sight([old]))
    assert on_time.agents[0].created_at == NOW - 99


def test_an_agent_that_was_started_anew_stands_for_its_machine() -> None:
    workers = [worker("old", beat_at=NOW - 50, running=1), worker("new", beat_at=NOW - 1)]
    found = known(memory(), sight([machine()], workers))
    assert [(each.worker, each.machine) for each in found.agents] == [("new", ID), ("old", "")]
    assert found.drains == []


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (machine(created_at=NOW - 101), f"{ID} did not come"),
        (machine("errored", detail="no image"), "no image"),
        (machine("gone", detail="it crashed"), "it crashed"),
        (machine("gone", agent="w"), None),
        (machine("running"), None),
        (machine("stopping"), None),
    ],
)
def test_a_machine_that_does_not_come_is_counted_once(seen: Machine, why: str | None) -> None:
    found = known(memory(), sight([seen]))
    troubles = {} if why is None else {"plain": Trouble(1, NOW + 10, why)}
    assert found.memory.troubles == troubles
    assert list(found.barred) == list(troubles)
    again = known(found.memory, sight([seen], at=NOW + 20, server_at=NOW + 5))
    assert again.memory.troubles == troubles
    assert again.barred == {}


def test_a_machine_that_came_ends_the_trouble_of_its_pool() -> None:
    troubles = {"plain": Trouble(3, NOW + 40, "x"), "removed": Trouble(1, NOW + 40, "x")}
    both = [machine("errored"), machine(name="conveyor-plain-2")]
    found = known(memory(troubles=troubles), sight(both, [worker("w2", on="conveyor-plain-2")]))
    assert found.memory.troubles == {}


def test_one_that_runs_one_job_and_was_never_seen_has_not_failed() -> None:
    once = policy(pool("plain", one_shot=True))
    assert known(memory(), sight([machine("gone")]), once).memory.troubles == {}
    errored = sight([machine("errored")])
    assert known(memory(), errored, once).memory.troubles != {}


def test_each_failure_doubles_the_pause_up_to_ten_minutes() -> None:
    trouble = None
    pauses: list[float] = []
    for _ in range(9):
        trouble = worse(trouble, "x", NOW, 10.0)
        pauses.append(trouble.until - NOW)
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600, 600]


def test_a_pool_that_gets_no_machine_has_the_reason() -> None:
    troubled = memory(troubles={"plain": Trouble(2, NOW + 31, "no image")})
    assert known(troubled, sight()).barred == {
        "plain": "its machines did not come, 2 times in a row (no image); the next try is in 31 s"
    }
    blind = sight(machines={}, blind={"process": "it is away"})
    assert known(memory(), blind).barred == {
        "plain": "its provider process cannot be asked: it is away"
    }
    assert known(memory(), sight(server_at=NOW - 20)).barred == {}
    assert known(memory(), sight(server_at=NOW - 21)).barred == {
        "plain": "no server is heard from, so no agent could come"
    }


def test_what_is_known_of_machines_stays_while_their_provider_cannot_be_asked() -> None:
    away = sight(machines={}, blind={"process": "it is away"})
    assert known(memory(THERE), away).memory.machines == {ID: THERE}
    assert known(memory(THERE), sight()).memory.machines == {}


def test_a_machine_whose_end_takes_too_long_is_to_be_ended_again() -> None:
    first = known(memory(), sight([machine("stopping")]))
    assert first.stops == []
    assert first.memory.machines[ID].stop_again_at == NOW + 180
    later = known(memory(Seen(stop_again_at=NOW)), sight([machine("stopping")]))
    assert [each.machine for each in later.stops] == [ID]


@pytest.mark.parametrize(
    ("since", "agent", "drained"),
    [
        (NOW - 120, {}, True),
        (NOW - 119, {}, False),
        (NOW - 500, {"running": 1}, False),
        (NOW - 500, {"draining": True}, False),
        (NOW - 500, {"beat_at": NOW - 61}, False),
    ],
)
def test_an_agent_without_a_machine_is_drained_after_a_while_if_it_is_idle(
    since: float, agent: dict[str, Any], drained: bool
) -> None:
    found = known(memory(strays={"w": since}), sight([], [worker(**agent)]))
    assert [each.worker for each in found.drains] == ["w"] * drained
    assert found.forgotten == {}


@pytest.mark.parametrize(
    ("beat_at", "awake_since", "forgotten"),
    [
        (NOW - 121, NOW - 5000, True),
        (NOW - 120, NOW - 5000, False),
        (NOW - 5000, NOW - 120, False),
    ],
)
def test_an_agent_without_a_machine_is_forgotten_when_its_leases_are_over(
    beat_at: float, awake_since: float, forgotten: bool
) -> None:
    before = memory(strays={"w": NOW - 10}, awake_since=awake_since)
    found = known(before, sight([machine("gone")], [worker(beat_at=beat_at)]))
    assert list(found.forgotten) == ["w"] * forgotten


def test_only_a_pool_that_names_no_queues_learns_what_its_agents_serve() -> None:
    seen = sight([machine()], [worker(queues=("a", "b"))])
    [plain] = known(memory(), seen).policy.pools
    assert plain.spec.queues == ("a", "b")
    [named] = known(memory(), seen, policy(pool("plain", queues=("a",)))).policy.pools
    assert named.spec.queues == ("a",)


def test_agents_of_others_are_no_strays() -> None:
    others = [worker("theirs", on="conveyor-gpu-1"), worker("fixed", on=""), worker("odd", on="vm")]
    found = known(memory(strays=dict.fromkeys(("theirs", "fixed", "odd"), 0.0)), sight([], others))
    assert found.memory.strays == {}
    assert found.drains == []


def test_what_waits_is_what_is_wanted() -> None:
    loads = [Load("a", ("gpu",), 3, 1), Load("b", (), 0, 5)]
    [demand] = demands(sight(loads=loads))
    assert (demand.count, demand.requires, demand.queue) == (3, {"gpu"}, "a")


def test_a_note_is_read_as_it_was_written_and_one_of_another_version_is_none() -> None:
    note = Note(Status(at=NOW, every=10.0), memory(THERE, made=(machine(),)))
    assert read_note(write_note(note)) == note
    assert read_note("") is None
    assert read_note('{"status": {}}') is None
    assert read_note("[1]") is None


def test_a_note_of_many_thousand_machines_leaves_out_what_is_known_of_each() -> None:
    about = Seen(beat_at=NOW - 0.123456, finished=1234, idle_since=NOW - 0.123456)
    machines = {f"conveyor-plain-{number:010x}": about for number in range(20_000)}
    note = Note(Status(at=NOW, every=10.0), memory(machines=machines))
    text = write_note(note)
    assert len(text) < 1 << 20
    assert read_note(text) == Note(note.status, msgspec.structs.replace(note.memory, machines={}))
    few = Note(note.status, memory(machines=dict(list(machines.items())[:8000])))
    assert read_note(write_note(few)) == few
