"""What the flags about commands do, on workers that are really started."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest
from shell import Command

from conveyor import Conveyor
from conveyor.core.job import State

Start = Callable[..., subprocess.Popen[str]]
Until = Callable[[Callable[[], object]], None]


def serve(start: Start, belt: Conveyor, until: Until, *flags: str) -> None:
    start("worker", "app:belt", *flags)
    until(lambda: belt.store.workers().result())


def test_commands_keep_to_the_flags_of_their_worker(
    start: Start, belt: Conveyor, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PROXY", "kept")
    flags = ["--clean-env", "--keep-env", "PROXY", "--limit", "open=99", "--limit", "cpu=10m"]
    serve(start, belt, until, *flags, "--run-as", str(os.geteuid()))
    script = "echo $AWS_SECRET_ACCESS_KEY $PROXY $(ulimit -n) $(ulimit -t); id -u"
    job = belt.command("sh", "-c", script).enqueue()
    job.result(60)
    assert job.logs() == f"kept 99 600\n{os.geteuid()}\n"


def test_a_worker_without_commands_says_so_and_exec_runs_its_command_itself(
    start: Start, belt: Conveyor, until: Until, conveyor: Command
) -> None:
    serve(start, belt, until, "--no-commands")
    job = belt.command("true").enqueue()
    why = conveyor("why", job.id).out
    assert "No worker of queue 'default' is allowed to run commands" in why
    assert job.refresh().state is State.AVAILABLE
    job.cancel()
    ran = conveyor("exec", "--queue", "default", "--", "echo", "here")
    assert (ran.code, ran.out) == (0, "here\n")


def test_a_command_that_is_enqueued_by_its_name_requires_the_label_too(
    conveyor: Command, belt: Conveyor
) -> None:
    ran = conveyor("enqueue", "conveyor.command", "--args", '{"argv": ["true"]}')
    job = belt.job(ran.out.strip())
    assert job.record.options.requires == ("commands",)


def test_exec_ends_as_a_command_does_that_met_a_limit(
    start: Start, belt: Conveyor, until: Until, conveyor: Command
) -> None:
    serve(start, belt, until, "--limit", "cpu=1")
    ran = conveyor("exec", "--queue", "default", "--", "sh", "-c", "while :; do :; done")
    assert ran.code == 128 + 24
    assert "limit cpu" in ran.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--no-commands", "--limit", "cpu=1m"],
            "--limit applies to commands, which are not allowed",
        ),
        (["--keep-env", "PROXY"], "--keep-env requires --clean-env"),
        (["--limit", "disk=1G"], "unknown limit 'disk=1G': choose from memory=2G"),
        (["--run-as", "no-such-user-here"], "this machine has no such user"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused_at_the_start(
    conveyor: Command, flags: list[str], said: str
) -> None:
    ran = conveyor("worker", "app:belt", *flags)
    assert ran.code == 2
    assert said in ran.err
