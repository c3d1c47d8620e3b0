"""A job in another process that completes in the transaction of its own writes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import pytest
from completing import Place, completes, completes_elsewhere, loses_its_lease, rolls_back

from conveyor import Conveyor, State
from conveyor.store.postgres.address import parse_address


def test_a_process_completes_its_job_with_its_own_commit(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        job = place.run(completes, place.server, place.effects_table, run="process")
    assert job.state is State.COMPLETED
    assert job.result() not in (os.getpid(), "from the function")
    assert place.effects == [(job.id, 1)]
    assert job.logs() == "before\nafter\n"
    assert caplog.records == []


@pytest.mark.parametrize(("after", "told"), [("raise", "too late"), ("die", "SIGKILL")])
def test_a_process_that_fails_after_its_commit_is_not_tried_again(
    place: Place, caplog: pytest.LogCaptureFixture, after: str, told: str
) -> None:
    options = {"retries": 3, "run": "process"}
    job = place.run(completes, place.server, place.effects_table, after, **options)
    assert (job.state, job.record.attempt) == (State.COMPLETED, 1)
    assert place.effects == [(job.id, 1)]
    assert told in failure_after_completion(caplog)


def test_a_process_that_is_stopped_after_its_commit_is_not_tried_again(
    place: Place, caplog: pytest.LogCaptureFixture, until: Callable[..., None]
) -> None:
    # Not by a timeout: on a busy machine that may come before the commit.
    task = place.belt.task(name="t", backoff=0, retries=3, run="process")(completes)
    job = task.enqueue(place.server, place.effects_table, "hang")
    place.belt.start(queues=["default"])
    until(lambda: place.effects)
    assert place.belt.stop(timeout=0)
    job.refresh()
    assert (job.state, job.record.attempt) == (State.COMPLETED, 1)
    assert place.effects == [(job.id, 1)]
    assert "Stopped" in failure_after_completion(caplog)


def failure_after_completion(caplog: pytest.LogCaptureFixture) -> str:
    """Return the one warning, which is about a failure after a completion."""
    [record] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "job.failed_after_completion" in record.getMessage()
    return record.getMessage()


def test_a_process_that_rolls_back_is_tried_again(place: Place) -> None:
    job = place.run(rolls_back, place.server, place.effects_table, run="process", retries=1)
    assert (job.state, job.record.attempt) == (State.COMPLETED, 2)
    assert place.effects == [(job.id, 2)]


@pytest.mark.parametrize("when", ["before the call", "before the commit"])
def test_a_process_that_has_lost_its_lease_commits_nothing(place: Place, when: str) -> None:
    schema = parse_address(place.belt.url).schema
    given = place.server, place.effects_table, schema, when
    job = place.run(loses_its_lease, *given, run="process")
    assert (job.state, job.record.lease) == (State.RUNNING, 2)
    assert place.effects == []


def test_a_process_of_another_store_is_told_why_it_cannot(place: Place) -> None:
    belt = Conveyor("memory:")
    job = belt.task(completes_elsewhere, run="process").enqueue(place.server)
    belt.work(timeout=60)
    assert "UsageError: complete_in() is for jobs in PostgreSQL" in str(job.result(60))
    belt.close()
