"""A dump of a running job shows where its code is, of all kinds, and in a blocked event loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stuck_functions as stuck

from conveyor import Conveyor, Job
from conveyor.core.stack import StackDump
from conveyor.worker.stack_reporter import BEHIND_BLOCKED_LOOP, BLOCKED_LOOP

HERE = stuck.__file__


class Works:
    """A worker of a belt on SQLite, whose jobs stand still until `gate` exists."""

    def __init__(self, folder: Path) -> None:
        self.belt = Conveyor(str(folder / "jobs.db"))
        self.gate = folder / "gate"
        self.begun = lambda: list(folder.glob("gate.*"))

    def start(self, function: Callable[..., Any], **options: Any) -> Job[Any]:
        job = self.belt.queue("default").task(**options)(function).enqueue(str(self.gate))
        self.belt.start(slots=4)
        self.until(self.begun)
        return job

    def dump(self, job: Job[Any]) -> StackDump:
        store = self.belt.store
        store.request_stack(job.id).result(10)
        self.until(lambda: (answer := store.stack(job.id).result(10)) and answer.dump)
        answer = store.stack(job.id).result(10)
        assert answer is not None
        assert answer.dump is not None
        return answer.dump

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, "it takes too long"
            time.sleep(0.01)


@pytest.fixture
def works(tmp_path: Path) -> Iterator[Works]:
    made = Works(tmp_path)
    yield made
    made.gate.touch()
    made.belt.stop()
    made.belt.close()


def calls(dump: StackDump) -> list[str]:
    return [frame.function for frame in dump.frames if frame.own]


def test_a_thread_job_is_shown_from_its_function_to_the_line_it_is_in(works: Works) -> None:
    dump = works.dump(works.start(stuck.wait_for))
    assert (dump.kind, dump.note) == ("thread", "")
    assert (dump.frames[0].file, dump.frames[0].function) == (HERE, "wait_for")
    assert dump.frames[0].own


def test_a_suspended_coroutine_is_shown_down_to_what_it_awaits(works: Works) -> None:
    dump = works.dump(works.start(stuck.await_for))
    assert (dump.kind, dump.note) == ("coroutine", "")
    assert calls(dump) == ["await_for", "inner"]
    assert dump.frames[1].code == "await asyncio.sleep(0.01)  # a coroutine stands here"
    assert dump.frames[-1].function == "sleep"
    assert not dump.frames[-1].own


def test_a_coroutine_that_blocks_the_event_loop_is_shown_all_the_same(works: Works) -> None:
    dump = works.dump(works.start(stuck.block_for))
    assert (dump.kind, dump.note) == ("coroutine", BLOCKED_LOOP)
    assert calls(dump)[:2] == ["block_for", "wait_for"]


def test_a_coroutine_behind_one_that_blocks_the_loop_says_so(works: Works) -> None:
    waiting = works.start(stuck.await_for)
    blocking = works.belt.task(stuck.block_for).enqueue(str(works.gate))
    works.until(lambda: len(works.begun()) == 2)
    assert works.dump(blocking).note == BLOCKED_LOOP
    dump = works.dump(waiting)
    assert dump.note == BEHIND_BLOCKED_LOOP
    assert calls(dump) == ["await_for", "inner"]


def test_a_process_job_is_shown_with_its_frames_and_processes(works: Works) -> None:
    dump = works.dump(works.start(stuck.wait_for, run="process"))
    assert (dump.kind, dump.note) == ("process", "")
    assert calls(dump)[0] == "wait_for"
    assert str(dump.processes[0].pid) == works.begun()[0].suffix[1:]


def test_a_coroutine_in_a_process_is_shown_down_to_what_it_awaits(works: Works) -> None:
    dump = works.dump(works.start(stuck.await_for, run="process"))
    assert calls(dump) == ["await_for", "inner"]


def test_a_command_is_shown_with_all_processes_that_it_started(works: Works) -> None:
    script = f"touch {works.gate}.begun; sleep 60 & sleep 61"
    job = works.belt.command("sh", "-c", script).enqueue()
    works.belt.start(slots=4)
    works.until(works.begun)
    works.until(lambda: len(works.dump(job).processes) == 3)
    dump = works.dump(job)
    assert dump.frames == ()
    shell, *sleeps = dump.processes
    assert shell.command.startswith("sh -c touch")
    assert sorted(each.command for each in sleeps) == ["sleep 60", "sleep 61"]
    assert {each.parent for each in sleeps} == {shell.pid}
    job.cancel()
