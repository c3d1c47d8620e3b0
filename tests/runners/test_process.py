"""Process jobs: children that are kept, watched, stopped with all they started, and replaced."""

from __future__ import annotations

import asyncio
import importlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import job_functions
import pytest
from runner_helpers import CANCEL, RecordingSink, eventually, is_alive, process, run_jobs, value

from conveyor.core.job import OUTPUT_LIMIT
from conveyor.core.lifecycle import Failed, Snoozed
from conveyor.runners.capture import OutputBuffer
from conveyor.runners.job_control import JobControl, RunResult, Stopped, StopRequest
from conveyor.runners.process import ProcessRunner


def one() -> ProcessRunner:
    return ProcessRunner(1)


def two() -> ProcessRunner:
    return ProcessRunner(2)


def written(path: Path) -> list[int]:
    return [int(pid) for pid in path.read_text().split()]


def stopped(
    control: JobControl, path: Path, request: StopRequest = CANCEL
) -> tuple[RunResult, list[int]]:
    """Run a job that writes down its pids, stop it then, and return how it ended."""

    async def main() -> tuple[RunResult, list[int]]:
        runner = one()
        running = asyncio.create_task(runner.run(control))
        await eventually(path.exists)
        control.stop(request)
        ending = await running
        pids = written(path)
        # The child itself is let go together with its pipes; all else has to be gone by now.
        assert not any(map(is_alive, pids)), pids
        await runner.close()
        return ending, pids

    return asyncio.run(main())


@pytest.mark.parametrize("spare", range(10))
def test_a_child_that_cannot_start_for_lack_of_descriptors_leaks_none(spare: int):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def main() -> None:
        before = count()
        runner = one()
        value(await runner.run(process(job_functions.pid)))  # its spawner is there from now on
        held = os.open(os.devnull, os.O_RDONLY)
        resource.setrlimit(resource.RLIMIT_NOFILE, (held + 1 + spare, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                await asyncio.gather(*[_started(runner) for _ in range(10)])
        finally:
            os.close(held)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await runner.close()
        assert count() == before

    asyncio.run(main())


async def _started(runner: ProcessRunner) -> None:
    runner._start_child()


def test_jobs_return_results_and_one_child_serves_many():
    jobs = [process(job_functions.pid) for _ in range(20)]
    pids = {value(ending) for ending in run_jobs(one, *jobs)}
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_a_coroutine_function_runs_in_a_child_too():
    [ending] = run_jobs(one, process(job_functions.wait_and_echo, "hello"))
    assert value(ending) == "hello from job"


def test_a_job_does_not_see_context_variables_of_the_previous_job():
    first, second = run_jobs(
        one, process(job_functions.leave_a_mark), process(job_functions.leave_a_mark)
    )
    assert value(first) == value(second)
    assert value(first)[0] == "nothing"


def test_a_decorated_function_is_found_behind_its_decorator():
    function = job_functions.decorated.function
    assert callable(function)
    [ending] = run_jobs(one, process(function))
    assert value(ending) == "the function itself"


def test_a_megabyte_of_arguments_and_result_is_passed():
    text = "x" * 1_000_000
    [ending] = run_jobs(one, process(job_functions.echo, text))
    assert value(ending) == text


def test_all_output_of_a_job_is_captured():
    sink = RecordingSink()
    marks = [f"mark{number}" for number in range(6)]
    run_jobs(
        two,
        *(process(job_functions.write_in_every_way, mark, sink=sink, id=mark) for mark in marks),
    )
    for mark in marks:
        assert sink.text("stdout", mark) == (
            f"{mark} printed\n{mark} by descriptor\n{mark} by a command\n{mark} without an end"
        )
        assert sink.text("stderr", mark) == f"{mark} to stderr\n"
        assert sink.text("log", mark).endswith(f"WARNING some: {mark} logged\n")


def test_a_hundred_megabytes_of_output_cost_no_more_than_the_limit():
    output = OutputBuffer()
    [ending] = run_jobs(one, process(job_functions.write_much, 100 << 20, sink=output))
    assert value(ending) is None
    *chunks, mark = output.take_output()
    assert sum(len(chunk.data) for chunk in chunks) == OUTPUT_LIMIT
    assert mark.stream == "mark"
    assert b"1,048,576 bytes" in mark.data


def test_progress_reaches_the_sink():
    sink = RecordingSink()
    run_jobs(one, process(job_functions.report, sink=sink))
    assert [(each.done, each.total, each.message) for each in sink.progress_reports] == [
        (1.0, 4.0, "a quarter")
    ]


def test_an_exception_comes_back_with_its_names_and_its_traceback():
    [ending] = run_jobs(one, process(job_functions.fail, "connection"))
    assert isinstance(ending, Failed)
    assert ending.error.type == "ConnectionResetError"
    assert ending.error.message == "the line is dead"
    assert {"ConnectionError", "OSError"} <= set(ending.error.bases)
    assert "job_functions.py" in ending.error.traceback


def test_no_exception_of_a_job_ends_the_child():
    jobs = [process(job_functions.fail, kind) for kind in ("odd", "exit", "snooze")]
    odd, exited, snoozed, pid = run_jobs(one, *jobs, process(job_functions.pid))
    assert isinstance(odd, Failed)
    assert odd.error.type == "job_functions.OddError"
    assert "OddError" in odd.error.bases
    assert "cannot be printed" in odd.error.message
    assert isinstance(exited, Failed)
    assert exited.error.type == "SystemExit"
    assert snoozed == Snoozed(5.0)
    assert value(pid) > 0


def test_a_result_that_json_cannot_encode_is_a_permanent_error():
    [ending] = run_jobs(one, process(job_functions.result_that_json_cannot_hold))
    assert isinstance(ending, Failed)
    assert not ending.retry
    assert "result_that_json_cannot_hold" in ending.error.message


@pytest.mark.parametrize("where", ["no_such_module:f", "job_functions:no_such_function"])
def test_a_function_that_cannot_be_imported_is_an_error_that_names_it(where: str):
    control = process(job_functions.pid)
    control.task = replace(control.task, where=where)
    [ending] = run_jobs(one, control)
    assert isinstance(ending, Failed)
    assert not ending.retry
    assert where in ending.error.message
    assert "top level of an importable module" in ending.error.message


@pytest.mark.parametrize(
    ("function", "number", "said"),
    [
        (job_functions.die, 3, "exited with 3"),
        (job_functions.kill_myself, signal.SIGKILL, "SIGKILL"),
        (job_functions.kill_myself, signal.SIGSEGV, "SIGSEGV"),
    ],
)
def test_a_child_that_dies_fails_its_own_job_only(
    function: Callable[[int], None], number: int, said: str
):
    dead, other, after = run_jobs(
        two, process(function, number), process(job_functions.pid), process(job_functions.pid)
    )
    assert isinstance(dead, Failed)
    assert dead.error.type == "ProcessDied"
    assert said in dead.error.message
    assert value(other) > 0
    assert value(after) > 0


def test_the_death_of_a_child_is_noticed_even_if_a_fork_of_it_holds_all_its_pipes(
    tmp_path: Path, until: Callable[..., None]
):
    path = tmp_path / "pid"
    [ending] = run_jobs(one, process(job_functions.die_and_leave_a_fork_with_the_pipes, str(path)))
    assert isinstance(ending, Failed)
    assert "exited with 3" in ending.error.message
    until(lambda: not is_alive(int(path.read_text())))


def test_a_job_that_is_stopped_while_its_module_imports_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "slow_module.py").write_text(
        "import os, time, pathlib\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "if os.environ.get('SLOW'): time.sleep(60)\n"
        "def work() -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    work = importlib.import_module("slow_module").work
    (tmp_path / "pid").unlink()
    monkeypatch.setenv("SLOW", "1")
    ending, _ = stopped(process(work), tmp_path / "pid")
    assert isinstance(ending, Stopped)


def test_a_stop_that_an_import_swallows_does_not_wait_for_the_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # As around the import of what one can do without; the interpreter loses some as well.
    (tmp_path / "forgiving_module.py").write_text(
        "import os, time, pathlib\n"
        "try:\n"
        f"    pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "    if os.environ.get('SLOW'): time.sleep(60)\n"
        "except Exception: pass\n"
        "def work() -> None: time.sleep(60)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    work = importlib.import_module("forgiving_module").work
    (tmp_path / "pid").unlink()
    monkeypatch.setenv("SLOW", "1")
    ending, _ = stopped(process(work, grace=20.0), tmp_path / "pid")
    assert ending == Stopped(("SIGTERM to 1 process",))


def test_a_job_that_listens_is_stopped_at_once(tmp_path: Path):
    path = tmp_path / "pid"
    ending, _ = stopped(process(job_functions.wait_politely, str(path)), path)
    # It may be through before the signal comes.
    assert ending in {Stopped(), Stopped(("SIGTERM to 1 process",))}


def test_a_job_that_is_stopped_can_clean_up(tmp_path: Path):
    path, sink = tmp_path / "pid", RecordingSink()
    control = process(job_functions.clean_up_when_told, str(path), sink=sink)
    ending, _ = stopped(control, path, StopRequest("timeout", "too long"))
    assert isinstance(ending, Stopped)
    assert sink.text() == "cleaned up\n"


def test_a_job_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path):
    path = tmp_path / "pid"
    control = process(job_functions.ignore_everything, str(path), grace=0.1)
    ending, _ = stopped(control, path)
    assert isinstance(ending, Stopped)
    assert ending.notes[-1].startswith("SIGKILL to 1 process after ")


def test_processes_that_a_job_started_are_killed_even_in_another_session(tmp_path: Path):
    path = tmp_path / "pid"
    ending, pids = stopped(process(job_functions.start_others_and_wait, str(path)), path)
    assert len(pids) == 3
    assert ending == Stopped(("SIGTERM to 3 processes",))


def test_a_stop_just_as_the_job_ends_leaves_a_correct_ending():
    async def main() -> None:
        runner = one()
        loop = asyncio.get_running_loop()
        for turn in range(12):
            control = process(job_functions.echo, "done")
            loop.call_later(turn * 0.0002, control.stop, CANCEL)
            ending = await runner.run(control)
            assert isinstance(ending, Stopped) or value(ending) == "done"
        assert value(await runner.run(process(job_functions.echo, "after"))) == "after"
        await runner.close()

    asyncio.run(main())


def test_children_are_replaced_after_max_jobs():
    jobs = [process(job_functions.pid) for _ in range(6)]
    pids = [value(ending) for ending in run_jobs(lambda: ProcessRunner(1, max_jobs=2), *jobs)]
    assert len(set(pids)) == 3
    assert not any(map(is_alive, pids))


def test_a_child_that_uses_too_much_memory_is_replaced():
    jobs = [process(job_functions.take_memory, size) for size in (1, 200, 1)]
    pids = [value(each) for each in run_jobs(lambda: ProcessRunner(1, max_rss_mb=150), *jobs)]
    assert pids[0] == pids[1] != pids[2]


def test_a_child_runs_any_number_of_jobs_while_it_does_not_grow():
    jobs = [process(job_functions.pid) for _ in range(1100)]
    pids = [value(each) for each in run_jobs(lambda: ProcessRunner(1), *jobs)]
    assert len(set(pids)) == 1


def test_a_child_whose_imports_need_more_than_the_limit_is_kept():
    jobs = [process(job_functions.pid) for _ in range(3)]
    pids = [value(each) for each in run_jobs(lambda: ProcessRunner(1, max_rss_mb=1), *jobs)]
    assert len(set(pids)) == 1


def test_no_child_is_left_when_the_runner_is_closed():
    jobs = [process(job_functions.pid) for _ in range(4)]
    pids = {value(ending) for ending in run_jobs(two, *jobs)}
    assert not any(map(is_alive, pids))


SCRIPT = """
import asyncio, sys
sys.path.insert(0, {folder!r})
from runner_helpers import RecordingSink, process, value
from conveyor.runners.process import ProcessRunner

class OurError(Exception): ...

def double(number: int) -> int:
    if number < 0:
        raise OurError
    return 2 * number

async def main() -> None:
    runner = ProcessRunner(1)
    print(value(await runner.run(process(double, 21))))
    print((await runner.run(process(double, -1))).error.type)
    await runner.close()

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_functions_of_a_script_run_in_its_children(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(Path(__file__).parent)))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.splitlines() == ["42", "script.OurError"], done.stderr


ORPHAN = """
import asyncio, sys
sys.path.insert(0, {folder!r})
import job_functions
from runner_helpers import process
from conveyor.runners.process import ProcessRunner

asyncio.run(ProcessRunner(1).run(process(job_functions.ignore_everything, {path!r})))
"""


def test_children_die_with_their_worker(tmp_path: Path, until: Callable[..., None]):
    path = tmp_path / "pid"
    code = ORPHAN.format(folder=str(Path(__file__).parent), path=str(path))
    worker = subprocess.Popen([sys.executable, "-c", code])
    until(path.exists)
    child = int(path.read_text())
    worker.kill()
    worker.wait(60)
    until(lambda: not is_alive(child))
