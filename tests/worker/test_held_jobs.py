"""The table of held jobs: each change of phase, what is reported, and which moves are illegal."""

from __future__ import annotations

import threading
from typing import get_args

import msgspec
import pytest

from conveyor.core.job import JobRecord, Options, State
from conveyor.core.lifecycle import Cancelled, Interrupted, Succeeded
from conveyor.core.task import Kind
from conveyor.runners.capture import OutputBuffer
from conveyor.runners.job_control import JobControl, StopRequest
from conveyor.store.messages import Lease, Report
from conveyor.worker import held_jobs
from conveyor.worker.held_jobs import FROM, MANY, WAITS_SIZE, HeldJob, HeldJobs, Phase


def job(name: str = "a", lease: int = 1, *, on_shutdown: str = "release") -> JobRecord:
    return JobRecord(
        seq=1, id=name, task="t", queue="q", args=b"{}", state=State.RUNNING, priority=0,
        run_at=0.0, enqueued_at=0.0, lease=lease,
        options=Options(on_shutdown=on_shutdown),  # type: ignore[arg-type]
    )  # fmt: skip


class FakeTask:
    def __init__(self, kind: Kind) -> None:
        self.kind = kind


def control(of: JobRecord, kind: Kind = "coroutine") -> JobControl:
    return JobControl(of, FakeTask(kind), OutputBuffer())  # type: ignore[arg-type]


def ready(held: HeldJobs, *jobs: JobRecord) -> list[HeldJob]:
    return held.add(jobs or [job()], asked_at=0.0, confirmed=True)


def running(held: HeldJobs, of: JobRecord, kind: Kind = "coroutine") -> HeldJob:
    [row] = ready(held, of)
    held.start(row, control(of, kind))
    return row


def in_phase(held: HeldJobs, phase: Phase) -> HeldJob:
    if phase == "unconfirmed":
        return held.add([job()], asked_at=0.0, confirmed=False)[0]
    if phase == "ready":
        return ready(held)[0]
    row = running(held, job())
    if phase == "ended":
        held.end(row, Succeeded(b"1"))
    elif phase == "abandoned":
        held.abandon_running()
    elif phase == "gone":
        held.drop(row)
    return row


def test_the_table_in_the_docstring_is_the_table_in_the_code() -> None:
    lines = [line for line in (held_jobs.__doc__ or "").splitlines() if line.startswith("|")]
    said: dict[str, set[str]] = {}
    for line in lines[2:]:
        before, _, after, _ = (cell.strip() for cell in line.strip("|").split("|"))
        for phase in after.split(" or "):
            if phase in FROM and before != "-":
                said.setdefault(phase, set()).update(before.split(", "))
    assert said == {phase: set(sources) for phase, sources in FROM.items()}


def test_a_job_goes_from_claim_to_report_in_order() -> None:
    held = HeldJobs()
    [row] = held.add([job()], asked_at=5.0, confirmed=False)
    assert (row.phase, row.sure_at, len(held), held.next_ready) == ("unconfirmed", 5.0, 1, None)
    held.confirm(row, sure_at=6.0)
    assert (row.phase, row.sure_at, held.next_ready) == ("ready", 6.0, row)
    assert held.start(row, control(row.job)) is None
    assert (row.phase, held.running, held.next_ready) == ("running", [row], None)
    held.end(row, Succeeded(b"1"))
    assert (row.phase, len(held), held.unreported, held.finished) == ("ended", 0, 1, 1)
    assert held.reports == [Report("a", 1, Succeeded(b"1"))]
    held.remove_reported(held.reports)
    assert (held.unreported, held.get(Lease("a", 1))) == (0, None)


@pytest.mark.parametrize("phase", get_args(Phase))
def test_a_job_is_found_by_its_lease_while_it_is_held(phase: Phase) -> None:
    held = HeldJobs()
    row = in_phase(held, phase)
    is_held = phase in ("unconfirmed", "ready", "running")
    assert held.get(Lease("a", 1)) == (row if is_held else None)
    assert held.get(Lease("a", 2)) is held.get(Lease("b", 1)) is None


@pytest.mark.parametrize("phase", [each for each in get_args(Phase) if each != "ready"])
def test_only_a_ready_job_is_started(phase: Phase) -> None:
    held = HeldJobs()
    row = in_phase(held, phase)
    with pytest.raises(AssertionError, match=f"is {phase} and cannot become running"):
        held._move(row, "running")


@pytest.mark.parametrize("phase", ["ended", "gone"])
def test_a_job_is_reported_once(phase: Phase) -> None:
    held = HeldJobs()
    row = in_phase(held, phase)
    with pytest.raises(AssertionError, match="cannot become ended"):
        held.end(row, Succeeded(b"1"))


def test_reports_of_jobs_that_end_during_a_call_stay_for_the_next_one() -> None:
    held = HeldJobs()
    first, second = running(held, job("a")), running(held, job("b"))
    held.end(first, Succeeded(b"1"))
    sent = held.reports
    held.end(second, Succeeded(b"2"))
    held.remove_reported(sent)
    assert held.reports == [Report("b", 1, Succeeded(b"2"))]


def test_a_drain_releases_what_has_not_started_and_nothing_else() -> None:
    held = HeldJobs()
    row = running(held, job("runs"))
    ready(held, job("ready"))
    held.add([job("unconfirmed")], asked_at=0.0, confirmed=False)
    held.release_unstarted()
    assert held.reports == [Report(name, 1, Interrupted()) for name in ("ready", "unconfirmed")]
    assert (held.running, len(held), held.finished, held.released) == ([row], 1, 0, 0)


def test_a_surplus_is_released_from_the_end() -> None:
    held = HeldJobs()
    ready(held, job("a"), job("b"), job("c"))
    held.release_surplus(2)
    assert {report.id for report in held.reports} == {"b", "c"}
    assert held.ready == 1


def test_a_job_claimed_again_under_a_new_lease_displaces_its_older_attempt() -> None:
    held = HeldJobs()
    older = running(held, job("a", lease=1))
    [newer] = ready(held, job("a", lease=2))
    assert held.get(Lease("a", 1)) is older
    assert held.start(newer, control(newer.job)) is older
    assert (older.phase, held.running) == ("gone", [newer])
    held.end(newer, Succeeded(b"2"))
    assert [report.lease for report in held.reports] == [2]


def test_leases_of_ready_and_running_jobs_are_renewed_and_no_others() -> None:
    held = HeldJobs()
    runs = running(held, job("runs"))
    [waits] = ready(held, job("waits"))
    held.end(running(held, job("ended")), Succeeded(b"1"))
    held.add([job("unconfirmed")], asked_at=0.0, confirmed=False)
    assert held.renewable == [runs, waits]


def test_an_abandoned_thread_is_left_to_the_end_of_the_process() -> None:
    held = HeldJobs()
    running(held, job("thread"), "thread")
    running(held, job("coroutine"))
    running(held, job("cancelled", on_shutdown="cancel"), "process")
    held.abandon_running()
    assert [report.id for report in held.threads_left] == ["thread"]
    assert (len(held.abandoned), held.reports) == (3, [])  # their code still runs
    held.end_abandoned()
    told = {report.id: type(report.outcome) for report in held.reports}
    assert told == {"coroutine": Interrupted, "cancelled": Cancelled}
    assert (held.running, len(held), held.released) == ([], 0, 2)


def test_nothing_is_reported_of_an_abandoned_job_whose_lease_is_lost() -> None:
    held = HeldJobs()
    row = running(held, job())
    assert row.control is not None
    row.control.stop(StopRequest("lost", "the lease was lost"))
    assert held.abandon_running() == [row]
    held.end_abandoned()
    assert (row.phase, held.reports, held.threads_left) == ("gone", [], [])


def test_listeners_learn_of_ready_and_ended_jobs() -> None:
    held, heard = HeldJobs(), list[str]()
    held.on_ready = lambda count: heard.append(f"{count} ready")
    held.on_ended = lambda: heard.append("ended")
    [row] = held.add([job()], asked_at=0.0, confirmed=False)
    assert heard == []
    held.confirm(row, sure_at=0.0)
    held.release(row)
    ready(held, job("b"), job("c"))
    assert heard == ["1 ready", "ended", "2 ready"]


def test_while_jobs_are_ready_listeners_learn_of_the_first_that_ends_and_of_one_in_many() -> None:
    held, heard = HeldJobs(), list[int]()
    held.on_ended = lambda: heard.append(held.unreported)
    rows = [running(held, job(f"{number}")) for number in range(2 * MANY + 2)]
    [waits] = ready(held, job("waits"))
    for row in rows[:-1]:
        held.end(row, Succeeded())
    assert heard == [1, MANY + 1, 2 * MANY + 1]
    held.release(waits)
    held.end(rows[-1], Succeeded())
    assert heard[3:] == [2 * MANY + 2, 2 * MANY + 3]


def test_a_worker_says_of_thousands_of_waiting_jobs_no_more_than_a_heartbeat_can_carry() -> None:
    held = HeldJobs()
    what = "room in queue '" + "é" * 200 + "' (9/9)"
    for number in range(2000):
        row = running(held, job(f"{number:036}"))
        assert row.control is not None
        row.control.waits = {threading.Event(): what}
    size = len(msgspec.json.encode(held.waits))
    assert WAITS_SIZE / 2 < size <= WAITS_SIZE
    assert set(held.waits.values()) == {what}
    assert next(iter(held.waits)) == f"{0:036}"
