"""What the looking commands print: ps, show, why, queues, workers, schedules, doctor, help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from shell import Command

from conveyor import Conveyor
from conveyor.core.job import WorkerInfo
from conveyor.store.messages import Claimant, Want


def worker(belt: Conveyor, **given: object) -> None:
    """Make a worker known that is alive and idle."""
    fields = {
        "id": "w-1", "host": "here", "boot_id": "b", "pid": 1, "pid_started": 0.0,
        "started_at": 0.0, "slots": 2, "queues": ("mail",),
    }  # fmt: skip
    belt.store.beat(WorkerInfo(**(fields | given))).result(10)  # type: ignore[arg-type]


def test_ps_lists_the_newest_job_first(conveyor: Command, belt: Conveyor) -> None:
    first = belt.functions["send"].enqueue("ann")
    second = belt.functions["send"].enqueue("bob")
    ran = conveyor("ps")
    assert ran.code == 0
    heading, *lines = ran.out.splitlines()
    assert heading.startswith("ID\tSTATE\tTASK\tQUEUE")
    assert [line.split("\t")[:4] for line in lines] == [
        [second.id, "available", "send", "mail"],
        [first.id, "available", "send", "mail"],
    ]


def test_ps_filters_and_pages(conveyor: Command, belt: Conveyor) -> None:
    jobs = [belt.functions["send"].enqueue(str(number)) for number in range(3)]
    belt.functions["tiny"].enqueue()
    page = conveyor("ps", "--queue", "mail", "--state", "available", "--limit", 2)
    assert [line.split("\t")[0] for line in page.out.splitlines()[1:]] == [
        jobs[2].id,
        jobs[1].id,
    ]
    before = page.err.split()[-1]
    rest = conveyor("ps", "--queue", "mail", "--before", before, "--json")
    assert [job["id"] for job in rest.data] == [jobs[0].id]


def test_a_state_that_does_not_exist_is_answered_with_those_that_do(conveyor: Command) -> None:
    ran = conveyor("ps", "--state", "failed")
    assert ran.code == 2
    assert "discarded" in ran.err
    assert not ran.out


def test_show_tells_everything_of_a_job_and_of_its_attempts(
    conveyor: Command, belt: Conveyor
) -> None:
    job = belt.functions["send"].enqueue("nobody")
    belt.work(queues=["mail"], timeout=30, keep=False)
    ran = conveyor("show", job.id)
    assert ran.code == 0
    for expected in ("discarded", '{"to":"nobody"}', "LookupError: no such person", "Traceback"):
        assert expected in ran.out
    data = conveyor("show", job.id, "--json").data
    assert data["state"] == "discarded"
    assert data["args"] == {"to": "nobody"}
    assert data["history"][0]["error"]["type"].endswith("LookupError")


def test_the_end_of_an_id_is_enough(conveyor: Command, belt: Conveyor) -> None:
    job = belt.functions["send"].enqueue("ann")
    assert conveyor("show", job.id[-8:], "--json").data["id"] == job.id


@pytest.mark.parametrize("command", ["show", "why", "logs", "wait", "cancel", "retry"])
def test_a_job_that_is_not_there_ends_with_3(conveyor: Command, command: str) -> None:
    ran = conveyor(command, "0190-no-such-job")
    assert ran.code == 3
    assert "there is no job" in ran.err
    assert not ran.out


def test_why_says_in_a_sentence_what_a_job_waits_for(conveyor: Command, belt: Conveyor) -> None:
    send = belt.functions["send"]
    first, job = send.enqueue("ann"), send.enqueue("bob")
    later = send.using(delay="5m").enqueue("eve")

    def why(job_id: str) -> str:
        ran = conveyor("why", job_id)
        assert ran.code == 0
        assert conveyor("why", job_id, "--json").data["why"].split()[:3] == ran.out.split()[:3]
        return ran.out

    assert "not due before" in why(later.id)
    assert "No worker serves queue 'mail'" in why(job.id)
    worker(belt)
    assert "1 job(s) are ahead of it" in why(job.id)
    assert "It is next" in why(first.id)
    worker(belt, running=2)
    assert "No slot is free" in why(first.id)
    assert "has the label(s) it requires: gpu" in why(belt.functions["shop.pack"].enqueue().id)
    belt.queues["mail"].pause()
    assert "paused" in why(job.id)
    assert "conveyor queues resume mail" in why(job.id)


def test_a_producer_that_waits_for_room_is_counted(
    start: Callable[..., subprocess.Popen[str]],
    conveyor: Command,
    belt: Conveyor,
    until: Callable[..., None],
) -> None:
    belt.functions["tiny"].enqueue()
    waiting = start("enqueue", "tiny", "--app", "app:belt")
    until(lambda: conveyor("queues", "--json").data[-1]["offers"] == 1)
    assert waiting.poll() is None
    belt.work(queues=["small"], timeout=30, keep=False)
    assert waiting.wait(30) == 0


def test_queues_are_listed_paused_and_resumed(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    assert "mail\topen\t1" in conveyor("queues").out
    assert conveyor("queues", "pause", "mail").code == 0
    assert "mail\tpaused\t1" in conveyor("queues").out
    assert conveyor("queues", "resume", "mail").code == 0
    assert not conveyor("queues", "--json").data[0]["paused"]
    ran = conveyor("queues", "pause")
    assert ran.code == 2
    assert "name the queues" in ran.err


def test_workers_are_listed(conveyor: Command, belt: Conveyor) -> None:
    worker(belt, labels=("gpu",))
    assert "w-1\talive\there\t0/2\tmail\tgpu" in conveyor("workers").out
    assert conveyor("workers", "--json").data[0]["id"] == "w-1"


def test_doctor_finds_a_healthy_store_well_and_says_where_settings_come_from(
    conveyor: Command, belt: Conveyor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    belt.functions["send"].enqueue("ann")
    (folder / "conveyor.toml").write_text('drain = "10s"\n')
    monkeypatch.setenv("CONVEYOR_CONCURRENCY", "3")
    ran = conveyor("doctor")
    assert ran.code == 0
    assert "NOT OK" not in ran.out
    assert f"drain\t10.0\t{folder / 'conveyor.toml'}" in ran.out
    assert "concurrency\t3\tthe environment (CONVEYOR_CONCURRENCY)" in ran.out
    assert "lease\t60.0\tdefault" in ran.out
    data = conveyor("doctor", "--json").data
    assert data["ok"]
    assert data["settings"]["drain"] == {"value": 10.0, "from": str(folder / "conveyor.toml")}


def test_doctor_finds_jobs_that_nobody_runs(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    belt.store.claim([Want("mail", 1)], Claimant("gone"), limit=1).result(10)
    ran = conveyor("doctor")
    assert ran.code == 1
    assert "no worker is alive" in ran.out


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


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_code_for_the_shell(conveyor: Command, shell: str) -> None:
    ran = conveyor("completion", shell)
    assert ran.code == 0
    assert "_CONVEYOR_COMPLETE" in ran.out


def test_a_wrong_option_ends_with_2_and_says_which(conveyor: Command) -> None:
    ran = conveyor("ps", "--colour", "red")
    assert ran.code == 2
    assert "--colour" in ran.err


def test_nothing_is_coloured_where_there_is_no_terminal(really: Command, belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    for args in (["ps"], ["queues"], ["doctor"], ["--help"]):
        assert "\x1b[" not in really(*args).out


def test_a_name_in_brackets_is_shown_as_it_is_on_a_terminal(
    conveyor: Command, folder: Path
) -> None:
    conveyor("queues", "pause", "[red]x")
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "conveyor", "queues"]
    wide = os.environ | {"COLUMNS": "200"}
    subprocess.run(command, cwd=folder, stdout=theirs, env=wide, timeout=60, check=True)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "[red]x" in shown


def test_bench_measures_and_prints_the_machine(conveyor: Command) -> None:
    data = conveyor("bench", "--url", "memory:", "--jobs", 300, "--json").data
    assert data["machine"]["python"]
    assert [figure["jobs_per_second"] > 0 for figure in data["figures"]] == [True] * 4
