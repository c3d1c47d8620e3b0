"""A machine that cannot start jobs returns them without blame, pauses, and tries itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conveyor import Conveyor, State
from conveyor.client.job_handle import Job
from conveyor.core.explain import explain
from conveyor.core.job import QueueInfo, WorkerInfo
from conveyor.core.lifecycle import Interrupted, Snoozed
from conveyor.runners.job_control import JobControl, RunResult, StopRequest
from conveyor.runners.machine_fault import MachineFault
from conveyor.runners.runner_table import Runners
from conveyor.runners.thread import ThreadRunner
from conveyor.store.messages import Claimant
from conveyor.worker.assemble import Assembly
from conveyor.worker.health import SICK, health, judge
from conveyor.worker.machine_faults import FIRST_PAUSE, LATEST, LONGEST_PAUSE, MachineFaults
from conveyor.worker.options import WorkerOptions
from conveyor.worker.worker import Worker

FULL = "[Errno 28] No space left on device"
JOBS = 30


class SickMachine:
    """A machine on which no thread job can start until it is healed."""

    def __init__(self) -> None:
        self.is_sick = True
        self.starts = self.probes = 0


class SickRunner(ThreadRunner):
    def __init__(self, machine: SickMachine) -> None:
        super().__init__(4)
        self._machine = machine

    async def run(self, control: JobControl) -> RunResult:
        self._machine.starts += 1
        return MachineFault(FULL) if self._machine.is_sick else await super().run(control)

    async def probe(self) -> MachineFault | None:
        self._machine.probes += 1
        return MachineFault(FULL) if self._machine.is_sick else None


class SickRunners(Runners):
    def __init__(self, runner: ThreadRunner, **options: Any) -> None:
        super().__init__(**options)
        self._by_kind["thread"] = runner


class SickAssembly(Assembly):
    runner: ThreadRunner

    def make_runners(self) -> Runners:
        return SickRunners(
            self.runner, slots=4, max_jobs=1000, max_rss_mb=512, lease_for=self.options.lease_for
        )


def sick_worker(
    belt: Conveyor, machine: SickMachine, runner: type[SickRunner] = SickRunner
) -> Worker:
    options = WorkerOptions(slots=4, keep=False)
    assembly = SickAssembly(store=belt.store, tasks=belt.tasks, options=options)
    assembly.runner = runner(machine)
    return Worker(assembly.parts())


def add(one: int, two: int) -> int:
    return one + two


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not done():  # noqa: ASYNC110 - it asks the store
            await asyncio.sleep(0.005)


def enqueue(belt: Conveyor) -> list[Job[int]]:
    return belt.task(add).enqueue_many([(number, 1) for number in range(JOBS)])


def test_a_sick_machine_leaves_all_jobs_to_a_healthy_one() -> None:
    belt, machine = Conveyor("memory:"), SickMachine()

    async def main() -> list[Job[int]]:
        async with sick_worker(belt, machine):
            jobs = enqueue(belt)
            await until(lambda: machine.starts > 0)
            async with belt.worker(keep=False):
                await until(lambda: all(job.refresh().record.is_final for job in jobs))
        return jobs

    jobs = asyncio.run(main())
    assert {(job.state, job.record.attempt, job.record.crashes) for job in jobs} == {
        (State.COMPLETED, 1, 0)
    }
    assert machine.starts <= 8  # what one claim held, and no more


def test_a_sick_worker_says_why_and_claims_again_once_a_job_could_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    belt, machine = Conveyor("memory:"), SickMachine()
    told: dict[str, str] = {}

    async def main() -> None:
        worker = sick_worker(belt, machine)
        async with worker:
            await until(lambda: worker.idle)
            [job, *_] = jobs = enqueue(belt)
            await until(lambda: any(each.sick for each in belt.store.workers().result()))
            [info] = belt.store.workers().result()
            told["row"] = info.sick["thread"]
            empty = QueueInfo(name="default", capacity=None, paused=False, counts={})
            told["why"] = explain(
                job.record, queue=empty, ahead=3, workers=[info], now=belt.store.now()
            )
            found = health(info, 0.0)
            told["health"] = judge(found, now=0.0, ready=True).text
            assert (found.state, judge(found, now=0.0, ready=True).ok) == (SICK, False)
            assert not worker.idle
            machine.is_sick = False
            await until(lambda: all(job.refresh().record.is_final for job in jobs))
            await until(lambda: not belt.store.workers().result()[0].sick)

    asyncio.run(main())
    assert told["row"] == FULL
    assert "can start such jobs on its machine" in told["why"]
    assert FULL in told["why"]
    assert FULL in told["health"]
    assert f"machine.fault kind=thread retry_in=1.0 error={FULL}" in caplog.text
    assert "machine.recovered kind=thread" in caplog.text
    assert machine.probes == 1


def test_a_worker_that_cannot_start_commands_runs_other_jobs_and_is_not_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    belt, here = Conveyor("memory:"), tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    async def main() -> None:
        async with belt.worker(keep=False) as worker:
            await until(lambda: worker.idle)
            here.rmdir()
            command = belt.command("true").enqueue()
            await until(lambda: bool(worker.parts.dispatcher.sick))
            job = belt.task(add).enqueue(1, 1)
            await until(lambda: job.refresh().record.is_final)
            await until(lambda: worker.parts.dispatcher._empty_until > 0)
            assert not worker.idle
            here.mkdir()
            await until(lambda: command.refresh().record.is_final)
            assert (command.state, command.record.attempt) == (State.COMPLETED, 1)

    asyncio.run(main())


def test_a_job_that_was_cancelled_while_the_machine_could_not_start_it_is_cancelled() -> None:
    belt, machine = Conveyor("memory:"), SickMachine()

    class CancelledRunner(SickRunner):
        async def run(self, control: JobControl) -> RunResult:
            control.stop(StopRequest("cancel", "by hand"))
            return await super().run(control)

    async def main() -> State:
        async with sick_worker(belt, machine, CancelledRunner):
            job = belt.task(add).enqueue(1, 1)
            await until(lambda: job.refresh().record.is_final)
            return job.state

    assert asyncio.run(main()) == State.CANCELLED


# -- the rules -------------------------------------------------------------------------------------


def test_the_faults_of_one_claim_are_one_incident() -> None:
    faults = MachineFaults()
    outcomes = [faults.record("thread", FULL, 0.0) for _ in range(5)]
    assert outcomes == [Interrupted()] * 5
    assert faults.due(FIRST_PAUSE - 0.1) == []
    assert faults.due(FIRST_PAUSE) == ["thread"]


def test_each_failed_probe_doubles_the_pause_up_to_a_limit() -> None:
    faults, now, pauses = MachineFaults(), 0.0, list[float]()
    faults.record("process", FULL, now)
    for _ in range(8):
        due = faults.retry_at
        assert due is not None
        pauses.append(due - now)
        now = due
        faults.record_probe("process", FULL, now)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_a_job_whose_start_fails_although_the_probe_did_not_lets_others_pass() -> None:
    faults = MachineFaults()
    assert faults.record("command", FULL, 0.0) == Interrupted()
    faults.record_probe("command", None, 1.0)
    outcome = faults.record("command", FULL, 1.0)
    assert isinstance(outcome, Snoozed)
    assert 2.0 < outcome.delay <= LATEST
    assert faults.paused


def test_a_start_after_the_pause_ends_the_fault() -> None:
    faults = MachineFaults()
    faults.record("command", FULL, 0.0)
    faults.record_start("command")  # it was started before the fault
    assert faults.paused
    faults.record_probe("command", None, 1.0)
    faults.record_start("command")
    assert not faults
    assert faults.record("command", FULL, 9.0) == Interrupted()


@pytest.mark.parametrize(
    ("kinds", "labels"),
    [
        ((), {"commands", "gpu"}),
        (("command",), {"gpu"}),
        (("thread",), None),
        (("command", "thread"), None),
    ],
)
def test_only_commands_can_be_left_out_of_a_claim(kinds: Any, labels: set[str] | None) -> None:
    faults, usual = MachineFaults(), Claimant("w", labels=frozenset({"commands", "gpu"}))
    for kind in kinds:
        faults.record(kind, FULL, 0.0)
    claimant = faults.claimant(usual)
    assert (None if claimant is None else claimant.labels) == labels


def test_a_worker_for_commands_only_does_not_claim_while_they_cannot_start() -> None:
    faults = MachineFaults()
    faults.record("command", FULL, 0.0)
    assert faults.claimant(Claimant("w", labels=frozenset({"commands!only"}))) is None


def test_a_worker_that_cannot_start_commands_is_no_reason_for_another_job_to_wait() -> None:
    belt = Conveyor("memory:")
    job = belt.task(add).enqueue(1, 1)
    info = WorkerInfo(
        id="w", host="h", boot_id="", pid=1, pid_started=0.0, started_at=0.0, slots=4,
        queues=("default",), labels=("commands",), sick={"command": FULL}, beat_at=belt.store.now(),
    )  # fmt: skip
    empty = QueueInfo(name="default", capacity=None, paused=False, counts={})
    told = explain(job.record, queue=empty, ahead=0, workers=[info], now=belt.store.now())
    assert told.startswith("It is next")
