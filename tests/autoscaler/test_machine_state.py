"""What a provider and a store say of a machine, joined into how it stands."""

from __future__ import annotations

from typing import Any

import pytest
from machines import NOW

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
    Quiet,
    Stopping,
    agent_on,
    unmanaged_agent,
)
from conveyor.autoscaler.provider import Machine, PoolSpec, ProvisioningState
from conveyor.core.job import WorkerInfo

SPEC = PoolSpec(name="plain", slots=4, labels=("linux",), queues=("build",))


def machine(state: ProvisioningState = "running") -> Machine:
    return Machine(id="m1", pool="plain", created_at=NOW - 100, state=state, agent="a1", detail="x")


def worker(**fields: Any) -> WorkerInfo:
    about = {
        "id": "w1",
        "host": "h",
        "boot_id": "b",
        "pid": 1,
        "pid_started": 0.0,
        "started_at": NOW - 90,
        "slots": 2,
        "queues": ("build", "test"),
        "labels": ("linux", "fast"),
        "beat_at": NOW - 5,
    }
    return WorkerInfo(**{**about, **fields})


@pytest.mark.parametrize(
    ("reported", "there", "was_registered", "state"),
    [
        ("starting", None, False, Booting()),
        ("running", None, False, Booting()),
        ("running", None, True, Drained()),
        ("errored", None, False, Errored("x")),
        ("errored", None, True, Errored("x")),
        ("stopping", {"running": 1}, True, Stopping()),
        ("gone", {"running": 1}, True, Gone()),
        ("running", {}, True, Idle(NOW - 30)),
        ("starting", {}, True, Idle(NOW - 30)),
        ("running", {"running": 2}, True, Busy(2)),
        # Whatever its provider says of it, an agent that is heard keeps its machine.
        ("errored", {"running": 2}, True, Busy(2)),
        ("running", {"running": 2, "quiet": True}, True, Quiet(2)),
        ("running", {"running": 2, "quiet": True, "draining": True}, True, Draining(2)),
        ("running", {"running": 2, "beat_at": NOW - 61}, True, Lost(NOW + 59)),
        ("errored", {"draining": True, "beat_at": NOW - 200}, True, Lost(NOW - 80)),
    ],
)
def test_the_state_of_a_machine_follows_from_its_agent_and_its_provider(
    reported: ProvisioningState,
    there: dict[str, Any] | None,
    was_registered: bool,
    state: MachineState,
) -> None:
    seen = agent_on(
        machine(reported),
        None if there is None else worker(**there),
        SPEC,
        now=NOW,
        lease=60,
        idle_since=NOW - 30,
        was_registered=was_registered,
    )
    assert seen.state == state
    assert (seen.machine, seen.pool, seen.created_at) == ("m1", "plain", NOW - 100)


def test_the_slots_of_an_agent_are_those_of_its_pool_until_it_reports_its_own() -> None:
    booting = agent_on(machine(), None, SPEC, now=NOW, lease=60)
    assert (booting.slots, booting.labels, booting.queues) == (4, {"linux"}, ("build",))
    there = agent_on(machine(), worker(), SPEC, now=NOW, lease=60)
    assert (there.slots, there.labels, there.worker) == (2, {"linux", "fast"}, "w1")
    assert there.queues == ("build", "test")


def test_a_scaler_without_memory_keeps_a_machine_longer() -> None:
    assert agent_on(machine(), worker(), SPEC, now=NOW, lease=60).state == Idle(NOW)


def test_an_agent_that_no_scaler_created_has_no_machine() -> None:
    seen = unmanaged_agent(worker(running=1), now=NOW, lease=60)
    assert (seen.machine, seen.pool, seen.state) == ("", "", Busy(1))
