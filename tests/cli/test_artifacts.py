"""What `conveyor artifacts` lists and gets."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from shell import Command

from conveyor import Conveyor


@pytest.fixture
def job(belt: Conveyor, folder: Path) -> str:
    """A job that has left two files."""
    assert folder.exists()
    script = "mkdir dist; echo one > dist/a.whl; echo three > b"
    job = belt.command("sh", "-c", script, artifacts=["dist/*", "b"]).enqueue()
    belt.work(queues=["default"], timeout=30, keep=False)
    return job.id


def test_the_files_of_a_job_are_listed(conveyor: Command, job: str) -> None:
    ran = conveyor("artifacts", job)
    assert [line.split("\t") for line in ran.out.splitlines()] == [
        ["NAME", "BYTES", "LEASE", "SHA-256"],
        ["b", "6", "1", hashlib.sha256(b"three\n").hexdigest()],
        ["dist/a.whl", "4", "1", hashlib.sha256(b"one\n").hexdigest()],
    ]
    listed = conveyor("artifacts", job, "list", "--json").data
    assert [(each["name"], each["kind"]) for each in listed] == [
        ("b", "artifact"),
        ("dist/a.whl", "artifact"),
    ]


def test_one_is_written_here_or_where_it_is_said(conveyor: Command, job: str, folder: Path) -> None:
    assert conveyor("artifacts", job, "get", "dist/a.whl").code == 0
    assert (folder / "a.whl").read_text() == "one\n"
    ran = conveyor("artifacts", job[-12:], "get", "b", "-o", "elsewhere")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "elsewhere: 6 bytes\n"
    assert (folder / "elsewhere").read_text() == "three\n"
    (folder / "sub").mkdir()
    assert conveyor("artifacts", job, "get", "dist/a.whl", "-o", "sub").code == 0
    assert (folder / "sub" / "a.whl").read_text() == "one\n"


def test_all_are_written_into_a_folder(conveyor: Command, job: str, folder: Path) -> None:
    assert conveyor("artifacts", job, "get", "-o", "all").code == 0
    assert (folder / "all" / "dist" / "a.whl").read_text() == "one\n"
    assert (folder / "all" / "b").read_text() == "three\n"


def test_what_is_not_there_is_not_found(conveyor: Command, job: str, belt: Conveyor) -> None:
    ran = conveyor("artifacts", job, "get", "c")
    assert ran.code == 3
    assert "available: b, dist/a.whl" in ran.err
    other = belt.functions["send"].enqueue("ann")
    assert conveyor("artifacts", other.id, "get").code == 3
    assert conveyor("artifacts", other.id).out.splitlines() == ["NAME\tBYTES\tLEASE\tSHA-256"]


def test_where_nothing_can_be_written_is_wrong_use(conveyor: Command, job: str) -> None:
    assert conveyor("artifacts", job, "get", "b", "-o", "nowhere/b").code == 2
    assert conveyor("artifacts", job, "get", "-o", "app.py").code == 2
