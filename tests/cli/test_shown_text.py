"""What others wrote reaches no terminal as an instruction, and no reader as a line of ours."""

from __future__ import annotations

import json
from textwrap import indent

import pytest
from shell import Command

from conveyor import Conveyor
from conveyor.cli.shared.output import format_duration
from conveyor.core.job import ErrorInfo, NewJob, Progress, StopNote
from conveyor.core.lifecycle import Failed
from conveyor.store.messages import Claimant, Lease, Report, Want

EVIL = "x\x1b]0;title\a\n\u202e\x9b1mend"
SHOWN = "x\\x1b]0;title\\x07\\n\\u202e\\x9b1mend"


@pytest.fixture
def evil(belt: Conveyor) -> str:
    """A job whose every text is an attack, as another program could store it, while it runs."""
    store = belt.store
    store.insert([NewJob(id="evil-job", task=EVIL, queue=EVIL)]).result()
    claimed = store.claim([Want(EVIL, 1)], Claimant(EVIL, 3600.0), limit=1).result()
    lease = Lease("evil-job", claimed.jobs[0].lease)
    store.set_progress([(lease, Progress(1, 2, EVIL))]).result()
    store.set_stopping([(lease, [StopNote(1000.0, EVIL), StopNote(1002.5, EVIL)])]).result()
    store.cancel("evil-job", reason=EVIL).result()
    return "evil-job"


@pytest.mark.parametrize(
    "args", [["ps"], ["show", "evil-job"], ["why", "evil-job"], ["queues"], ["show", EVIL]]
)
def test_attacks_in_names_and_errors_are_shown_escaped(
    conveyor: Command, evil: str, args: list[str]
) -> None:
    ran = conveyor(*args)
    printed = ran.out + ran.err
    assert "\\x1b" in printed
    assert "\n\u202e" not in printed
    assert all(letter in "\n\t" or letter.isprintable() for letter in printed)
    assert SHOWN in printed or repr(EVIL)[1:-1] in printed


def test_a_traceback_keeps_its_lines_and_no_more(conveyor: Command, belt: Conveyor) -> None:
    store = belt.store
    store.insert([NewJob(id="evil-job", task="t", queue="q")]).result()
    [job] = store.claim([Want("q", 1)], Claimant("w", 3600.0), limit=1).result().jobs
    failed = Failed(ErrorInfo("Error", "no", f"first line\n  {EVIL}\tend\r\n"))
    store.settle([Report(job.id, job.lease, failed)]).result()
    shown = conveyor("show", "evil-job").out
    # Indented, so that no line of it looks like one of ours.
    escaped = "first line\n  x\\x1b]0;title\\x07\n\\u202e\\x9b1mend\tend\n"
    assert indent(escaped, "    ") in shown


def test_json_keeps_every_letter(conveyor: Command, evil: str) -> None:
    assert conveyor("show", evil, "--json").data["task"] == EVIL
    assert json.loads(conveyor("ps", "--json").out)[0]["queue"] == EVIL


def test_the_steps_of_a_stop_are_shown_by_their_intervals(conveyor: Command, evil: str) -> None:
    # They are by the worker's clock, all other times by the store's.
    shown = conveyor("show", evil).out
    assert f"+0.0 s {SHOWN}\n" in shown
    assert f"+2.5 s {SHOWN}\n" in shown
    assert "1970" not in shown


def test_artifacts_with_odd_names_stay_in_their_row(conveyor: Command, belt: Conveyor) -> None:
    script = "mkdir d; : > \"$(printf 'd/a\\033]0;t\\007')\"; : > \"$(printf 'd/b\\nc')\""
    job = belt.command("sh", "-c", script, artifacts=["d/*"]).enqueue()
    belt.work(queues=["default"], timeout=30, keep=False)
    ran = conveyor("artifacts", job.id)
    assert [line.split("\t")[0] for line in ran.out.splitlines()] == [
        "NAME",
        "d/a\\x1b]0;t\\x07",
        "d/b\\nc",
    ]
    ran = conveyor("artifacts", job.id, "get", "-o", "kept")
    assert ran.code == 0
    assert "\x1b" not in ran.err


def test_a_list_of_jobs_shows_the_first_line_of_an_error(conveyor: Command, belt: Conveyor) -> None:
    store = belt.store
    store.insert([NewJob(id="a", task="t", queue="q")]).result()
    [job] = store.claim([Want("q", 1)], Claimant("w", 3600.0), limit=1).result().jobs
    failed = Failed(ErrorInfo("ExceptionGroup", "two things\nfirst\nsecond", ""))
    store.settle([Report(job.id, job.lease, failed)]).result()
    assert conveyor("ps").out.splitlines()[1].endswith("\tExceptionGroup: two things")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0.0s"), (59, "59.0s"), (60, "1.0m"), (3599, "60.0m"), (3600, "1.0h"), (86400, "1.0d")],
)
def test_a_duration_has_one_unit(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown
