"""A job that is enqueued by name has the options that its task declares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conveyor import Conveyor, State
from conveyor.core.job import JobRecord
from conveyor.store.memory.store import MemoryStore


@pytest.fixture
def belt() -> Iterator[Conveyor]:
    """The application, whose worker has run once."""
    opened = Conveyor(store=MemoryStore())

    @opened.queue("mail").task(
        name="send", retries=5, timeout=60, priority=7, requires=["smtp"], run="process"
    )
    def send(to: str) -> None: ...

    opened.work(queues=["nothing"], keep=False)
    yield opened
    opened.close()


def sent(belt: Conveyor, **options: object) -> JobRecord:
    return Conveyor(store=belt.store).send("send", {"to": "ann"}, **options).record  # type: ignore[arg-type]


def test_what_a_worker_declares_is_laid_under_what_is_given(belt: Conveyor) -> None:
    job = sent(belt)
    assert (job.queue, job.priority) == ("mail", 7)
    assert (job.options.retries, job.options.timeout) == (5, 60.0)
    assert job.options.requires == ("smtp",)
    assert job.options == belt.functions["send"].enqueue("ann").record.options


def test_what_is_given_wins_even_where_it_is_the_general_default(belt: Conveyor) -> None:
    job = sent(belt, retries=0, priority=0, queue="other", timeout=None)
    assert (job.queue, job.priority) == ("other", 0)
    assert (job.options.retries, job.options.timeout) == (0, None)
    assert job.options.requires == ("smtp",)


def test_a_task_that_nobody_declared_has_the_general_defaults(belt: Conveyor) -> None:
    job = Conveyor(store=belt.store).send("unknown", {}).record
    assert (job.queue, job.priority, job.options.retries) == ("default", 0, 0)


@pytest.mark.parametrize("url", ["memory:", "jobs.db"])
def test_a_task_that_is_declared_later_completes_what_was_sent_by_name_before(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    belt = Conveyor(url)
    early = Conveyor(store=belt.store).send("flaky", {}, priority=1, retries=0)
    late = Conveyor(store=belt.store).send("flaky", {})

    @belt.task(name="flaky", retries=5, backoff=3600)
    def flaky() -> None:
        raise ConnectionError

    belt.work()
    states = [job.refresh().state for job in (early, late)]
    assert states == [State.DISCARDED, State.RETRYABLE]
    belt.close()
