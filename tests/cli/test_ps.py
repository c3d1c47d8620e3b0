"""`conveyor ps`."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from shell import Command

from conveyor import Conveyor


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


@pytest.mark.parametrize("columns", [60, 80])
def test_on_a_narrow_terminal_the_end_of_every_id_is_shown(
    conveyor: Command, belt: Conveyor, folder: Path, columns: int
) -> None:
    jobs = belt.functions["send"].enqueue_many([("nobody",)] * 3)
    belt.work(queues=["mail"], timeout=30, keep=False)
    shown = on_terminal(folder, columns)
    for job in jobs:
        [line] = [each for each in shown.splitlines() if job.id[-12:] in each]
        assert line.startswith("…" + job.id[-12:])
        assert max(map(len, shown.splitlines())) <= columns
    # What is shown is enough to name the job.
    assert conveyor("show", "…" + jobs[0].id[-12:], "--json").data["id"] == jobs[0].id
    assert conveyor("show", jobs[0].id[-12:], "--json").data["id"] == jobs[0].id


def test_on_a_wide_terminal_ids_are_complete(belt: Conveyor, folder: Path) -> None:
    job = belt.functions["send"].enqueue("ann")
    assert job.id in on_terminal(folder, 200)


def on_terminal(folder: Path, columns: int) -> str:
    """Return what `conveyor ps` prints on a terminal of this width."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "conveyor", "ps"]
    subprocess.run(
        command, cwd=folder, stdin=theirs, stdout=theirs, env=environment, timeout=60, check=True
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)
