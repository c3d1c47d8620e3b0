"""`conveyor workers` and `conveyor agents`."""

from __future__ import annotations

import time

import pytest
from shell import Command

from conveyor import Conveyor
from conveyor.core.job import WorkerInfo
from conveyor.store.messages import Claimant, Want

AGENT, OTHER = "far-1@abcd1234", "far-2@abcd1234"


def know(
    belt: Conveyor,
    name: str = "w-1",
    *,
    slots: int = 2,
    labels: tuple[str, ...] = (),
    sick: dict[str, str] | None = None,
) -> None:
    """Make a worker known that is alive and idle."""
    info = WorkerInfo(
        id=name, host="there", boot_id="b", pid=1, pid_started=0.0, started_at=time.time(),
        slots=slots, queues=("mail",), labels=labels, sick=sick or {},
    )  # fmt: skip
    belt.store.beat(info).result(10)


def occupy(belt: Conveyor, name: str) -> str:
    """Have a worker hold a job."""
    job = belt.functions["send"].enqueue("ann")
    belt.store.claim([Want("mail", 1)], Claimant(name), limit=1).result(10)
    return job.id


def audit(conveyor: Command) -> list[tuple[str, str, str]]:
    lines = conveyor("audit", "--json").data
    return [(each["what"], each["subject"], each["detail"]) for each in reversed(lines)]


def test_workers_are_listed(conveyor: Command, belt: Conveyor) -> None:
    know(belt, labels=("gpu",))
    assert "w-1\talive\tthere\t0/2\tmail\tgpu" in conveyor("workers").out
    assert conveyor("workers", "--json").data[0]["id"] == "w-1"


def test_agents_are_the_workers_that_reach_the_store_by_a_server(
    conveyor: Command, belt: Conveyor
) -> None:
    know(belt)
    know(belt, AGENT)
    know(belt, "server-1", slots=0)
    assert [each["id"] for each in conveyor("agents", "--json").data] == [AGENT]
    assert f"{AGENT}\talive\tthere\t0/2\tmail" in conveyor("agents", "list").out
    assert len(conveyor("workers", "--json").data) == 3
    wrong = conveyor("agents", "drain", "w-1")
    assert (wrong.code, f"matches no workers; known workers: {AGENT}" in wrong.err) == (3, True)


@pytest.mark.parametrize("command", ["agents", "workers"])
def test_orders_are_shown_at_once_and_are_in_the_audit(
    conveyor: Command, belt: Conveyor, command: str
) -> None:
    know(belt, AGENT)
    know(belt, OTHER)
    for action, shown in (("quiet", "quiet"), ("resume", "alive"), ("drain", "draining")):
        ran = conveyor(command, action, "far-1", OTHER)
        assert (ran.code, ran.out) == (0, "")
        assert conveyor(command).out.count(f"\t{shown}\t") == 2
    late = conveyor(command, "resume", AGENT)
    assert late.code == 2
    assert "told to drain, which is final" in late.err
    assert audit(conveyor) == [
        (f"{action} worker", name, "")
        for action in ("quiet", "resume", "drain")
        for name in (AGENT, OTHER)
    ]


def test_a_name_that_fits_several_and_also_is_one_is_that_one(
    conveyor: Command, belt: Conveyor
) -> None:
    know(belt, "w-1")
    know(belt, "w-12")
    assert conveyor("workers", "quiet", "w-1").code == 0
    assert [each["quiet"] for each in conveyor("workers", "--json").data] == [True, False]
    assert conveyor("workers", "quiet", "w-").code == 3


def test_a_busy_worker_is_not_removed_and_nothing_is_noted(
    conveyor: Command, belt: Conveyor
) -> None:
    know(belt)
    occupy(belt, "w-1")
    ran = conveyor("workers", "remove", "w-1")
    assert ran.code == 2
    assert "worker w-1 holds 1 running job(s)" in ran.err
    assert audit(conveyor) == []


def test_a_busy_worker_is_removed_by_force(conveyor: Command, belt: Conveyor) -> None:
    know(belt)
    job = occupy(belt, "w-1")
    ran = conveyor("workers", "remove", "w-1", "--force", "--json")
    assert ran.code == 0
    assert f"job {job}: returned to its queue, counted as crashed" in ran.err
    assert [each["draining"] for each in ran.data] == [True]
    assert audit(conveyor) == [("remove worker", "w-1", "forced")]


def test_what_is_still_there_is_named_when_time_runs_out(conveyor: Command, belt: Conveyor) -> None:
    know(belt, AGENT)
    job = occupy(belt, AGENT)
    ran = conveyor("agents", "drain", AGENT, "--wait", "0s")
    assert ran.code == 5
    assert f"  {job} send on {AGENT}" in ran.err
    assert f"still running after 0 s: {AGENT}" in ran.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["drain"], "specify the ids to drain"),
        (["drain", "w-1", "--force"], "--force requires the action remove"),
        (["list", "--wait", "1s"], "--wait requires the action drain or remove"),
        (["drain", "server-1"], "is a server, not a worker"),
        (["remove", "server-1", "--force"], "is a server, not a worker"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    conveyor: Command, belt: Conveyor, args: list[str], said: str
) -> None:
    know(belt)
    know(belt, "server-1", slots=0)
    ran = conveyor("workers", *args)
    assert (ran.code, said in ran.err) == (2, True), ran.err


def test_what_a_machine_cannot_start_is_shown_where_one_looks(
    conveyor: Command, belt: Conveyor
) -> None:
    know(belt, "w", sick={"process": "no space left"})
    job = conveyor("enqueue", "send", "to=you", "--queue", "mail").out.strip()
    assert "\tsick\t" in conveyor("workers").out
    for command in (["workers"], ["ps"]):
        assert "w cannot start jobs: process jobs: no space left" in conveyor(*command).err
    assert conveyor("workers", "--json").data[0]["sick"] == {"process": "no space left"}
    assert "process jobs: no space left" in conveyor("why", job).out
    doctor = conveyor("doctor")
    assert doctor.code == 1
    assert "NOT OK\tmachine\tw: process jobs: no space left" in doctor.out
