"""Shell completion: of commands, and of what the store holds, without making one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from shell import Command

from conveyor import Conveyor
from conveyor.cli.main import cli


def complete(*args: str) -> list[str]:
    """Return what the last argument can be completed to."""
    found = ShellComplete(cli, {}, "conveyor", "_CONVEYOR_COMPLETE")
    return [item.value for item in found.get_completions(list(args[:-1]), args[-1])]


def test_ids_are_completed_with_the_newest_jobs_that_the_command_can_change(
    belt: Conveyor,
) -> None:
    send = belt.functions["send"]
    done = send.enqueue("ann")
    belt.work(queues=["mail"], timeout=30, keep=False)
    waiting = send.enqueue("bob")
    for command in ("show", "why", "logs", "artifacts", "wait"):
        assert complete(command, "") == [waiting.id, done.id]
    assert complete("cancel", "") == [waiting.id]
    assert complete("retry", "") == complete("delete", "") == [done.id]
    assert complete("wait", done.id, "") == [waiting.id]
    # The end of an id, which `ps` shows, is completed to the whole id.
    assert complete("show", done.id[-6:]) == [done.id]
    assert complete("show", "none") == []


def test_names_of_queues_tasks_states_and_schedules_are_completed(belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    belt.functions["tiny"].enqueue()
    belt.work(timeout=30, keep=False)
    for command in ("ps", "cancel", "retry", "delete", "exec", "enqueue", "worker", "agent"):
        assert complete(command, "--queue", "") == ["mail", "small"]
        assert complete(command, "-q", "sm") == ["small"]
    assert complete("token", "create", "-q", "") == ["mail", "small"]
    assert complete("queues", "pause", "") == ["mail", "small"]
    assert complete("ps", "--task", "") == ["send", "tiny"]
    assert complete("enqueue", "se") == ["send"]
    assert complete("ps", "--state", "c") == ["completed", "cancelled"]
    assert complete("schedules", "pause", "") == ["nightly"]


def test_a_running_worker_is_completed(
    belt: Conveyor, until: Callable[[Callable[[], object]], None]
) -> None:
    worker = belt.start(queues=["mail"], keep=False)
    try:
        until(lambda: belt.store.workers().result())
        assert complete("workers", "drain", "") == [worker.id]
    finally:
        assert belt.stop()


def test_completion_reads_the_store_that_the_line_names(folder: Path) -> None:
    other = Conveyor(folder / "other.db")
    job = other.send("elsewhere")
    other.close()
    assert complete("show", "--url", "other.db", "") == [job.id]


@pytest.mark.parametrize("url", ["jobs.db", "sqlite:///jobs.db?durability=normal", "memory:", "?:"])
def test_where_there_is_no_store_nothing_is_completed_and_none_is_made(
    folder: Path, url: str
) -> None:
    assert complete("show", "--url", url, "") == []
    assert sorted(path.name for path in folder.iterdir()) == ["app.py"]


def test_a_store_that_cannot_be_read_completes_nothing_and_prints_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "jobs.db").write_text("a shopping list\n" * 500)
    (folder / "conveyor.toml").write_text("color = 1\n")
    assert complete("ps", "-q", "") == []
    (folder / "conveyor.toml").unlink()
    assert complete("ps", "-q", "") == []
    assert complete("show", "--url", "http://127.0.0.1:1", "") == []
    assert capsys.readouterr() == ("", "")


def test_what_the_application_prints_while_it_is_imported_is_no_completion(
    folder: Path, belt: Conveyor, capsys: pytest.CaptureFixture[str]
) -> None:
    job = belt.functions["send"].enqueue("ann")
    loud = "import sys\nprint('hello')\nprint('hello', file=sys.stderr)\n"
    (folder / "app.py").write_text(loud + (folder / "app.py").read_text())
    (folder / "conveyor.toml").write_text('app = "app:belt"\n')
    assert complete("show", "") == [job.id]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_code_for_the_shell(conveyor: Command, shell: str) -> None:
    ran = conveyor("completion", shell)
    assert ran.code == 0
    assert "_CONVEYOR_COMPLETE" in ran.out
