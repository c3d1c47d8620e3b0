"""Faults of the machine before a job's code has begun are told from faults of the job."""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import resource
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import job_functions
import pytest
from runner_helpers import RecordingSink, call, command, process, run_jobs, value

from conveyor.core.lifecycle import Failed
from conveyor.runners.command import CommandRunner
from conveyor.runners.guard.processes import children
from conveyor.runners.guard_pool import GuardPool
from conveyor.runners.guarded_process import GuardedProcess
from conveyor.runners.job_control import JobControl, Runner
from conveyor.runners.machine_fault import MachineError, MachineFault, machine_fault
from conveyor.runners.process import ProcessRunner
from conveyor.runners.thread import ThreadRunner
from conveyor.runners.workdir import WorkdirRoot

RUNNERS: dict[str, tuple[Callable[[], Runner], Callable[[], JobControl]]] = {
    "command": (CommandRunner, lambda: command("true")),
    "process": (lambda: ProcessRunner(1), lambda: process(job_functions.double, 2)),
}


@contextmanager
def no_descriptors() -> Generator[None]:
    """Let this process open no further file."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as next_free:
        number = next_free.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("kind", RUNNERS)
def test_no_descriptor_is_a_fault_of_the_machine_until_there_are_some(kind: str) -> None:
    make, job = RUNNERS[kind]

    async def main() -> None:
        runner = make()
        try:
            with no_descriptors():
                result = await runner.run(job())
                assert isinstance(result, MachineFault)
                assert "Too many open files" in result.reason
                assert isinstance(await runner.probe(), MachineFault)
            assert await runner.probe() is None
            assert not isinstance(await runner.run(job()), MachineFault | Failed)
        finally:
            await runner.close()

    asyncio.run(main())


@pytest.mark.parametrize("kind", RUNNERS)
def test_a_deleted_working_directory_is_a_fault_until_its_path_exists_again(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, job = RUNNERS[kind]
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    async def main() -> None:
        runner = make()
        try:
            here.rmdir()
            result = await runner.run(job())
            assert isinstance(result, MachineFault)
            assert str(here) in result.reason
            assert isinstance(await runner.probe(), MachineFault)
            here.mkdir()
            assert await runner.probe() is None
            assert not isinstance(await runner.run(job()), MachineFault | Failed)
        finally:
            await runner.close()

    asyncio.run(main())


def test_a_command_with_a_directory_of_its_own_runs_without_that_of_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    [absolute, relative] = run_jobs(
        CommandRunner, command("true", cwd=str(tmp_path)), command("true", cwd="below")
    )
    assert value(absolute) == {"exit_code": 0}
    assert isinstance(relative, MachineFault)


@pytest.mark.parametrize("kind", RUNNERS)
def test_an_interpreter_that_is_gone_is_a_fault_of_the_machine(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, job = RUNNERS[kind]
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    [result] = run_jobs(make, job())
    assert isinstance(result, MachineFault)


def test_a_child_that_dies_before_it_can_run_jobs_is_a_fault_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os.write(2, b'no more\\n'); os._exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def main() -> None:
        runner = ProcessRunner(1)
        try:
            result = await runner.run(process(job_functions.double, 2))
            assert result == MachineFault("a child process could not start: no more")
            assert await runner.probe() == result
        finally:
            await runner.close()

    asyncio.run(main())


def import_function(
    folder: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> tuple[Path, Callable[[], int]]:
    """Write a module and import it; return its path and its function."""
    source = folder / f"{module}.py"
    source.write_text("def one():\n    return 1\n")
    monkeypatch.syspath_prepend(str(folder))
    return source, importlib.import_module(module).one


def test_a_function_whose_file_is_gone_is_a_fault_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, one = import_function(tmp_path, monkeypatch, "module_that_goes")
    control = process(one)
    source.unlink()
    for each in tmp_path.rglob("*.pyc"):
        each.unlink()
    [result] = run_jobs(lambda: ProcessRunner(1), control)
    assert isinstance(result, MachineFault)
    assert str(source) in result.reason


def test_an_import_that_meets_a_full_disk_is_a_fault_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, one = import_function(tmp_path, monkeypatch, "module_that_writes")
    control = process(one)
    source.write_text("raise OSError(28, 'No space left on device')\n")
    for each in tmp_path.rglob("*.pyc"):
        each.unlink()
    [result] = run_jobs(lambda: ProcessRunner(1), control)
    assert result == MachineFault("[Errno 28] No space left on device")


def test_an_import_that_fails_in_a_child_names_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, one = import_function(tmp_path, monkeypatch, "module_with_a_secret")
    control = process(one)
    source.write_text("import os\nSECRET = os.environ['SHOP_SECRET']\n\ndef one():\n    return 1\n")
    [result] = run_jobs(lambda: ProcessRunner(1), control)
    assert isinstance(result, Failed)
    assert f"KeyError: 'SHOP_SECRET' ({source}, line 2)" in result.error.message


@pytest.mark.parametrize(
    "name",
    [
        "queue",
        "token",
        "secrets",
        "random",
        "uuid",
        "socket",
        "ssl",
        "platform",
        "msgspec",
        "calendar",
    ],
)
def test_no_file_of_the_application_replaces_a_module_that_a_child_needs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = tmp_path / f"{name}.py"
    application = tmp_path / "module_beside.py"
    application.write_text("from conveyor import Conveyor\ndef one():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("module_beside")
    beside.write_text("raise RuntimeError('a module of the application')\n")
    [result] = run_jobs(lambda: ProcessRunner(1), process(module.one))
    del sys.modules["module_beside"]
    assert value(result) == 1


def test_a_child_imports_what_the_application_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "colorsys.py").write_text("MINE = 1\n")  # one of the standard library, too
    (tmp_path / "module_of_mine.py").write_text(
        "def one():\n    import colorsys\n    return colorsys.MINE\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    control = process(importlib.import_module("module_of_mine").one)
    [result] = run_jobs(lambda: ProcessRunner(1), control)
    assert value(result) == 1


@pytest.mark.parametrize(
    ("step", "cwd", "is_fault"),
    [
        ("start", None, True),
        ("user", None, True),
        ("limits", None, True),
        ("chdir", None, True),
        ("chdir", "/given", False),
        ("exec", None, False),
    ],
)
def test_only_the_program_and_a_given_directory_can_be_the_fault_of_a_job(
    step: str, cwd: str | None, is_fault: bool
) -> None:
    async def main() -> None:
        guards = GuardPool()
        process = GuardedProcess(guards, ["true"], lambda _stream, _data: None, cwd=cwd)
        process._on_event("failed", [step, str(errno.EACCES)])
        assert (machine_fault(process.started.result()) is not None) == is_fault
        await process.close()
        await guards.close()

    asyncio.run(main())


def test_a_guard_without_room_for_descriptors_is_replaced() -> None:
    async def main() -> None:
        guards = GuardPool()
        runner = CommandRunner(guards=guards)
        value(await runner.run(command("true")))
        [spawner] = guards._pids
        [guard] = children(spawner)
        used = {int(name) for name in os.listdir(f"/proc/{guard}/fd")}
        free = next(number for number in range(len(used) + 1) if number not in used)
        resource.prlimit(guard, resource.RLIMIT_NOFILE, (free + 1, free + 1))
        sink = RecordingSink()
        value(await runner.run(command("sh", "-c", "echo out; echo err >&2", sink=sink)))
        assert (sink.text(), sink.text("stderr")) == ("out\n", "err\n")
        await guards.close()

    asyncio.run(main())


def test_a_program_or_a_directory_that_is_missing_is_the_fault_of_the_job(tmp_path: Path) -> None:
    results = run_jobs(
        CommandRunner, command("no-such-program"), command("true", cwd=str(tmp_path / "none"))
    )
    assert all(isinstance(each, Failed) and not each.retry for each in results)


def test_what_the_job_itself_raises_is_never_a_fault_of_the_machine() -> None:
    [result] = run_jobs(lambda: ProcessRunner(1), process(job_functions.raise_full_disk))
    assert isinstance(result, Failed)


@pytest.mark.parametrize(
    ("error", "is_fault"),
    [
        *[
            (OSError(number, "of the machine"), True)
            for number in (
                errno.EAGAIN,
                errno.EDQUOT,
                errno.EIO,
                errno.EMFILE,
                errno.ENFILE,
                errno.ENOMEM,
                errno.ENOSPC,
                errno.EROFS,
                errno.ESTALE,
            )
        ],
        (OSError(errno.ENOENT, "none"), False),
        (OSError(errno.EACCES, "denied"), False),
        (MachineError(errno.ENOENT, "none"), True),
        (MemoryError(), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("another"), False),
        (None, False),
    ],
)
def test_an_error_is_a_fault_by_what_it_is(error: BaseException | None, is_fault: bool) -> None:
    found = machine_fault(error)
    assert (found is not None) == is_fault
    assert found is None or found.reason


def test_a_folder_for_jobs_that_cannot_be_written_to_is_found_by_its_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    root = WorkdirRoot()
    assert isinstance(root.probe(), MachineFault)
    (tmp_path / "file").unlink()
    (tmp_path / "file").mkdir()
    assert root.probe() is None
    root.close()


def test_a_thread_that_cannot_start_is_a_fault_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        runner = ThreadRunner(2)
        with monkeypatch.context() as patch:
            for name in ("_start_new_thread", "_start_joinable_thread"):
                patch.setattr(threading, name, refuse, raising=False)
            assert isinstance(await runner.run(call(job_functions.double, 2)), MachineFault)
            assert isinstance(await runner.probe(), MachineFault)
        assert await runner.probe() is None
        assert value(await runner.run(call(job_functions.double, 2))) == 4
        await runner.close()

    asyncio.run(main())
