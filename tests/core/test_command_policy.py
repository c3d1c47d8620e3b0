"""The rules for commands: how they are read, what they let through, who may claim commands."""

from __future__ import annotations

import msgspec
import pytest

from conveyor import Conveyor, UsageError
from conveyor.core.command_policy import CommandRules, read_limits
from conveyor.core.explain import explain
from conveyor.core.job import JobRecord, Options, QueueInfo, State, WorkerInfo

NONE = CommandRules(allowed=False)


def test_limits_are_read_as_people_write_them() -> None:
    texts = ["memory=2G", "cpu=10m", "files=1.5MiB", "processes=200", "open=1024"]
    assert read_limits(texts) == {
        "memory": 2 << 30,
        "cpu": 600,
        "file_size": 3 << 19,
        "processes": 200,
        "open_files": 1024,
    }
    assert read_limits(["memory=500000", "cpu=0.2"]) == {"memory": 500_000, "cpu": 1}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["disk=2G"], "unknown limit 'disk=2G': choose from memory=2G"),
        (["memory"], "'memory': a size must be"),
        (
            ["memory=lots"],
            "'memory=lots': a size must be a number of bytes, or like 256M or 2G, got",
        ),
        (["memory=0"], "'memory=0': it must be from 1 to 2**62"),
        (["memory=99999999T"], "it must be from 1 to 2**62"),
        (["cpu=soon"], "'cpu=soon': a duration must be a number of seconds or a string"),
        (["open=-1"], "'open=-1': it must be a whole number, got '-1'"),
        (["open=1", "open=2"], "'open=2': open is given twice"),
    ],
)
def test_a_limit_that_is_none_is_an_error_that_says_why(texts: list[str], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_limits(texts)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory": 0},
        {"open_files": 1 << 63},
        {"user": ""},
        {"keep_env": ("A=B",)},
        {"keep_env": ("CONVEYOR_TOKEN",)},
    ],
)
def test_rules_that_cannot_be_kept_are_an_error(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        CommandRules(**wrong)  # type: ignore[arg-type]


def test_a_clean_environment_holds_what_programs_need_and_what_is_named() -> None:
    worker = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "AWS_SECRET_ACCESS_KEY": "s",
        "PROXY": "p",
        "CONVEYOR_URL": "postgresql://user:password@host/",
    }
    rules = CommandRules(clean_env=True, keep_env=("PROXY", "MISSING"))
    assert rules.passed_on(worker) == {"PATH": "/bin", "LC_ALL": "C", "PROXY": "p"}


def test_secrets_of_conveyor_are_passed_on_to_nobody() -> None:
    worker = {"CONVEYOR_TOKEN": "t", "conveyor_agent_token": "t", "CONVEYOR_DB_PASSWORD": "p"}
    assert CommandRules().passed_on({**worker, "CONVEYOR_LABELS": "x"}) == {"CONVEYOR_LABELS": "x"}


def test_a_worker_without_commands_leaves_them_to_others() -> None:
    belt = Conveyor("memory:")

    @belt.task
    def plain() -> str:
        return "done"

    command, job = belt.command("true").enqueue(), plain.enqueue()
    assert belt.work(commands=NONE) == 1
    assert (command.state, job.state) == (State.AVAILABLE, State.COMPLETED)
    assert belt.work() == 1
    assert command.result(30) == {"exit_code": 0}


def test_a_command_that_requires_other_labels_requires_this_one_too() -> None:
    belt = Conveyor("memory:")
    job = belt.command("true").using(requires=["gpu"]).enqueue()
    assert job.refresh().record.options.requires == ("commands", "gpu")
    gpu = frozenset({"gpu!only"})
    assert belt.work(labels=gpu, commands=NONE) == 0
    assert belt.work(labels=gpu) == 1


def test_a_worker_can_be_for_commands_only() -> None:
    belt = Conveyor("memory:")

    @belt.task
    def plain() -> None: ...

    plain.enqueue()
    belt.command("true").enqueue()
    assert belt.work(labels=frozenset({"commands!only"})) == 1


def test_a_worker_that_knows_nothing_but_commands_takes_nothing_else() -> None:
    belt = Conveyor("memory:")
    other = belt.task(name="other")(print).enqueue()
    command = belt.command("true").enqueue()
    assert belt.work(commands=CommandRules(only=True)) == 1
    assert command.refresh().state is State.COMPLETED
    assert other.refresh().state is State.AVAILABLE


@pytest.mark.parametrize("label", ["commands", "commands!only"])
def test_the_label_of_commands_is_not_for_a_worker_without_them(label: str) -> None:
    with pytest.raises(UsageError, match="leave the label out, or allow commands"):
        Conveyor("memory:").worker(labels=frozenset({label}), commands=NONE)


def test_a_user_that_is_none_is_an_error_at_the_start() -> None:
    rules = CommandRules(user="no-such-user-here")
    with pytest.raises(UsageError, match="'no-such-user-here': this machine has no such user"):
        Conveyor("memory:").worker(commands=rules)


def test_it_is_said_when_nobody_may_run_a_command() -> None:
    job = JobRecord(
        seq=1,
        id="job",
        task="conveyor.command",
        queue="q",
        args=b"{}",
        state=State.AVAILABLE,
        priority=0,
        run_at=0.0,
        enqueued_at=0.0,
        options=Options(requires=("commands",)),
    )
    worker = WorkerInfo(
        id="w",
        host="h",
        boot_id="b",
        pid=1,
        pid_started=1,
        started_at=0.0,
        beat_at=100.0,
        slots=1,
        queues=("q",),
    )
    queue = QueueInfo(name="q", capacity=None, paused=False, counts={})
    said = explain(job, queue=queue, ahead=0, workers=[worker], now=100.0)
    assert said.startswith("No worker of queue 'q' is allowed to run commands: start one without")
    only = msgspec.structs.replace(worker, labels=("commands!only",))
    wants = Options(requires=("commands", "gpu"))
    job = msgspec.structs.replace(job, options=wants)
    said = explain(job, queue=queue, ahead=0, workers=[only], now=100.0)
    assert said == "No worker of queue 'q' has all labels it requires: commands, gpu."
