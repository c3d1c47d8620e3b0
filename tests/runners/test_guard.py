"""Nothing a program starts can leave its guard, or outlive its job or its worker."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import guard_programs
import job_functions
import msgspec
from guard_programs import escape
from runner_helpers import (
    CANCEL,
    LONG,
    RecordingSink,
    command,
    eventually,
    is_alive,
    pids,
    process,
    run_jobs,
    shell,
    value,
)

from conveyor import Conveyor
from conveyor.core.command import Command
from conveyor.core.lifecycle import Failed
from conveyor.runners.command import CommandRunner
from conveyor.runners.job_control import JobControl, RunResult, Stopped, StopRequest
from conveyor.runners.process import ProcessRunner

Until = Callable[[Callable[[], object]], None]
SLEEP = "; exec sleep 300"


@asynccontextmanager
async def running(
    control: JobControl,
) -> AsyncGenerator[tuple[CommandRunner, asyncio.Task[RunResult]]]:
    runner = CommandRunner()
    try:
        yield runner, asyncio.create_task(runner.run(control))
    finally:
        await runner.close()


@contextmanager
def worker(kind: str, folder: Path) -> Generator[subprocess.Popen[str]]:
    argv = [sys.executable, str(Path(guard_programs.__file__)), kind, str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def parent(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def gone(*paths: Path) -> bool:
    return not any(is_alive(pid) for path in paths for pid in pids(path))


def test_without_a_guard_an_escaped_process_survives_the_kill_of_its_group(
    tmp_path: Path, until: Until
):
    path = tmp_path / "pids"
    with subprocess.Popen(["sh", "-c", escape(path) + SLEEP], start_new_session=True) as plain:
        until(path.exists)
        os.killpg(plain.pid, signal.SIGKILL)
        plain.wait()
    [survivor] = pids(path)
    try:
        assert is_alive(survivor)
    finally:
        os.kill(survivor, signal.SIGKILL)


def test_an_escaped_process_is_killed_when_the_command_is_stopped(tmp_path: Path):
    path = tmp_path / "pids"

    control = shell(escape(path) + SLEEP)

    async def main() -> None:
        async with running(control) as (_, task):
            await eventually(path.exists)
            control.stop(CANCEL)
            ending = await task
            assert isinstance(ending, Stopped)
            assert len(ending.notes) == 1
            assert gone(path)

    asyncio.run(main())


def test_an_escaped_process_is_killed_when_the_command_has_ended(tmp_path: Path):
    path = tmp_path / "pids"
    control = shell(escape(path) + "; exit 7", ok_exit_codes=[7])
    [ending] = run_jobs(CommandRunner, control)
    assert value(ending) == {"exit_code": 7}
    assert gone(path)
    [note] = [each.text for each in control.notes]
    assert "left behind" in note


def test_an_escaped_process_of_a_process_job_is_killed_with_its_child(tmp_path: Path):
    path = tmp_path / "pids"
    [ending] = run_jobs(lambda: ProcessRunner(1), process(job_functions.run_script, escape(path)))
    assert value(ending) == 0
    assert gone(path)


def test_an_escaped_process_dies_with_a_killed_worker(tmp_path: Path, until: Until):
    path = tmp_path / "pids"
    belt = Conveyor(str(tmp_path / "jobs.db"))
    belt.command("sh", "-c", escape(path) + SLEEP).enqueue()
    belt.close()
    with worker("work", tmp_path) as killed:
        until(path.exists)
        [escaped] = pids(path)
        guard = parent(escaped)
        killed.kill()
        killed.wait()
        until(lambda: not is_alive(escaped))
        until(lambda: not is_alive(guard))


def test_an_escaped_process_dies_with_its_worker_even_if_a_fork_of_the_worker_lives(
    tmp_path: Path, until: Until
):
    path, fork = tmp_path / "pids", tmp_path / "fork"
    with worker("fork_and_work", tmp_path) as killed:
        until(lambda: fork.exists() and fork.read_text())
        killed.kill()
        killed.wait()
        try:
            until(lambda: gone(path))
            assert not gone(fork)
        finally:
            os.kill(int(fork.read_text()), signal.SIGKILL)


def test_programs_of_a_frozen_worker_are_killed_before_its_leases_expire(
    tmp_path: Path, until: Until
):
    path = tmp_path / "pids"
    with worker("be_frozen", tmp_path) as frozen:
        until(path.exists)
        frozen.send_signal(signal.SIGSTOP)
        until(lambda: gone(path))
        frozen.send_signal(signal.SIGCONT)
        said, _ = frozen.communicate(timeout=60)
    assert said.startswith("Crashed(")
    assert "WorkerLost" in said
    assert "its worker was frozen for" in said


def test_a_program_dies_with_its_guard_and_the_ending_says_so(tmp_path: Path, until: Until):
    path, leader = tmp_path / "pids", tmp_path / "leader"

    async def main() -> RunResult:
        async with running(shell(f"echo $$ > {leader}; {escape(path)}{SLEEP}")) as (_, task):
            await eventually(path.exists)
            [pid] = pids(leader)
            os.kill(parent(pid), signal.SIGKILL)
            return await task

    ending = asyncio.run(main())
    assert isinstance(ending, Failed)
    assert ending.error.type == "GuardLost"
    until(lambda: gone(path, leader))


def test_a_killed_idle_guard_is_replaced():
    sink = RecordingSink()

    async def main() -> None:
        async with running(shell("echo $PPID", sink=sink)) as (runner, task):
            await task
            os.kill(int(sink.text()), signal.SIGKILL)
            assert value(await runner.run(command("true"))) == {"exit_code": 0}

    asyncio.run(main())


def test_a_killed_spawner_is_replaced_and_running_programs_continue(tmp_path: Path):
    path, leader, end = (tmp_path / name for name in ("pids", "leader", "end"))
    script = f"echo $$ > {leader}; {escape(path)}; while ! [ -e {end} ]; do sleep 0.01; done"

    async def main() -> None:
        async with running(shell(script)) as (runner, task):
            await eventually(path.exists)
            [pid] = pids(leader)
            os.kill(parent(parent(pid)), signal.SIGKILL)
            for _ in range(3):
                assert value(await runner.run(command("true"))) == {"exit_code": 0}
            assert not gone(leader)
            end.touch()
            assert value(await task) == {"exit_code": 0}

    asyncio.run(main())
    assert gone(path)


def test_every_exit_code_is_reported_correctly():
    codes = list(range(0, 256, 5))
    jobs = [shell(f"exit {code}", ok_exit_codes=range(256), id=str(code)) for code in codes]
    found = [value(ending)["exit_code"] for ending in run_jobs(CommandRunner, *jobs)]
    assert found == codes


def test_a_program_inherits_three_descriptors_and_no_blocked_or_ignored_signal():
    sink, listed = RecordingSink(), RecordingSink()
    status = command("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status", sink=sink)
    files = command(
        sys.executable, "-c", "import os; print(os.listdir('/proc/self/fd'))", sink=listed
    )
    run_jobs(CommandRunner, status, files)
    blocked, ignored = (int(line.split()[1], 16) for line in sink.text().splitlines())
    # Two belong to the C library, which lets nobody change them.
    assert (blocked, ignored & ~(3 << 31)) == (0, 0)
    # The fourth is what lists them.
    assert listed.text() == "['0', '1', '2', '3']\n"


def test_an_application_without_standard_streams_runs_commands_and_process_jobs(tmp_path: Path):
    told = tmp_path / "told"
    # A store in memory: SQLite would open /dev/null for each closed stream.
    (tmp_path / "application.py").write_text(
        "from pathlib import Path\n"
        "from conveyor import Conveyor\n"
        "belt = Conveyor('memory:')\n"
        "@belt.task(run='process')\n"
        "def pure() -> int:\n"
        "    print('printed')\n"
        "    return 7\n"
        "if __name__ == '__main__':\n"
        "    printing = belt.command('sh', '-c', 'readlink /proc/$PPID/fd/2; echo err >&2')\n"
        "    jobs = [pure.enqueue(), printing.enqueue()]\n"
        f"    belt.work(timeout={LONG})\n"
        "    ended = [(job.result(0), sorted(job.logs().split())) for job in jobs]\n"
        f"    Path({str(told)!r}).write_text(repr(ended))\n"
    )
    program = [sys.executable, str(tmp_path / "application.py")]
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *program]
    assert subprocess.run(closed, timeout=2 * LONG, check=False).returncode == 0
    # Nothing else of the guard is its descriptor 2, to which a dying interpreter writes.
    expected = [(7, ["printed"]), ({"exit_code": 0}, ["/dev/null", "err"])]
    assert told.read_text() == repr(expected)


def test_a_large_environment_arrives_complete():
    sink = RecordingSink()
    env = {f"NAME{number}": "x" * 100_000 for number in range(10)}
    run_jobs(CommandRunner, shell("env | grep ^NAME | wc -c", env=env, sink=sink))
    assert int(sink.text()) == 10 * 100_007


def test_an_invalid_name_of_an_environment_variable_is_a_permanent_error():
    made = command("true")
    # The client refuses such a name; other clients may not.
    args = msgspec.json.encode(Command(argv=("true",), env={"A=B": "x"}))
    made.job = msgspec.structs.replace(made.job, args=args)
    [ending] = run_jobs(CommandRunner, made)
    assert isinstance(ending, Failed)
    assert not ending.retry


def stopped_by(control: JobControl, path: Path, *requests: StopRequest) -> RunResult:
    async def main() -> RunResult:
        async with running(control) as (_, task):
            await eventually(path.exists)
            for request in requests:
                control.stop(request)
                await eventually(lambda: control.notes)
            return await task

    return asyncio.run(main())


def test_a_stop_without_grace_kills_at_once(tmp_path: Path):
    path = tmp_path / "pids"
    ending = stopped_by(shell(escape(path) + SLEEP), path, StopRequest("cancel", "now", grace=0))
    assert isinstance(ending, Stopped)
    [note] = ending.notes
    assert note.startswith("SIGKILL to ")
    assert note.endswith(" immediately")
    assert gone(path)


def test_a_second_stop_shortens_the_grace_of_the_first(tmp_path: Path):
    path = tmp_path / "pids"
    sink = RecordingSink()
    control = shell(f"trap '' TERM; {escape(path)}; while true; do sleep 300; done", grace=300)
    control.sink = sink
    first, second = StopRequest("cancel", "please"), StopRequest("shutdown", "now", grace=0)
    ending = stopped_by(control, path, first, second)
    assert isinstance(ending, Stopped)
    assert len(ending.notes) == 2
    assert ending.notes[1].startswith("SIGKILL to ")
    assert list(ending.notes) == sink.stop_notes == [each.text for each in control.notes]
    assert control.stop_request == StopRequest("cancel", "please", grace=0)
    assert gone(path)


def test_a_chain_of_forks_whose_parents_exit_at_once_is_killed(tmp_path: Path):
    path = tmp_path / "pids"
    code = (
        "import os, pathlib, time\n"
        f"pathlib.Path({str(path)!r}).write_text('1')\n"
        "while True:\n"
        "    if os.fork(): os._exit(0)\n"
        "    os.setsid()\n"
    )
    sink = RecordingSink()

    async def main() -> None:
        script = f'{sys.executable} -c "$1"; exec sleep 300'
        control = shell(script, code, sink=sink, grace=0.2)
        async with running(control) as (_, task):
            await eventually(path.exists)
            control.stop(CANCEL)
            assert isinstance(await task, Stopped)
            assert "held" not in str(control.notes)

    asyncio.run(main())


def test_a_process_job_has_its_id_in_the_environment_and_the_next_job_has_its_own():
    sink: list[str] = []
    control = process(job_functions.environment)
    control.on_begin = lambda: sink.append("begun")
    [ending] = run_jobs(lambda: ProcessRunner(1), control)
    assert value(ending) == ["job", "2", "7"]
    assert sink == ["begun"]


def test_a_stop_just_as_the_program_starts_is_not_lost():
    async def main() -> list[RunResult]:
        runner = CommandRunner()
        ended: list[RunResult] = []
        async with asyncio.timeout(60):
            for _ in range(150):
                control = command("sleep", "300", grace=300)
                running = asyncio.create_task(runner.run(control))
                await asyncio.sleep(0)  # it is on its way to its guard
                control.stop(CANCEL)
                ended.append(await running)
        await runner.close()
        return ended

    assert all(isinstance(ending, Stopped) for ending in asyncio.run(main()))
