"""`conveyor move`: what it prints, and what its exit code says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from shell import Command

from conveyor.core.job import WorkerInfo
from conveyor.store.sqlite.store import SqliteStore
from postgres_schema import Schemas

WORKER = WorkerInfo(
    id="w1", host="h", boot_id="b", pid=1, pid_started=1.0, started_at=0.0, slots=1, queues=()
)


@pytest.fixture
def address(schemas: Schemas) -> Iterator[str]:
    """Return the address of a schema that does not exist."""
    yield f"{schemas.server}&schema=not_moved_to"
    with psycopg.connect(schemas.server, autocommit=True) as session:
        session.execute("DROP SCHEMA IF EXISTS not_moved_to CASCADE")


@pytest.fixture
def filled(conveyor: Command, folder: Path) -> str:
    """Three jobs in jobs.db; returns its path."""
    for number in range(3):
        assert conveyor("enqueue", "send", f"to={number}", "--queue", "mail").code == 0
    assert conveyor("enqueue", "send", "to=later", "--queue", "mail", "--delay", "1h").code == 0
    return str(folder / "jobs.db")


def test_a_check_shows_what_would_be_moved_and_changes_nothing(
    conveyor: Command, filled: str
) -> None:
    ran = conveyor("move", "jobs.db", "--check")
    assert ran.code == 0
    assert ran.out.splitlines()[0].startswith("QUEUE\tSCHEDULED\tAVAILABLE")
    assert "mail\t1\t3\t0" in ran.out
    assert "jobs: 4" in ran.out
    assert conveyor("enqueue", "send", "to=x", "--queue", "mail").code == 0


def test_a_file_is_moved_to_postgresql_and_back(
    conveyor: Command, filled: str, address: str, folder: Path
) -> None:
    refused = conveyor("move", "jobs.db", address)
    assert refused.code == 4
    assert "conveyor migrate" in refused.err
    assert conveyor("migrate", "--url", address).code == 0
    ran = conveyor("move", "jobs.db", address)
    assert ran.code == 0
    assert "mail\t1\t3\t0" in ran.out
    assert "the counts and checksums of both are equal" in ran.err
    assert f"CONVEYOR_URL='{address}'" in ran.err
    closed = conveyor("enqueue", "send", "to=x", "--queue", "mail")
    assert closed.code == 4
    assert "were moved to postgresql://" in closed.err
    assert "3" in conveyor("queues", "--url", address).out
    again = conveyor("move", "jobs.db", address)
    assert again.code == 0
    assert "nothing to do" in again.err
    assert conveyor("move", address, "back.db").code == 0
    assert "mail\topen\t4" in conveyor("queues", "--url", "back.db").out


def test_json_has_the_counts_and_the_checksums(conveyor: Command, filled: str) -> None:
    checked = json.loads(conveyor("move", "jobs.db", "--check", "--json").out)
    assert checked["queues"] == {"mail": {"available": 3, "scheduled": 1}}
    assert checked["obstacles"] == []
    moved = json.loads(conveyor("move", "jobs.db", "new.db", "--json").out)
    assert moved["checksums"]["jobs"] == checked["checksums"]["jobs"]
    assert moved["differences"] == []


def test_a_move_is_undone(conveyor: Command, filled: str) -> None:
    assert conveyor("move", "jobs.db", "new.db").code == 0
    undone = conveyor("move", "--undo", "jobs.db")
    assert undone.code == 0
    assert "is open again" in undone.err
    assert "mail\topen\t4" in conveyor("queues", "--url", "jobs.db").out
    assert conveyor("move", "--undo", "jobs.db").code == 2


def test_doctor_says_where_the_jobs_are(conveyor: Command, filled: str) -> None:
    assert conveyor("move", "jobs.db", "new.db").code == 0
    ran = conveyor("doctor", "--url", "jobs.db")
    assert ran.code == 4
    assert "were moved to" in ran.out


def test_a_move_that_must_wait_makes_no_target(
    conveyor: Command, filled: str, folder: Path
) -> None:
    store = SqliteStore(filled)
    store.beat(WORKER).result()
    store.close()
    ran = conveyor("move", "jobs.db", "new.db")
    assert ran.code == 2
    assert "nothing was moved. In the way: workers of " in ran.err
    assert "conveyor workers drain" in ran.err
    assert not (folder / "new.db").exists()
    checked = conveyor("move", "jobs.db", "--check")
    assert checked.code == 1
    assert "in the way: workers of" in checked.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("jobs.db",), "name where to move the jobs"),
        (("jobs.db", "new.db", "--undo"), "--undo takes FROM_URL alone"),
        (("jobs.db", "memory:"), "cannot be moved from or to memory:"),
        (("http://127.0.0.1:1", "new.db"), "cannot be moved from or to http"),
        (("jobs.db", "foo:bar"), "there is no store for 'foo:bar'"),
        (("jobs.db", "jobs.db"), "to itself"),
    ],
)
def test_wrong_arguments_are_explained(
    conveyor: Command, filled: str, arguments: tuple[str, ...], told: str
) -> None:
    ran = conveyor("move", *arguments)
    assert ran.code == 2
    assert told in ran.err


def test_a_source_that_is_not_there_is_not_made(conveyor: Command, folder: Path) -> None:
    ran = conveyor("move", "none.db", "new.db")
    assert ran.code == 4
    assert "no store at" in ran.err
    assert not list(folder.glob("*.db"))
