"""What is seen beside what is remembered: the rules of the scaler's memory, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from machines import NOW, policy, pool

from conveyor.autoscaler.intervals import Intervals
from conveyor.autoscaler.machine_state import (
    Booting,
    Busy,
    Drained,
    Draining,
    Errored,
    Gone,
    Idle,
    Lost,
    MachineState,
    Stopping,
)
from conveyor.autoscaler.pool_backoff import next_backoff
from conveyor.autoscaler.provider import Machine, ProvisioningState
from conveyor.autoscaler.reconcile import Reconciled, demands_in, reconcile
from conveyor.autoscaler.snapshot import Snapshot
from conveyor.autoscaler.state import MachineHistory, PoolBackoff, ScalerState
from conveyor.autoscaler.status import ScalerNote, ScalerStatus, decode_note, encode_note
from conveyor.core.job import WorkerInfo
from conveyor.store.messages import Load

INTERVALS = Intervals(every=10, lease=60, beat=15)
PLAIN = policy(pool("plain", max=3, boot_deadline=100.0))
ID = "conveyor-plain-1"


def machine(state: ProvisioningState = "running", name: str = ID, **what: Any) -> Machine:
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


def snapshot_of(
    machines: Sequence[Machine] = (),
    workers: Sequence[WorkerInfo] = (),
    server_at: float = NOW,
    **what: Any,
) -> Snapshot:
    server = worker("server-1", on="", slots=0, beat_at=server_at)
    about = {
        "at": NOW,
        "loads": [],
        "workers": [server, *workers],
        "machines": {"process": machines},
        "unreachable": {},
    }
    return Snapshot(**{**about, **what})


def state_of(seen: MachineHistory | None = None, **what: Any) -> ScalerState:
    machines = {} if seen is None else {ID: seen}
    about = {"looked_at": NOW - 10, "awake_since": NOW - 5000, "machines": machines}
    return ScalerState(**{**about, **what})


def known(before: ScalerState, seen: Snapshot, by: Any = PLAIN) -> Reconciled:
    return reconcile(before, seen, by, INTERVALS)


THERE = MachineHistory(beat_at=NOW - 12)
MISSING = MachineHistory(beat_at=NOW - 50, missing_since=NOW - 45)


@pytest.mark.parametrize(
    ("reported", "agent", "before", "state"),
    [
        # Whose agent never was there.
        ("running", None, state_of(), Booting()),
        ("errored", None, state_of(), Errored()),
        ("gone", None, state_of(), Gone()),
        # Whose agent is known no more: a goodbye, unless the store may have lost it.
        ("running", None, state_of(THERE), Draining(0)),
        ("running", None, state_of(MISSING), Drained()),
        ("errored", None, state_of(THERE), Draining(0)),
        ("running", None, state_of(msgspec.structs.replace(THERE, draining=True)), Drained()),
        # It was silent before it was forgotten, so it may be there still.
        ("running", None, state_of(MachineHistory(beat_at=NOW - 80)), Lost(NOW + 40)),
        (
            "running",
            None,
            state_of(MachineHistory(beat_at=NOW - 300, missing_since=NOW - 100)),
            Lost(NOW - 180),
        ),
        # Nobody looked for a while: it counts from now.
        (
            "running",
            None,
            state_of(MachineHistory(beat_at=NOW - 300), looked_at=NOW - 200),
            Lost(NOW + 120),
        ),
        # An agent that is there.
        ("running", {}, state_of(), Idle(NOW)),
        (
            "running",
            {},
            state_of(MachineHistory(beat_at=NOW - 20, idle_since=NOW - 200)),
            Idle(NOW - 200),
        ),
        ("running", {"running": 1}, state_of(MachineHistory(idle_since=NOW - 200)), Busy(1)),
        # What it did between two beats was work, too.
        (
            "running",
            {"finished": 3},
            state_of(MachineHistory(finished=2, idle_since=NOW - 200)),
            Idle(NOW),
        ),
        (
            "running",
            {"finished": 3},
            state_of(MachineHistory(finished=3, idle_since=NOW - 200)),
            Idle(NOW - 200),
        ),
        # After a gap nobody knows what it did meanwhile.
        (
            "running",
            {},
            state_of(MachineHistory(idle_since=NOW - 200), looked_at=NOW - 40),
            Idle(NOW),
        ),
        (
            "running",
            {},
            state_of(MachineHistory(idle_since=NOW - 200), looked_at=NOW - 29),
            Idle(NOW - 200),
        ),
        # It is silent, from when it could be heard.
        ("running", {"beat_at": NOW - 100}, state_of(), Lost(NOW + 20)),
        ("running", {"beat_at": NOW - 100}, state_of(looked_at=NOW - 90), Idle(NOW)),
        ("running", {"beat_at": NOW - 500}, state_of(awake_since=NOW - 100), Lost(NOW + 20)),
        # Its end is under way.
        ("running", {}, state_of(MachineHistory(stop_again_at=NOW + 1)), Stopping()),
        ("running", {}, state_of(MachineHistory(stop_again_at=NOW - 1)), Idle(NOW)),
        ("gone", {}, state_of(MachineHistory(stop_again_at=NOW + 1)), Gone()),
    ],
)
def test_the_state_of_a_machine_follows_from_what_is_remembered(
    reported: ProvisioningState,
    agent: dict[str, Any] | None,
    before: ScalerState,
    state: MachineState,
) -> None:
    workers = [] if agent is None else [worker(**agent)]
    found = known(before, snapshot_of([machine(reported)], workers))
    assert found.agents[0].state == state


def test_a_machine_s_startup_deadline_counts_from_when_the_store_was_reachable() -> None:
    old = machine(created_at=NOW - 99)
    late = known(state_of(awake_since=NOW - 30), snapshot_of([old]))
    assert late.agents[0].created_at == NOW - 30
    on_time = known(state_of(), snapshot_of([old]))
    assert on_time.agents[0].created_at == NOW - 99


def test_a_restarted_agent_stands_for_its_machine() -> None:
    workers = [worker("old", beat_at=NOW - 50, running=1), worker("new", beat_at=NOW - 1)]
    found = known(state_of(), snapshot_of([machine()], workers))
    assert [(each.worker, each.machine) for each in found.agents] == [("new", ID), ("old", "")]
    assert found.drains == []


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (machine(created_at=NOW - 101), f"{ID} did not register"),
        (machine("errored", detail="no image"), "no image"),
        (machine("gone", detail="it crashed"), "it crashed"),
        (machine("gone", agent="w"), None),
        (machine("running"), None),
        (machine("stopping"), None),
    ],
)
def test_a_machine_that_does_not_start_is_counted_once(seen: Machine, why: str | None) -> None:
    found = known(state_of(), snapshot_of([seen]))
    troubles = {} if why is None else {"plain": PoolBackoff(1, NOW + 10, why)}
    assert found.state.troubles == troubles
    assert list(found.blocked) == list(troubles)
    again = known(found.state, snapshot_of([seen], at=NOW + 20, server_at=NOW + 5))
    assert again.state.troubles == troubles
    assert again.blocked == {}


def test_a_machine_that_starts_resets_the_backoff_of_its_pool() -> None:
    troubles = {"plain": PoolBackoff(3, NOW + 40, "x"), "removed": PoolBackoff(1, NOW + 40, "x")}
    both = [machine("errored"), machine(name="conveyor-plain-2")]
    found = known(
        state_of(troubles=troubles), snapshot_of(both, [worker("w2", on="conveyor-plain-2")])
    )
    assert found.state.troubles == {}


def test_a_one_shot_machine_that_was_never_seen_has_not_failed() -> None:
    once = policy(pool("plain", one_shot=True))
    assert known(state_of(), snapshot_of([machine("gone")]), once).state.troubles == {}
    errored = snapshot_of([machine("errored")])
    assert known(state_of(), errored, once).state.troubles != {}


def test_each_failure_doubles_the_pause_up_to_ten_minutes() -> None:
    trouble = None
    pauses: list[float] = []
    for _ in range(9):
        trouble = next_backoff(trouble, "x", NOW, 10.0)
        pauses.append(trouble.until - NOW)
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600, 600]


def test_a_pool_that_gets_no_machine_has_a_reason() -> None:
    troubled = state_of(troubles={"plain": PoolBackoff(2, NOW + 31, "no image")})
    assert known(troubled, snapshot_of()).blocked == {
        "plain": "its last 2 starts failed (no image); next attempt in 31 s"
    }
    unreachable = snapshot_of(machines={}, unreachable={"process": "it is away"})
    assert known(state_of(), unreachable).blocked == {
        "plain": "provider process is unreachable: it is away"
    }
    assert known(state_of(), snapshot_of(server_at=NOW - 20)).blocked == {}
    assert known(state_of(), snapshot_of(server_at=NOW - 21)).blocked == {
        "plain": "no server is running, so agents could not connect"
    }


def test_the_state_of_machines_is_kept_while_their_provider_is_unreachable() -> None:
    away = snapshot_of(machines={}, unreachable={"process": "it is away"})
    assert known(state_of(THERE), away).state.machines == {ID: THERE}
    assert known(state_of(THERE), snapshot_of()).state.machines == {}


def test_a_destroy_that_takes_too_long_is_repeated() -> None:
    first = known(state_of(), snapshot_of([machine("stopping")]))
    assert first.stops == []
    assert first.state.machines[ID].stop_again_at == NOW + 180
    later = known(state_of(MachineHistory(stop_again_at=NOW)), snapshot_of([machine("stopping")]))
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
def test_an_idle_agent_without_a_machine_is_drained_after_a_while(
    since: float, agent: dict[str, Any], drained: bool
) -> None:
    found = known(state_of(strays={"w": since}), snapshot_of([], [worker(**agent)]))
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
def test_an_agent_without_a_machine_is_forgotten_when_its_leases_have_expired(
    beat_at: float, awake_since: float, forgotten: bool
) -> None:
    before = state_of(strays={"w": NOW - 10}, awake_since=awake_since)
    found = known(before, snapshot_of([machine("gone")], [worker(beat_at=beat_at)]))
    assert list(found.forgotten) == ["w"] * forgotten


def test_only_a_pool_that_names_no_queues_learns_what_its_agents_serve() -> None:
    seen = snapshot_of([machine()], [worker(queues=("a", "b"))])
    [plain] = known(state_of(), seen).policy.pools
    assert plain.spec.queues == ("a", "b")
    [named] = known(state_of(), seen, policy(pool("plain", queues=("a",)))).policy.pools
    assert named.spec.queues == ("a",)


def test_agents_of_other_scalers_are_not_strays() -> None:
    others = [worker("theirs", on="conveyor-gpu-1"), worker("fixed", on=""), worker("odd", on="vm")]
    found = known(
        state_of(strays=dict.fromkeys(("theirs", "fixed", "odd"), 0.0)), snapshot_of([], others)
    )
    assert found.state.strays == {}
    assert found.drains == []


def test_the_demand_is_the_waiting_jobs() -> None:
    loads = [Load("a", ("gpu",), 3, 1), Load("b", (), 0, 5)]
    [demand] = demands_in(snapshot_of(loads=loads))
    assert (demand.count, demand.requires, demand.queue) == (3, {"gpu"}, "a")


def test_a_note_is_read_as_it_was_written_and_another_version_is_ignored() -> None:
    note = ScalerNote(ScalerStatus(at=NOW, every=10.0), state_of(THERE, made=(machine(),)))
    assert decode_note(encode_note(note)) == note
    assert decode_note("") is None
    assert decode_note('{"status": {}}') is None
    assert decode_note("[1]") is None


def test_a_note_of_many_thousand_machines_omits_their_details() -> None:
    about = MachineHistory(beat_at=NOW - 0.123456, finished=1234, idle_since=NOW - 0.123456)
    machines = {f"conveyor-plain-{number:010x}": about for number in range(20_000)}
    note = ScalerNote(ScalerStatus(at=NOW, every=10.0), state_of(machines=machines))
    text = encode_note(note)
    assert len(text) < 1 << 20
    assert decode_note(text) == ScalerNote(
        note.status, msgspec.structs.replace(note.memory, machines={})
    )
    few = ScalerNote(note.status, state_of(machines=dict(list(machines.items())[:8000])))
    assert decode_note(encode_note(few)) == few
