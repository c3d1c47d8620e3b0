"""What the acting commands do: enqueue, cancel, retry, wait, logs, exec, worker, schedules."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shell import Command

from conveyor import Conveyor, State

Start = Callable[..., "subprocess.Popen[str]"]
Until = Callable[..., None]


def serve(start: Start, *options: str) -> subprocess.Popen[str]:
    """Start a worker and return once it works."""
    worker = start("worker", "app:belt", "-c", "2", *options)
    assert worker.stderr is not None
    assert worker.stderr.readline().startswith("worker ")
    return worker


# -- enqueue ---------------------------------------------------------------------------------------


def test_enqueue_prints_the_id_of_the_new_job(conveyor: Command, belt: Conveyor) -> None:
    ran = conveyor("enqueue", "send", "to=ann", "times=2", "--queue", "mail", "--priority", 5)
    assert ran.code == 0
    record = belt.job(ran.out.strip()).refresh().record
    assert json.loads(record.args) == {"to": "ann", "times": 2}
    assert (record.queue, record.priority) == ("mail", 5)


def test_enqueue_through_the_application_checks_the_call(
    conveyor: Command, really: Command
) -> None:
    ran = really("enqueue", "pack", "--app", "app:belt", "--json")
    assert ran.code == 0
    assert conveyor("show", ran.data["id"], "--json").data["task"] == "shop.pack"
    wrong = really("enqueue", "send", "two=bob", "--app", "app:belt")
    assert wrong.code == 2
    assert "a required argument: 'to'" in wrong.err
    unknown = really("enqueue", "sned", "--app", "app:belt")
    assert unknown.code == 2
    assert "has no task 'sned'" in unknown.err
    assert "send" in unknown.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["to"], "NAME=VALUE"),
        (["--args", "{"], "not JSON"),
        (["--args", "[1]"], "an object"),
        (["to=ann", "--args", "{}"], "not both"),
        (["--delay", "soon"], "soon"),
        (["--retries", "-1"], "retries"),
    ],
)
def test_a_wrong_enqueue_ends_with_2_and_leaves_no_job(
    conveyor: Command, args: list[str], said: str
) -> None:
    ran = conveyor("enqueue", "send", *args)
    assert ran.code == 2
    assert said in ran.err
    assert conveyor("ps", "--json").data == []


def test_a_key_gives_the_job_that_has_it(conveyor: Command) -> None:
    first = conveyor("enqueue", "send", "to=ann", "--key", "k", "--json").data
    again = conveyor("enqueue", "send", "to=ann", "--key", "k", "--json").data
    assert again == {"id": first["id"], "existing": True}


def test_a_full_queue_ends_with_1_after_waiting(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["tiny"].enqueue()
    ran = conveyor("enqueue", "tiny", "--queue", "small", "--wait", "0.05")
    assert ran.code == 1
    assert "1 of 1 places" in ran.err


# -- cancel, retry, wait, logs ---------------------------------------------------------------------


def test_cancel_ends_a_waiting_job_and_refuses_an_ended_one(
    conveyor: Command, belt: Conveyor
) -> None:
    done = belt.functions["send"].enqueue("ann")
    belt.work(queues=["mail"], timeout=30, keep=False)
    job = belt.functions["send"].enqueue("ann")
    assert conveyor("cancel", job.id).out == f"{job.id} cancelled\n"
    assert conveyor("cancel", job.id).code == 0
    ran = conveyor("cancel", done.id, "--json")
    assert ran.code == 1
    assert ran.data == {done.id: "completed"}
    assert "already completed" in ran.err


def test_cancel_stops_a_command_that_a_worker_runs(
    conveyor: Command, belt: Conveyor, start: Start, until: Until
) -> None:
    worker = serve(start, "--queue", "default")
    job = belt.command("sleep", "60").enqueue()
    until(lambda: job.refresh().state is State.RUNNING)
    ran = conveyor("cancel", job.id, "--wait", 20)
    assert (ran.code, ran.out) == (0, f"{job.id} cancelled\n")
    worker.terminate()
    assert worker.wait(30) == 0


def test_retry_runs_an_ended_job_again(conveyor: Command, belt: Conveyor) -> None:
    job = belt.functions["send"].enqueue("nobody")
    belt.work(queues=["mail"], timeout=30, keep=False)
    assert conveyor("retry", job.id).out == f"{job.id} available\n"
    ran = conveyor("retry", job.id)
    assert ran.code == 1
    assert "only a job that ended" in ran.err


def test_wait_ends_with_how_the_jobs_ended(conveyor: Command, belt: Conveyor) -> None:
    good, bad = belt.functions["send"].enqueue("ann"), belt.functions["send"].enqueue("nobody")
    late = conveyor("wait", good.id, "--timeout", "0.05")
    assert late.code == 5
    assert "has not ended" in late.err
    belt.work(queues=["mail"], timeout=30, keep=False)
    assert conveyor("wait", good.id).out == f"{good.id} completed\n"
    ran = conveyor("wait", good.id, bad.id, "--json")
    assert ran.code == 1
    assert [job["state"] for job in ran.data] == ["completed", "discarded"]


def test_logs_prints_what_a_job_wrote(conveyor: Command, belt: Conveyor) -> None:
    job = belt.functions["send"].enqueue("ann")
    belt.work(queues=["mail"], timeout=30, keep=False)
    assert conveyor("logs", job.id).out == "sending to ann\ncareful\n"
    assert conveyor("logs", job.id, "--stream", "stderr").out == "careful\n"
    lines = [json.loads(line) for line in conveyor("logs", job.id, "--json").out.splitlines()]
    assert [line["stream"] for line in lines] == ["stdout", "stderr"]


def test_logs_follows_a_running_job_to_its_end(
    really: Command, belt: Conveyor, start: Start
) -> None:
    job = belt.functions["steps"].enqueue()
    worker = serve(start)
    assert really("logs", "-f", job.id).out == "step 0\nstep 1\nstep 2\n"
    record = job.refresh().record
    assert record.progress is not None
    assert (record.progress.done, record.progress.total) == (3, 3)
    worker.terminate()
    assert worker.wait(30) == 0


# -- exec ------------------------------------------------------------------------------------------


def test_exec_gives_the_commands_output_and_its_exit_code(really: Command) -> None:
    ran = really("exec", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert ran.code == 7
    assert ran.out == "out\n"
    assert "err\n" in ran.err
    assert really("exec", "--", "true").code == 0


def test_show_tells_the_exit_code_of_a_command_that_a_signal_killed(really: Command) -> None:
    assert really("exec", "--", "sh", "-c", "kill -9 $$").code == 137
    [job] = really("ps", "--json").data
    [attempt] = really("show", job["id"], "--json").data["history"]
    assert attempt["error"]["exit_code"] == 137


def test_exec_of_a_command_that_is_not_there_says_so(really: Command) -> None:
    ran = really("exec", "--", "no-such-program")
    assert ran.code not in (0, 2)
    assert "no-such-program" in ran.err


def test_exec_interrupted_stops_the_command_and_ends_with_130(
    start: Start, conveyor: Command, until: Until
) -> None:
    running = start("exec", "--", "sh", "-c", "echo begun; exec sleep 60")
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    running.send_signal(signal.SIGINT)
    assert running.wait(30) == 130
    assert conveyor("ps", "--json").data[0]["state"] == "cancelled"


def test_exec_interrupted_twice_kills_a_command_that_does_not_listen(
    start: Start, conveyor: Command, belt: Conveyor
) -> None:
    deaf = "trap '' INT TERM; echo begun; while :; do sleep 0.1; done"
    running = start("exec", "--", "sh", "-c", deaf)
    assert running.stdout is not None
    assert running.stderr is not None
    assert running.stdout.readline() == "begun\n"
    for said in ("SIGINT: cancelling", "SIGINT again: cancelling with no grace"):
        running.send_signal(signal.SIGINT)
        assert running.stderr.readline().startswith(said)
    assert running.wait(30) == 130
    [job] = conveyor("ps", "--json").data
    assert job["state"] == "cancelled"
    said = [step.text for step in belt.job(job["id"]).refresh().record.stopping]
    [killed] = [step for step in said if "SIGKILL" in step]
    assert "after 10" not in killed, "it waited for the grace"


def test_exec_interrupted_a_third_time_leaves_at_once_though_no_store_answers(
    start: Start, folder: Path
) -> None:
    running = start("exec", "--", "sh", "-c", "echo begun; exec sleep 60")
    assert running.stdout is not None
    assert running.stderr is not None
    assert running.stdout.readline() == "begun\n"
    with open(folder / "jobs.db.lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for said in ("SIGINT: cancelling", "SIGINT again", "SIGINT once more: leaving"):
            running.send_signal(signal.SIGINT)
            assert running.stderr.readline().startswith(said)
        assert running.wait(30) == 130


def test_wait_interrupted_ends_with_130(start: Start, belt: Conveyor, until: Until) -> None:
    job = belt.functions["send"].enqueue("ann")
    waiting = start("wait", job.id)
    until(lambda: any((Path("jobs.db.bells")).glob(f"{waiting.pid}-*.final")))
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(30) == 130
    _, err = waiting.communicate()
    assert err.strip() == "interrupted"


# -- worker and run --------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["worker", "run"])
def test_a_worker_runs_jobs_until_sigterm_and_ends_with_0(
    start: Start, belt: Conveyor, command: str
) -> None:
    job = belt.functions["send"].enqueue("ann")
    worker = start(command, "app:belt", "--queue", "mail:4", "--queue", "small", "-c", "2")
    assert job.result(timeout=30) == "ann x1"
    worker.terminate()
    assert worker.wait(30) == 0
    _, err = worker.communicate()
    assert "SIGTERM: stopping" in err
    assert "no new jobs; 0 running" in err
    assert "1 ended, 0 handed back" in err


def test_a_signal_that_comes_while_the_store_is_locked_is_not_lost(
    start: Start, belt: Conveyor, folder: Path
) -> None:
    belt.functions["send"].enqueue("ann")
    with open(folder / "jobs.db.lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        worker = start("worker", "app:belt")
        assert worker.stderr is not None
        # No word from it, as it waits for the lock; its handlers are there all the same.
        wanted = 1 << (signal.SIGTERM - 1)
        while not wanted & int(_status(worker.pid)["SigCgt"], 16):
            assert worker.poll() is None
        worker.terminate()
        assert worker.stderr.readline().startswith("SIGTERM: stopping")
    assert worker.wait(30) == 0


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_a_worker_hands_back_what_does_not_end_in_time(
    start: Start, belt: Conveyor, until: Until
) -> None:
    worker = serve(start, "--queue", "default", "--drain", "0.1")
    job = belt.command("sh", "-c", "echo begun; exec sleep 60").enqueue()
    until(job.logs)
    worker.terminate()
    assert worker.wait(30) == 75
    record = job.refresh().record
    assert (record.state, record.attempt) == (State.AVAILABLE, 0)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "name the application"),
        (["app"], "module:name"),
        (["nothere:belt"], "there is no module 'nothere'"),
        (["app:mail"], "a Queue; a Conveyor is wanted"),
        (["broken:belt"], "does not import: ZeroDivisionError"),
        (["app:belt", "--queue", "mail:often"], "NAME:WEIGHT"),
        (["app:belt", "--lease", "never"], "lease = 'never' from the command line"),
        (["app:belt", "--log-level", "LOUD"], "log_level 'LOUD'"),
        (["app:belt", "-c", "0"], "a whole number of 1 or more"),
    ],
)
def test_a_worker_that_cannot_start_says_why_and_ends_with_2(
    really: Command, folder: Path, args: list[str], said: str
) -> None:
    (folder / "broken.py").write_text("1 / 0\n")
    ran = really("worker", *args)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_schedules_are_listed_paused_and_resumed(
    start: Start, conveyor: Command, until: Until
) -> None:
    worker = serve(start)
    until(lambda: conveyor("schedules", "--json").data)
    worker.terminate()
    assert worker.wait(30) == 0
    listed: dict[str, Any] = conveyor("schedules", "--json").data[0]
    assert (listed["name"], listed["timezone"]) == ("nightly", "Europe/Berlin")
    assert conveyor("schedules", "pause", "nightly").code == 0
    assert "nightly\tpaused\t" in conveyor("schedules").out
    assert conveyor("schedules", "resume", "nightly").code == 0
    ran = conveyor("schedules", "pause", "hourly")
    assert ran.code == 3
    assert "there is no schedule 'hourly'" in ran.err
