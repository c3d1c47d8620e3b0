"""`conveyor cancel`: by id and by filter, waiting and running jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import Command, Start, Until
from unstoppable_jobs import begin, open_belt, serve

from conveyor import Conveyor, State
from conveyor.cli import cancel
from conveyor.client.job_handle import Job


@pytest.fixture
def belt(folder: Path) -> Iterator[Conveyor]:
    yield from open_belt(folder)


def test_cancel_ends_a_waiting_job_and_refuses_an_ended_one(
    conveyor: Command, belt: Conveyor
) -> None:
    done = belt.functions["quick"].enqueue()
    belt.work(timeout=30, keep=False)
    job = belt.functions["quick"].enqueue()
    assert conveyor("cancel", job.id).out == f"{job.id} cancelled\n"
    assert conveyor("cancel", job.id).code == 0
    ran = conveyor("cancel", done.id, "--json")
    assert ran.code == 1
    assert ran.data == {done.id: "completed"}
    assert "already completed" in ran.err


def test_cancel_stops_a_command_that_a_worker_runs(
    conveyor: Command, belt: Conveyor, start: Start, until: Until
) -> None:
    worker = serve(start, "--queue", "default")
    job = belt.command("sleep", "60").enqueue()
    until(lambda: job.refresh().state is State.RUNNING)
    ran = conveyor("cancel", job.id, "--wait", 20)
    assert (ran.code, ran.out) == (0, f"{job.id} cancelled\n")
    worker.terminate()
    assert worker.wait(30) == 0


def test_a_job_that_goes_on_says_so_with_its_age_wherever_one_looks(
    start: Start, belt: Conveyor, until: Until, conveyor: Command
) -> None:
    serve(start)
    job = begin(belt, "deaf", until)
    assert conveyor("cancel", job.id).out == f"{job.id} cancelling\n"
    until(lambda: "cannot be stopped" in conveyor("ps").out)
    line = next(each for each in conveyor("ps").out.splitlines() if each.startswith(job.id))
    assert line.split("\t")[1].startswith("cancelling ")
    assert "its code still runs in" in conveyor("why", job.id).out
    assert "a thread cannot be stopped from outside" in conveyor("why", job.id).out
    forced = conveyor("cancel", job.id, "--force", "--wait", "0.5")
    assert forced.code == 1
    assert "a thread cannot be killed" in forced.err
    assert job.refresh().state is State.RUNNING
    shown = conveyor("show", job.id).out
    assert "stop requested (cancel): cancelled by conveyor cancel" in shown
    assert "yes, without a grace period" in shown


def test_a_loop_over_track_says_how_far_it_is_and_stops_when_asked(
    start: Start, belt: Conveyor, until: Until, conveyor: Command
) -> None:
    serve(start)
    job = belt.functions["tracks"].enqueue()
    until(lambda: job.refresh().progress)
    assert job.progress is not None
    assert job.progress.total == 100_000
    ran = conveyor("cancel", job.id, "--wait", 20)
    assert (ran.code, ran.out) == (0, f"{job.id} cancelled\n")


@pytest.fixture
def waiting(belt: Conveyor) -> list[Job[None]]:
    """Five jobs of one task, and two of another."""
    many = belt.functions["deaf"].enqueue_many([(1.0,)] * 5)
    return [*many, *belt.functions["quick"].enqueue_many([()] * 2)]


def test_a_filter_asks_for_yes_where_nobody_can_be_asked(
    conveyor: Command, waiting: list[Job[None]]
) -> None:
    ran = conveyor("cancel", "--task", "deaf")
    assert ran.code == 2
    assert "cannot ask whether to cancel 5 jobs, as stdin is no terminal: add --yes" in ran.err
    assert {job.refresh().state for job in waiting} == {State.AVAILABLE}
    assert conveyor("cancel", "--task", "deaf", "--yes").out == "5 cancelled\n"
    states = [job.refresh().state for job in waiting]
    assert states == [State.CANCELLED] * 5 + [State.AVAILABLE] * 2
    # What has ended already fits no filter.
    assert conveyor("cancel", "--queue", "default", "--yes", "--json").data == {"cancelled": 2}
    assert conveyor("cancel", "--queue", "default", "--yes").out == "no jobs\n"


def test_older_leaves_the_young_ones(conveyor: Command, waiting: list[Job[None]]) -> None:
    assert conveyor("cancel", "--older", "1h", "--yes").out == "no jobs\n"
    assert conveyor("cancel", "--older", "0.000001", "--yes").out == f"{len(waiting)} cancelled\n"


def test_a_job_that_goes_away_in_the_meantime_does_not_hide_what_became_of_the_others(
    belt: Conveyor, waiting: list[Job[None]], capsys: pytest.CaptureFixture[str]
) -> None:
    found = [job.id for job in waiting]
    waiting[0].cancel()
    belt.store.delete(waiting[0].id).result()
    states = cancel.cancel_jobs(belt.store, found, reason="over", force=False)
    cancel._wait_until_stopped(belt.store, states | {waiting[0].id: cancel.CANCELLING}, 1.0)
    cancel._report_exceptions(belt.store, states, force=False)
    assert Counter(states.values()) == {State.CANCELLED: 6, cancel.GONE: 1}
    assert "no longer exists: it ended and was deleted" in capsys.readouterr().err


def test_a_filter_reaches_running_jobs_and_waits_for_them(
    start: Start, belt: Conveyor, until: Until, conveyor: Command
) -> None:
    serve(start)
    jobs = belt.functions["tracks"].enqueue_many([()] * 3)
    until(lambda: all(job.logs() for job in jobs))
    ran = conveyor("cancel", "--task", "tracks", "--yes", "--wait", "20")
    assert (ran.code, ran.out) == (0, "3 cancelled\n")


@pytest.mark.parametrize("args", [[], ["an-id", "--queue", "default"]])
def test_a_cancel_of_nothing_in_particular_is_wrong_use(
    conveyor: Command, belt: Conveyor, args: list[str]
) -> None:
    ran = conveyor("cancel", *args)
    assert ran.code == 2
    assert "specify either job ids or a filter" in ran.err
    assert belt.store.counts().result() == []
