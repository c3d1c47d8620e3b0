"""Tokens made, listed and revoked on the command line, and the audit of what is done there."""

from __future__ import annotations

import os
import pwd
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from shell import Command

from conveyor import Conveyor
from conveyor.cli.audit import audited
from conveyor.core.access import fits, token_id
from conveyor.core.job import WorkerInfo
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Hint
from conveyor.store.sqlite.store import SqliteStore


def audit(conveyor: Command) -> list[tuple[str, str]]:
    """Return what was done to whom, oldest first."""
    return [(line["what"], line["subject"]) for line in conveyor("audit", "--json").data[::-1]]


# -- tokens ----------------------------------------------------------------------------------------


def test_a_token_is_printed_alone_and_once_and_the_store_keeps_what_fits_it(
    conveyor: Command, folder: Path
) -> None:
    ran = conveyor("token", "create", "laptop of Ann", "--scope", "read", "--scope", "enqueue")
    text = ran.out.removesuffix("\n")
    assert (ran.code, token_id(text) is None) == (0, False)
    assert "until it is revoked. It is not shown again" in ran.err
    store = SqliteStore(folder / "jobs.db")
    [kept] = store.tokens(limit=9).result()
    store.close()
    assert fits(kept, text)
    assert (kept.name, kept.scopes) == ("laptop of Ann", {"read", "enqueue"})
    secret = text.rpartition(kept.id)[2][1:]
    for path in folder.glob("jobs.db*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()
    for args in (["token", "list"], ["token", "list", "--json"], ["audit", "--json"]):
        listed = conveyor(*args).out
        assert kept.id in listed
        assert secret not in listed
        assert kept.digest not in listed


def test_a_token_can_be_limited_in_queues_and_in_time(conveyor: Command) -> None:
    made = conveyor(
        *("token", "create", "ci", "--scope", "agent", "--queue", "mail", "--queue", "small"),
        *("--expires", "90d", "--json"),
    ).data
    assert made["token"].startswith(f"cvy_{made['id']}_")
    assert made["expires_at"] - made["created_at"] == 90 * 86400
    [listed] = conveyor("token", "list", "--json").data
    assert listed == {name: value for name, value in made.items() if name != "token"}
    assert (listed["queues"], listed["standing"]) == (["mail", "small"], "good")
    assert f"{made['id']}\tci\tgood\tagent\tmail,small\t" in conveyor("token", "list").out


def test_a_revoked_token_is_listed_as_such_and_other_processes_hear_of_it(
    conveyor: Command, really: Command, folder: Path
) -> None:
    made = conveyor("token", "create", "ci", "--scope", "agent", "--json").data
    heard: list[Hint] = []
    rung = threading.Event()

    def hear(hint: Hint) -> None:
        heard.append(hint)
        rung.set()

    server = SqliteStore(folder / "jobs.db")
    stop = server.listen(["access"], hear)
    assert really("token", "revoke", made["id"]).code == 0
    assert rung.wait(20)
    stop()
    server.close()
    assert heard == [Hint("access", (made["id"],))]
    [listed] = conveyor("token", "list", "--json").data
    assert listed["standing"] == "revoked"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["create", "ci"], 2, "--scope"),
        (["create", "ci", "--scope", "root"], 2, "root"),
        (["create", "", "--scope", "read"], 2, "give one by which people know"),
        (["create", "ci", "--scope", "read", "--expires", "0"], 2, "expired from the start"),
        (["create", "ci", "--scope", "read", "--expires", "soon"], 2, "'soon'"),
        (["create", "ci", "--scope", "admin", "--queue", "mail"], 2, "would not hold"),
        (["revoke", "nobody00"], 3, "there is no token nobody00"),
        (["revoke"], 2, "ID..."),
    ],
)
def test_a_wrong_token_command_says_why_and_leaves_nothing(
    conveyor: Command, args: list[str], code: int, said: str
) -> None:
    ran = conveyor("token", *args)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert conveyor("token", "list", "--json").data == []
    assert audit(conveyor) == []


# -- the audit -------------------------------------------------------------------------------------


def test_what_is_done_by_hand_is_in_the_audit_with_who_and_where(
    conveyor: Command, belt: Conveyor
) -> None:
    job = belt.functions["send"].enqueue("ann").id
    conveyor("cancel", job, "--reason", "not needed")
    conveyor("retry", job)
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


def test_many_jobs_cancelled_at_once_are_noted_in_one_transaction(
    conveyor: Command, belt: Conveyor
) -> None:
    jobs = {belt.functions["send"].enqueue("ann").id for _ in range(30)}
    assert conveyor("cancel", "--queue", "mail", "--yes", "--force").code == 0
    lines: list[dict[str, Any]] = conveyor("audit", "--json").data
    assert {line["subject"] for line in lines} == jobs
    assert {line["detail"] for line in lines} == {"forced: cancelled by conveyor cancel"}
    assert len({line["at"] for line in lines}) == 1


def test_a_command_that_fails_half_way_has_noted_what_it_did(
    conveyor: Command, belt: Conveyor
) -> None:
    job = belt.functions["send"].using(delay="1h").enqueue("ann").id
    assert conveyor("retry", job, "nothing").code == 3
    assert audit(conveyor) == [("retry", job)]


def test_the_audit_is_read_page_by_page(conveyor: Command) -> None:
    conveyor("queues", "pause", "a", "b", "c")
    first = conveyor("audit", "--limit", "2")
    assert [line.split("\t")[4] for line in first.out.splitlines()] == ["SUBJECT", "c", "b"]
    assert "There may be more: --before 2" in first.err
    rest = conveyor("audit", "--limit", "2", "--before", "2")
    assert [line.split("\t")[4] for line in rest.out.splitlines()] == ["SUBJECT", "a"]
    assert rest.err == ""


class Remote(MemoryStore):
    remote = True


def test_nothing_is_noted_for_a_remote_store_which_does_so_itself() -> None:
    for store, lines in ((Remote(), 0), (MemoryStore(), 1)):
        with audited(store) as note:
            note("cancel", "job-1")
        assert len(store.actions(limit=9).result()) == lines
