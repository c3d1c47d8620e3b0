"""`conveyor stack`: shows where a running job is, of a worker in another process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import Command, Start, Until
from unstoppable_jobs import begin, open_belt, serve

from conveyor import Conveyor
from conveyor.store.messages import Claimant, Want


@pytest.fixture
def belt(folder: Path) -> Iterator[Conveyor]:
    yield from open_belt(folder)


def test_stack_shows_the_line_in_which_a_job_is(
    start: Start, belt: Conveyor, until: Until, conveyor: Command
) -> None:
    serve(start)
    job = begin(belt, "deaf", until)
    shown = conveyor("stack", job.id)
    assert shown.code == 0
    assert re.search(r'stops\.py", line \d+, in deaf\n  time\.sleep\(seconds\)\n', shown.out)
    dump = conveyor("stack", job.id, "--json").data
    assert dump["kind"] == "thread"
    assert dump["frames"][-1]["function"] == "deaf"
    assert "stack" in conveyor("audit").out


def test_stack_shows_a_coroutine_that_blocks_its_event_loop(
    start: Start, belt: Conveyor, until: Until, conveyor: Command, folder: Path
) -> None:
    serve(start)
    job = belt.functions["blocks the loop"].enqueue(30)
    until((folder / f"begun-{job.id}").exists)
    shown = conveyor("stack", job.id).out
    assert "in blocks\n  time.sleep(seconds)\n" in shown
    assert "(this coroutine blocks the event loop of its worker)" in shown


def test_stack_refuses_a_job_that_does_not_run(conveyor: Command, belt: Conveyor) -> None:
    job = belt.functions["quick"].enqueue()
    ran = conveyor("stack", job.id)
    assert ran.code == 2
    assert "is available, not running: there is no stack to show" in ran.err


def test_stack_says_so_when_no_worker_answers(conveyor: Command, belt: Conveyor) -> None:
    job = belt.functions["quick"].enqueue()
    belt.store.claim([Want("default", 1)], Claimant("silent"), limit=1).result()
    ran = conveyor("stack", job.id, "--timeout", "100ms")
    assert ran.code != 0
    assert "did not answer within 0.1 s" in ran.err
