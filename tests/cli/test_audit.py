"""`conveyor audit`, and what gets into it."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path
from typing import Any

from shell import Command

from conveyor import Conveyor
from conveyor.cli.shared.audit_trail import audited
from conveyor.core.job import WorkerInfo
from conveyor.store.memory.store import MemoryStore
from conveyor.store.sqlite.store import SqliteStore


def audit(conveyor: Command) -> list[tuple[str, str]]:
    """Return what was done to whom, oldest first."""
    return [(line["what"], line["subject"]) for line in conveyor("audit", "--json").data[::-1]]


def test_what_is_done_by_hand_is_in_the_audit_with_who_and_where(
    conveyor: Command, belt: Conveyor
) -> None:
    job = belt.functions["send"].enqueue("ann").id
    conveyor("cancel", job, "--reason", "not needed")
    conveyor("retry", job)
    belt.functions["tiny"].enqueue()
    conveyor("queues", "pause", "mail", "small")
    conveyor("queues", "resume", "mail")
    made = conveyor("token", "create", "ci", "--scope", "agent", "--queue", "mail", "--json").data
    conveyor("token", "revoke", made["id"])
    assert audit(conveyor) == [
        ("cancel", job),
        ("retry", job),
        ("pause queue", "mail"),
        ("pause queue", "small"),
        ("resume queue", "mail"),
        ("create token", made["id"]),
        ("revoke token", made["id"]),
    ]
    lines: list[dict[str, Any]] = conveyor("audit", "--json").data
    user = pwd.getpwuid(os.getuid()).pw_name
    assert {(line["who"], line["where"]) for line in lines} == {(user, socket.gethostname())}
    assert [line["detail"] for line in lines if line["detail"]] == [
        "ci",
        "ci: agent on mail",
        "not needed",
    ]


def test_workers_and_schedules_that_are_told_something_are_in_the_audit(
    conveyor: Command, belt: Conveyor, folder: Path
) -> None:
    belt.work()
    store = SqliteStore(folder / "jobs.db")
    store.beat(
        WorkerInfo(
            id="here-1", host="here", boot_id="b", pid=1, pid_started=2.0, started_at=3.0, slots=4,
            queues=("mail",),
        )
    ).result()  # fmt: skip
    store.close()
    conveyor("schedules", "pause", "nightly")
    conveyor("schedules", "resume", "nightly")
    conveyor("workers", "quiet", "here-1")
    conveyor("workers", "resume", "here-1")
    assert audit(conveyor) == [
        ("pause schedule", "nightly"),
        ("resume schedule", "nightly"),
        ("quiet worker", "here-1"),
        ("resume worker", "here-1"),
    ]


def test_looking_and_what_was_refused_is_not_in_the_audit(
    conveyor: Command, belt: Conveyor
) -> None:
    job = belt.functions["send"].enqueue("ann").id
    assert conveyor("retry", job).code == 1
    assert conveyor("cancel", "nothing").code == 3
    for args in (["ps"], ["show", job], ["queues"], ["workers"], ["schedules"], ["token", "list"]):
        assert conveyor(*args).code == 0
    assert audit(conveyor) == []


def test_many_jobs_cancelled_at_once_are_one_line_with_the_filter_the_count_and_the_reason(
    conveyor: Command, belt: Conveyor
) -> None:
    for _ in range(30):
        belt.functions["send"].enqueue("ann")
    assert conveyor("cancel", "--queue", "mail", "--yes", "--force").code == 0
    [line] = conveyor("audit", "--json").data
    states = "available,retryable,running,scheduled"
    assert (line["what"], line["subject"]) == ("cancel", f"queue=mail states={states}")
    assert (line["detail"], line["count"]) == ("forced", 30)
    assert line["reason"] == "cancelled by conveyor cancel"


def test_a_command_that_fails_half_way_has_noted_what_it_did(
    conveyor: Command, belt: Conveyor
) -> None:
    job = belt.functions["send"].using(delay="1h").enqueue("ann").id
    assert conveyor("retry", job, "nothing").code == 3
    assert audit(conveyor) == [("retry", job)]


def test_the_audit_is_read_page_by_page(conveyor: Command, belt: Conveyor) -> None:
    for queue in ("a", "b", "c"):
        belt.queue(queue).pause()
    conveyor("queues", "pause", "a", "b", "c")
    first = conveyor("audit", "--limit", "2")
    assert [line.split("\t")[4] for line in first.out.splitlines()] == ["SUBJECT", "c", "b"]
    assert "There are more entries: --before 2" in first.err
    rest = conveyor("audit", "--limit", "2", "--before", "2")
    assert [line.split("\t")[4] for line in rest.out.splitlines()] == ["SUBJECT", "a"]
    assert rest.err == ""


class RecordsActions(MemoryStore):
    records_actions = True


def test_nothing_is_noted_in_a_store_that_records_actions_itself() -> None:
    for store, lines in ((RecordsActions(), 0), (MemoryStore(), 1)):
        with audited(store) as note:
            note("cancel", "job-1")
        assert len(store.actions(limit=9).result()) == lines
