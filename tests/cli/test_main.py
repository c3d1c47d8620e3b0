"""What all commands have in common: help, exit codes, output on a terminal and elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import click
import pytest
from shell import Command

from conveyor import Conveyor
from conveyor.cli.main import COMMANDS, cli
from conveyor.cli.shared.output import print_stderr, print_traceback
from conveyor.store.sqlite.store import SqliteStore


def test_help_lists_every_command_and_loads_no_driver_and_no_loop() -> None:
    script = (
        "import json, sys\n"
        "from conveyor.cli.main import run\n"
        "run(['--help'])\n"
        "print(json.dumps(sorted({'asyncio', 'apsw', 'rich', 'msgspec'} & sys.modules.keys())))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    *text, loaded = ran.stdout.splitlines()
    assert json.loads(loaded) == []
    for command in ("run", "worker", "exec", "why", "doctor", "completion"):
        assert any(line.split()[:1] == [command] for line in text)


def test_q_is_the_queue_wherever_there_is_one() -> None:
    with click.Context(cli) as above:
        options = {
            f"{command.name}: {parameter.opts}": set(parameter.opts)
            for command in every_command(above)
            for parameter in command.params
        }
    assert [each for each, opts in options.items() if ("-q" in opts) != ("--queue" in opts)] == []
    assert sum("-q" in opts for opts in options.values()) >= 9


def every_command(above: click.Context) -> Iterator[click.Command]:
    for name in COMMANDS:
        command = cli.get_command(above, name)
        assert command is not None
        yield command
        if isinstance(command, click.Group):
            yield from command.commands.values()


def test_a_wrong_option_ends_with_2_and_says_which(conveyor: Command) -> None:
    ran = conveyor("ps", "--colour", "red")
    assert ran.code == 2
    assert "--colour" in ran.err


@pytest.mark.parametrize("command", ["show", "why", "logs", "wait", "cancel", "retry"])
def test_a_job_that_is_not_there_ends_with_3(
    conveyor: Command, belt: Conveyor, command: str
) -> None:
    assert belt.jobs() == []
    ran = conveyor(command, "0190-no-such-job")
    assert ran.code == 3
    assert "job '0190-no-such-job' not found" in ran.err
    assert not ran.out


@pytest.mark.parametrize("command", ["ps", "queues", "workers", "schedules", "doctor"])
def test_a_file_that_is_no_store_ends_with_4(conveyor: Command, folder: Path, command: str) -> None:
    (folder / "jobs.db").write_text("a shopping list\n" * 500)
    ran = conveyor(command)
    assert ran.code == 4
    assert "is not a SQLite database" in ran.out + ran.err


def test_a_folder_that_is_not_there_ends_with_4(conveyor: Command) -> None:
    ran = conveyor("ps", "--url", "no/such/jobs.db")
    assert ran.code == 4
    assert "no/such" in ran.err


def test_nothing_is_coloured_where_there_is_no_terminal(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    for args in (["ps"], ["queues"], ["doctor"], ["--help"]):
        assert "\x1b[" not in conveyor(*args).out


def test_a_name_in_brackets_is_shown_as_it_is_on_a_terminal(belt: Conveyor, folder: Path) -> None:
    belt.queue("[red]x\x1b]0;title\a").pause()
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "conveyor", "queues"]
    wide = os.environ | {"COLUMNS": "200"}
    subprocess.run(command, cwd=folder, stdout=theirs, env=wide, timeout=60, check=True)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "[red]x\\x1b]0;title\\x07" in shown


def test_without_a_command_the_help_is_shown_as_wrong_use(conveyor: Command) -> None:
    ran = conveyor()
    assert ran.code == 2
    assert "doctor" in ran.err


def _buffered() -> dict[str, str]:
    """Return an environment in which Python keeps what it could not write, and tries again."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def test_a_stderr_without_a_reader_keeps_the_exit_code(belt: Conveyor, folder: Path) -> None:
    assert belt.store.counts().result() == []
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "conveyor", "show", "nothere"]
    ran = subprocess.run(
        command, cwd=folder, env=_buffered(), stderr=writing, timeout=60, check=False
    )
    os.close(writing)
    assert ran.returncode == 3


@pytest.mark.parametrize("path", ["/dev/full", os.devnull])
def test_a_message_that_stderr_does_not_take_is_no_error(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    stream = open(path, "w")  # noqa: SIM115 - closed below, or by the error
    if path == os.devnull:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    print_stderr("said")
    print_traceback(LookupError())
    with suppress(OSError):
        stream.close()


@pytest.mark.parametrize("args", [["ps"], ["doctor"], ["worker", "app:belt"], ["enqueue", "t"]])
def test_a_deleted_current_directory_is_an_error_of_one_line(
    conveyor: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, args: list[str]
) -> None:
    gone = folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    ran = conveyor(*args)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("conveyor: the current directory was deleted")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["wait"], "missing argument 'JOB_IDS...'; see `conveyor wait --help`"),
        (["ps", "--limit", "0"], "0 is not in the range 1<=x<=1000; see `conveyor ps --help`"),
        (["ps", "--before", "9" * 30], "too big"),
        (["nosuch"], "no such command 'nosuch'; see `conveyor --help`"),
        (["scale", "nosuch"], "no such command 'nosuch'; see `conveyor scale --help`"),
    ],
)
def test_a_wrong_call_has_the_format_of_every_other_error(
    conveyor: Command, folder: Path, args: list[str], said: str
) -> None:
    SqliteStore(folder / "jobs.db").close()
    ran = conveyor(*args)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("conveyor: ")
    assert said in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_an_argument_that_is_not_utf_8_is_refused_by_every_command(
    conveyor: Command, command: str
) -> None:
    ran = conveyor(command, os.fsdecode(b"caf\xe9"))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "conveyor: the argument 'caf\\xe9' is not valid UTF-8\n"


def test_a_setting_that_is_not_utf_8_names_its_variable(
    conveyor: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVEYOR_APP", os.fsdecode(b"caf\xe9"))
    ran = conveyor("ps")
    assert ran.code == 2
    assert "CONVEYOR_APP" in ran.err


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:99999", "http://127.0.0.1:0", "http://[::1", "http://a b", "http://x\n"],
)
def test_an_address_that_no_server_can_have_is_wrong_use(conveyor: Command, url: str) -> None:
    for args in (["ps", "--url", url], ["agent", "--allow-commands", "--server", url]):
        ran = conveyor(*args)
        assert ran.code == 2
        assert "is not the address of a server" in ran.err


def of_closed_or_full(args: list[str], stdout: IO[bytes] | int) -> tuple[int, str]:
    """Run a command with this stdout; return its exit code and what it said on stderr."""
    ran = subprocess.run(
        [sys.executable, "-m", "conveyor", *args],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        env=_buffered(),
    )
    return ran.returncode, ran.stderr


def closed_pipe() -> int:
    """A pipe that nobody reads from the start, whatever fits into it."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.fixture
def quiet(folder: Path) -> list[str]:
    """A command that prints nothing, while its application prints into a buffer."""
    (folder / "conveyor.toml").write_text('app = "loud:belt"\n')
    (folder / "loud.py").write_text("print('hello')\n" + (folder / "app.py").read_text())
    belt = Conveyor("jobs.db")
    job = belt.send("waiting")
    belt.close()
    return ["logs", job.id]


@pytest.mark.parametrize("args", [["ps"], ["--help"], ["ps", "--json"], ["completion", "bash"]])
def test_a_full_disk_under_stdout_is_an_error_in_one_line(folder: Path, args: list[str]) -> None:
    SqliteStore(folder / "jobs.db").close()
    with open("/dev/full", "wb") as full:
        assert of_closed_or_full(args, full) == (1, "conveyor: No space left on device\n")


@pytest.mark.parametrize("args", [["--help"], ["completion", "bash"], ["doctor", "--json"]])
def test_a_reader_that_stops_reading_is_no_error(folder: Path, args: list[str]) -> None:
    writer = closed_pipe()
    assert of_closed_or_full(args, writer) == (0, "")
    os.close(writer)


def test_what_the_application_has_printed_meets_a_full_disk_or_no_reader_no_worse(
    quiet: list[str],
) -> None:
    with open("/dev/full", "wb") as full:
        assert of_closed_or_full(quiet, full) == (1, "conveyor: No space left on device\n")
    writer = closed_pipe()
    assert of_closed_or_full(quiet, writer) == (0, "")
    os.close(writer)


def test_a_terminal_without_utf_8_gets_escapes_instead_of_a_traceback(
    conveyor: Command, belt: Conveyor, really: Command
) -> None:
    job = belt.functions["send"].enqueue("日本")
    ran = really("show", job.id, PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    assert (ran.code, ran.err) == (0, "")
    assert "\\u65e5" in ran.out
