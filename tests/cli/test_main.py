"""What all commands have in common: help, exit codes, output on a terminal and elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from shell import Command

from conveyor import Conveyor
from conveyor.cli.main import COMMANDS, cli


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
    belt.queue("[red]x").pause()
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "conveyor", "queues"]
    wide = os.environ | {"COLUMNS": "200"}
    subprocess.run(command, cwd=folder, stdout=theirs, env=wide, timeout=60, check=True)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "[red]x" in shown


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
