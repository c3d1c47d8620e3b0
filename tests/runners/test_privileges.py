"""What commands may do on a worker, with real ones: another user, a clean environment, limits."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import job_functions
import pytest
from runner_helpers import (
    CANCEL,
    RecordingSink,
    command,
    eventually,
    is_alive,
    process,
    run_jobs,
    shell,
    value,
)

from conveyor import UsageError
from conveyor.core.command_policy import CommandRules
from conveyor.core.lifecycle import Failed
from conveyor.runners.command import CommandRunner
from conveyor.runners.guard_pool import GuardPool
from conveyor.runners.guarded_process import GuardedProcess
from conveyor.runners.job_control import JobControl, RunResult, Stopped
from conveyor.runners.privileges import Privileges, resolve_privileges
from conveyor.runners.process import ProcessRunner

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run commands as another user")
NOBODY = CommandRules(user="nobody")


def run(rules: CommandRules, control: JobControl) -> RunResult:
    [ending] = run_jobs(lambda: CommandRunner(rules=rules), control)
    return ending


def said(rules: CommandRules, script: str, **how: object) -> str:
    sink = RecordingSink()
    assert value(run(rules, shell(script, sink=sink, **how))) == {"exit_code": 0}
    return sink.text()


@pytest.fixture
def shared() -> Generator[Path]:
    """Return a folder that everybody can look into, and only root write to."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@root
def test_a_command_runs_as_another_user_with_all_groups_of_that_user():
    ids = subprocess.run(["id", "nobody"], capture_output=True, text=True, check=True).stdout
    assert said(NOBODY, "id") == ids


@root
def test_another_user_can_be_given_by_number():
    number = subprocess.run(["id", "-u", "nobody"], capture_output=True, text=True, check=True)
    assert said(CommandRules(user=number.stdout.strip()), "id -un") == "nobody\n"


@root
def test_the_environment_is_the_users_and_not_the_workers():
    assert said(NOBODY, "echo $USER $LOGNAME; pwd") == "nobody nobody\n/\n"


@root
def test_another_user_cannot_read_files_of_the_worker(shared: Path):
    secret = shared / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    assert said(CommandRules(), f"cat {secret}") == "secret"
    ending = run(NOBODY, shell(f"cat {secret}"))
    assert isinstance(ending, Failed)
    assert "Permission denied" in ending.error.traceback


@root
def test_no_setuid_program_makes_another_user_root(shared: Path):
    program = shared / "id"
    shutil.copy(str(shutil.which("id")), program)
    program.chmod(0o4755)
    plain = subprocess.run([program, "-u"], user="nobody", capture_output=True, check=True)
    if plain.stdout != b"0\n":
        pytest.skip("programs here are never setuid, so there is nothing to prevent")
    assert said(NOBODY, f"{program} -u") == said(NOBODY, "id -u") != "0\n"


@root
def test_another_user_has_no_capabilities_left():
    text = said(NOBODY, "grep -E 'Cap(Prm|Eff|Amb)|NoNewPrivs' /proc/self/status")
    assert [int(line.split()[1], 16) for line in text.splitlines()] == [0, 0, 0, 1]


@root
def test_another_user_can_open_its_own_output():
    assert said(NOBODY, "echo once more > /dev/stdout") == "once more\n"


@root
def test_the_whole_process_tree_of_another_user_is_stopped():
    sink = RecordingSink()
    # Deaf to SIGTERM, and one of them in a session of its own.
    script = "trap '' TERM; setsid sleep 300 & echo $!; echo $$; wait; sleep 300"

    async def main() -> None:
        runner = CommandRunner(rules=NOBODY)
        control = shell(script, sink=sink, grace=0.1)
        running = asyncio.create_task(runner.run(control))
        await eventually(lambda: len(sink.text().split()) == 2)
        pids = [int(pid) for pid in sink.text().split()]
        owners = {os.stat(f"/proc/{pid}").st_uid for pid in pids}
        assert 0 not in owners
        control.stop(CANCEL)
        assert isinstance(await running, Stopped)
        assert not any(map(is_alive, pids))
        await runner.close()

    asyncio.run(main())


@root
def test_a_directory_that_the_user_cannot_enter_is_an_error_that_says_so(tmp_path: Path):
    tmp_path.chmod(0o700)
    ending = run(NOBODY, command("true", cwd=tmp_path))
    assert isinstance(ending, Failed)
    assert ending.error.type == "CommandNotStarted"
    assert f"Permission denied: '{tmp_path}'" in ending.error.message


@root
def test_only_root_can_run_commands_as_another_user():
    os.seteuid(65534)
    try:
        with pytest.raises(UsageError, match="only root can; start the worker as"):
            resolve_privileges(CommandRules(user="root"))
    finally:
        os.seteuid(0)


def test_the_user_can_be_the_workers_own():
    rules = CommandRules(user=str(os.geteuid()))
    text = said(rules, "id -u; grep NoNewPrivs /proc/self/status")
    assert text.split() == [str(os.geteuid()), "NoNewPrivs:", "1"]


def test_a_program_that_cannot_change_its_user_is_not_started(tmp_path: Path):
    path = tmp_path / "ran"
    nobody_at_all = Privileges(name="ghost", user=(2**32 - 1, 2**32 - 1))

    async def main() -> OSError | None:
        guards = GuardPool()
        argv = ["touch", str(path)]
        spawned = GuardedProcess(guards, argv, lambda *_: None, privileges=nobody_at_all)
        error = await spawned.started
        await spawned.gone
        await spawned.close()
        await guards.close()
        return error

    error = asyncio.run(main())
    assert isinstance(error, OSError)
    assert error.filename == "user ghost"
    assert not path.exists()


def test_a_clean_environment_shows_no_secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PROXY", "kept")
    text = said(CommandRules(clean_env=True, keep_env=("PROXY",)), "env", env={"GIVEN": "x"})
    assert "secret" not in text
    assert {"PROXY=kept", "GIVEN=x", "CONVEYOR_JOB_ID=job"} <= set(text.splitlines())


def test_the_workers_token_is_in_no_environment_of_its_jobs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CONVEYOR_TOKEN", "secret")
    # Neither in its own, nor in that of the guard above it.
    script = "cat /proc/self/environ /proc/$PPID/environ | tr '\\0' '\\n'"
    assert "CONVEYOR_TOKEN" not in said(CommandRules(), script)
    found = process(job_functions.run_script, 'test -z "$CONVEYOR_TOKEN"')
    assert value(run_jobs(lambda: ProcessRunner(1), found)[0]) == 0


def test_a_program_gets_the_limits_it_is_given_and_dumps_no_core():
    rules = CommandRules(memory=1 << 30, cpu=60, file_size=1 << 20, processes=5000, open_files=100)
    lines = said(rules, "cat /proc/self/limits").splitlines()
    found = {line[:26].strip(): tuple(line[26:].split()[:2]) for line in lines}
    assert found["Max address space"] == ("1073741824", "1073741824")
    assert found["Max cpu time"] == ("60", "65")
    assert found["Max file size"] == ("1048576", "1048576")
    assert found["Max processes"] == ("5000", "5000")
    assert found["Max open files"] == ("100", "100")
    assert found["Max core file size"] == ("0", "0")


def test_a_limit_never_exceeds_the_workers_own():
    own = said(CommandRules(), "ulimit -H -n")
    assert said(CommandRules(open_files=1 << 40), "ulimit -H -n") == own


def test_a_program_that_exceeds_its_memory_limit_fails():
    script = "head -c 200000000 /dev/zero | tail"
    ending = run(CommandRules(memory=64 << 20), shell(script))
    assert isinstance(ending, Failed)
    assert "memory" in ending.error.traceback


def test_a_program_that_exceeds_its_cpu_limit_is_killed_and_the_error_says_why():
    ending = run(CommandRules(cpu=1), shell("while :; do :; done"))
    assert isinstance(ending, Failed)
    assert "was killed by SIGXCPU: it exceeded its CPU time" in ending.error.message


def test_a_program_that_exceeds_its_file_size_limit_is_killed_and_the_error_says_why(
    tmp_path: Path,
):
    argv = ["dd", "if=/dev/zero", f"of={tmp_path / 'file'}", "bs=4096", "count=4"]
    ending = run(CommandRules(file_size=8192), command(*argv))
    assert isinstance(ending, Failed)
    assert "was killed by SIGXFSZ: it exceeded the maximum file size" in ending.error.message


def test_a_worker_that_allows_no_commands_refuses_them(tmp_path: Path):
    path = tmp_path / "ran"
    ending = run(CommandRules(allowed=False), command("touch", str(path)))
    assert isinstance(ending, Failed)
    assert (ending.error.type, ending.retry) == ("CommandNotAllowed", False)
    assert not path.exists()
