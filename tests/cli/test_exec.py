"""`conveyor exec`: output, exit codes and interrupts."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from pathlib import Path

import pytest
from shell import Command, Start, Until

from conveyor import Conveyor, State
from conveyor.cli.exec import StopOnSignal
from conveyor.store.messages import Filter
from slow_store import SlowStore


def test_exec_gives_the_commands_output_and_its_exit_code(
    really: Command, conveyor: Command
) -> None:
    ran = really("exec", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert ran.code == 7
    assert ran.out == "out\n"
    assert "err\n" in ran.err
    assert "job.discarded" not in ran.err
    assert conveyor("exec", "--", "true").code == 0


def test_show_tells_the_exit_code_of_a_command_that_a_signal_killed(conveyor: Command) -> None:
    assert conveyor("exec", "--", "sh", "-c", "kill -9 $$").code == 137
    [job] = conveyor("ps", "--json").data
    [attempt] = conveyor("show", job["id"], "--json").data["history"]
    assert attempt["error"]["exit_code"] == 137


def test_exec_of_a_command_that_is_not_there_says_so(conveyor: Command) -> None:
    ran = conveyor("exec", "--", "no-such-program")
    assert ran.code == 127
    assert "no-such-program" in ran.err


@pytest.mark.parametrize("program", ["./data", "./sub"])
def test_exec_of_what_is_no_program_ends_with_126(
    conveyor: Command, folder: Path, program: str
) -> None:
    (folder / "data").write_text("not executable")
    (folder / "sub").mkdir()
    ran = conveyor("exec", "--", program)
    assert ran.code == 126
    assert program in ran.err


def test_exec_in_a_directory_that_is_not_there_is_no_missing_program(conveyor: Command) -> None:
    ran = conveyor("exec", "--cwd", "nowhere", "--", "true")
    assert ran.code == 1
    assert "no directory" in ran.err


def test_exec_below_a_directory_that_is_not_utf_8_says_so(
    conveyor: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = os.fsencode(folder) + b"/caf\xe9"
    os.mkdir(odd)
    monkeypatch.chdir(os.fsdecode(odd))
    ran = conveyor("exec", "--url", str(folder / "jobs.db"), "--", "true")
    assert ran.code == 2
    assert "caf\\udce9" in ran.err
    assert "UTF-8" in ran.err


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
    for said in ("SIGINT: cancelling", "SIGINT again: killing without a grace period"):
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
        for said in ("SIGINT: cancelling", "SIGINT again", "SIGINT a third time: exiting"):
            running.send_signal(signal.SIGINT)
            assert running.stderr.readline().startswith(said)
        assert running.wait(30) == 130


def test_exec_that_joined_a_job_follows_it_and_leaves_it_alone_when_interrupted(
    start: Start, conveyor: Command
) -> None:
    join = "exec", "--key", "deploy", "--on-conflict", "join", "--"
    first = start(*join, "sh", "-c", "echo begun; exec sleep 60")
    assert first.stdout is not None
    assert first.stdout.readline() == "begun\n"
    second = start(*join, "echo", "another")
    assert second.stdout is not None
    assert second.stderr is not None
    assert second.stdout.readline() == "begun\n"
    second.send_signal(signal.SIGINT)
    assert second.stderr.readline().startswith("SIGINT: leaving job ")
    assert second.wait(30) == 130
    [job] = conveyor("ps", "--json").data
    assert job["state"] == "running"
    first.send_signal(signal.SIGINT)
    assert first.wait(30) == 130


def test_exec_detached_prints_the_id_and_leaves_the_job_to_a_worker(
    conveyor: Command, belt: Conveyor, folder: Path
) -> None:
    ran = conveyor("exec", "--detach", "-q", "builds", "--", "sh", "-c", "pwd; exit 7")
    assert ran.code == 0
    job = belt.job(ran.out.strip())
    assert (job.state, job.record.queue) == ("available", "builds")
    assert f"no worker runs commands of queue builds now; `conveyor why {job.id}`" in ran.err
    belt.work(queues=["builds"], timeout=30, keep=False)
    assert job.logs() == f"{folder}\n"
    assert conveyor("wait", job.id).code == 1


def test_exec_detached_says_nothing_where_a_worker_serves_the_queue(
    conveyor: Command, belt: Conveyor, until: Until
) -> None:
    belt.start(queues=["builds"], keep=False)
    until(lambda: belt.store.workers().result())
    ran = conveyor("exec", "--detach", "-q", "builds", "--", "true")
    assert (ran.code, ran.err) == (0, "")
    belt.job(ran.out.strip()).wait(30)
    assert belt.stop()


def test_exec_detached_refuses_what_it_could_not_keep(conveyor: Command) -> None:
    for args, message in (
        (["--url", "memory:"], "--detach requires a store that outlives this command"),
        (["--artifact", "a", "-o", "out"], "-o cannot be combined with --detach"),
    ):
        ran = conveyor("exec", "--detach", *args, "--", "true")
        assert ran.code == 2
        assert message in ran.err
    assert "no store at" in conveyor("ps").err


def test_a_signal_while_the_job_is_enqueued_leaves_no_job(
    until: Until,
) -> None:
    store = SlowStore()
    stop = StopOnSignal()

    def interrupt() -> None:
        until(lambda: store.inserting.answers)
        stop(signal.SIGINT, 1)
        store.inserting.release()

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    assert stop.enqueue(Conveyor(store=store).command("true")) is None
    interrupting.join(30)
    [job] = store.find(Filter(), limit=10).result()
    assert job.state is State.CANCELLED


def test_a_signal_before_the_job_is_enqueued_leaves_no_job() -> None:
    store = SlowStore()
    stop = StopOnSignal()
    stop(signal.SIGTERM, 1)
    assert stop.enqueue(Conveyor(store=store).command("true")) is None
    assert store.find(Filter(), limit=10).result() == []
