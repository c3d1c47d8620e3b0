"""Command jobs: environment, output as it comes, exit codes, and nothing left behind."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest
from runner_helpers import (
    CANCEL,
    RecordingSink,
    command,
    eventually,
    is_alive,
    pids,
    run_jobs,
    shell,
    value,
)

from conveyor.core.job import OUTPUT_LIMIT
from conveyor.core.lifecycle import Failed
from conveyor.runners.capture import OutputBuffer
from conveyor.runners.command import CommandRunner
from conveyor.runners.job_control import JobControl, RunResult, Stopped


def one(control: JobControl) -> RunResult:
    [ending] = run_jobs(CommandRunner, control)
    return ending


@asynccontextmanager
async def commands() -> AsyncGenerator[CommandRunner]:
    runner = CommandRunner()
    yield runner
    await runner.close()


def stopped(control: JobControl, path: Path, count: int) -> RunResult:
    """Run a command that writes down `count` pids, stop it then; none may be left."""

    async def main() -> RunResult:
        async with commands() as runner:
            running = asyncio.create_task(runner.run(control))
            await eventually(lambda: path.exists() and len(path.read_text().split()) == count)
            control.stop(CANCEL)
            ending = await running
            assert not any(map(is_alive, pids(path)))
            return ending

    return asyncio.run(main())


def test_an_exit_code_is_the_result():
    assert value(one(command("true"))) == {"exit_code": 0}
    assert value(one(shell("exit 3", ok_exit_codes=[0, 3]))) == {"exit_code": 3}


def test_a_bad_exit_code_is_an_error_that_shows_the_end_of_stderr():
    ending = one(shell("for n in $(seq 100); do echo line $n >&2; done; exit 3"))
    assert isinstance(ending, Failed)
    assert ending.retry
    assert str(ending.error) == "CommandFailed: sh exited with 3"
    assert ending.error.traceback.startswith("line 81\n")
    assert ending.error.traceback.endswith("line 100\n")
    assert ending.error.exit_code == 3


def test_the_error_names_the_signal_that_killed_the_command():
    ending = one(shell("kill -9 $$"))
    assert isinstance(ending, Failed)
    assert ending.error.message == "sh was killed by SIGKILL"
    assert ending.error.exit_code == 128 + 9


def test_output_of_many_commands_does_not_mix():
    sink = RecordingSink()
    script = "for n in $(seq 50); do echo out $1; echo err $1 >&2; done"
    names = [f"job-{number}" for number in range(8)]
    run_jobs(CommandRunner, *(shell(script, name, sink=sink, id=name) for name in names))
    for name in names:
        assert sink.text("stdout", name) == f"out {name}\n" * 50
        assert sink.text("stderr", name) == f"err {name}\n" * 50


def test_output_arrives_while_the_command_runs():
    async def main() -> None:
        sink = RecordingSink()
        control = shell("echo ready; exec sleep 60", sink=sink)
        async with commands() as runner:
            running = asyncio.create_task(runner.run(control))
            await eventually(lambda: sink.text() == "ready\n")
            assert not running.done()
            control.stop(CANCEL)
            assert await running == Stopped(("SIGTERM to 1 process",))

    asyncio.run(main())


def test_a_hundred_megabytes_of_output_cost_no_more_than_the_limit():
    output = OutputBuffer()
    ending = one(command("head", "-c", str(100 << 20), "/dev/zero", sink=output))
    assert value(ending) == {"exit_code": 0}
    *chunks, mark = output.take_output()
    assert sum(len(chunk.data) for chunk in chunks) == OUTPUT_LIMIT
    assert mark.stream == "mark"


def test_a_command_gets_its_job_and_env_in_its_environment(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("FROM_THE_WORKER", "yes")
    script = "echo $CONVEYOR_JOB_ID $CONVEYOR_ATTEMPT $CONVEYOR_LEASE $GIVEN [$FROM_THE_WORKER]"
    inherits, alone = RecordingSink(), RecordingSink()
    one(shell(script, env={"GIVEN": "x"}, sink=inherits))
    one(shell(script, env={"GIVEN": "x"}, inherit_env=False, sink=alone))
    assert inherits.text() == "job 2 7 x [yes]\n"
    assert alone.text() == "job 2 7 x []\n"


def test_a_command_runs_in_its_cwd_and_its_stdin_is_empty(tmp_path: Path):
    sink = RecordingSink()
    one(shell("pwd; cat", cwd=tmp_path, sink=sink))
    assert sink.text() == f"{tmp_path}\n"


def test_a_missing_program_is_a_permanent_error():
    ending = one(command("no-such-program-here"))
    assert isinstance(ending, Failed)
    assert not ending.retry
    assert "cannot find program 'no-such-program-here'" in ending.error.message


def test_a_missing_directory_is_a_permanent_error():
    ending = one(command("true", cwd="/no/such/directory"))
    assert isinstance(ending, Failed)
    assert not ending.retry
    assert "no directory '/no/such/directory'" in ending.error.message


def test_a_file_that_is_not_executable_is_a_permanent_error(tmp_path: Path):
    text = tmp_path / "text"
    text.write_text("not a program")
    ending = one(command(str(text)))
    assert isinstance(ending, Failed)
    assert not ending.retry
    assert "PermissionError" in ending.error.bases


def test_a_stop_kills_the_whole_process_tree_even_outside_of_the_session(tmp_path: Path):
    path = tmp_path / "pids"
    far = f"echo $$ >> {path}; exec sleep 60"
    script = f"setsid sh -c '{far}' & sleep 60 & echo $! >> {path}; echo $$ >> {path}; wait"
    ending = stopped(shell(script), path, count=3)
    assert isinstance(ending, Stopped)
    assert "SIGKILL" not in str(ending.notes)


def test_a_command_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path):
    path = tmp_path / "pids"
    script = f"trap '' TERM; echo $$ >> {path}; while true; do sleep 60; done"
    ending = stopped(shell(script, grace=0.1), path, count=1)
    assert isinstance(ending, Stopped)
    assert re.fullmatch(r"SIGKILL to [12] process(es)? after \d+\.\d s", ending.notes[-1])


def test_processes_that_a_stopped_command_leaves_behind_get_the_grace_too(tmp_path: Path):
    path, goodbye = tmp_path / "pids", tmp_path / "goodbye"
    slow = (
        "import signal, sys, os, time, pathlib\n"
        f"goodbye = lambda *_: (pathlib.Path({str(goodbye)!r}).write_text('bye'), sys.exit())\n"
        "signal.signal(signal.SIGTERM, lambda *_: signal.setitimer(signal.ITIMER_REAL, 0.1))\n"
        "signal.signal(signal.SIGALRM, goodbye)\n"
        f"open({str(path)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        "while True: time.sleep(60)\n"
    )
    script = f'{sys.executable} -c "$1" & echo $$ >> {path}; wait'
    ending = stopped(shell(script, slow), path, count=2)
    assert ending == Stopped(("SIGTERM to 2 processes",))
    assert goodbye.read_text() == "bye"


def test_processes_that_a_command_leaves_behind_are_killed(
    tmp_path: Path, until: Callable[..., None]
):
    path = tmp_path / "pids"
    assert value(one(shell(f"sleep 60 & echo $! > {path}"))) == {"exit_code": 0}
    until(lambda: not any(map(is_alive, pids(path))))


def test_a_grandchild_that_holds_the_pipes_does_not_block_the_job(tmp_path: Path):
    path = tmp_path / "pids"
    script = f"setsid sh -c 'echo $$ > {path}; exec sleep 60' & while ! [ -s {path} ]; do :; done"
    started = monotonic()
    [ending] = run_jobs(lambda: CommandRunner(output_timeout=0.1), shell(script))
    assert value(ending) == {"exit_code": 0}
    assert monotonic() - started < 30


def test_a_stop_just_as_the_job_ends_leaves_a_correct_ending():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with commands() as runner:
            for turn in range(100):
                control = command("true")
                loop.call_later(turn * 0.00003, control.stop, CANCEL)
                ending = await runner.run(control)
                assert isinstance(ending, Stopped) or value(ending) == {"exit_code": 0}

    asyncio.run(main())


def test_a_cancelled_slot_leaves_no_process(tmp_path: Path):
    path = tmp_path / "pids"

    async def main() -> None:
        script = f"echo $$ > {path}; exec sleep 60"
        async with commands() as runner:
            running = asyncio.create_task(runner.run(shell(script)))
            await eventually(lambda: path.exists() and path.read_text())
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled()
            assert not any(map(is_alive, pids(path)))

    asyncio.run(main())
