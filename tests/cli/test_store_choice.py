"""Which store a command uses: what was said explicitly, and never one that it has to make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from shell import Command

from conveyor import Conveyor
from conveyor.errors import UsageError
from conveyor.settings import absolute_url, load_settings

READING = [
    ["ps"],
    ["queues"],
    ["queues", "pause", "mail"],
    ["workers"],
    ["agents"],
    ["schedules"],
    ["audit"],
    ["token", "list"],
    ["show", "0190-x"],
    ["why", "0190-x"],
    ["logs", "0190-x"],
    ["artifacts", "0190-x"],
    ["wait", "0190-x"],
    ["cancel", "0190-x"],
    ["retry", "0190-x"],
    ["scale", "status"],
    ["doctor"],
    ["doctor", "--quick"],
]


@pytest.mark.parametrize("args", READING, ids=" ".join)
def test_a_command_that_only_reads_makes_no_store(
    conveyor: Command, folder: Path, args: list[str]
) -> None:
    ran = conveyor(*args)
    assert ran.code == 4
    assert f"no store at {folder / 'jobs.db'}" in ran.out + ran.err
    assert sorted(folder.glob("jobs.db*")) == []


@pytest.mark.parametrize(("command", "code"), [("ps", 2), ("doctor", 4), ("scale status", 2)])
def test_an_address_of_no_known_kind_is_not_taken_for_a_path(
    conveyor: Command, command: str, code: int
) -> None:
    ran = conveyor(*command.split(), "--url", "ftp://jobs.example.com")
    assert ran.code == code
    assert "there is no store for 'ftp://jobs.example.com'; known are" in ran.out + ran.err


def test_an_empty_file_is_no_store_either(conveyor: Command, folder: Path) -> None:
    (folder / "jobs.db").touch()
    assert conveyor("ps").code == 4
    assert (folder / "jobs.db").read_bytes() == b""


def test_a_store_in_memory_cannot_be_read_from_outside(conveyor: Command) -> None:
    ran = conveyor("ps", "--url", "memory:")
    assert ran.code == 4
    assert "can be used only by the process that has it" in ran.err


@pytest.fixture
def own(folder: Path) -> Conveyor:
    """An application whose store is not the default one."""
    text = (folder / "app.py").read_text()
    (folder / "app.py").write_text(text.replace('Conveyor("jobs.db")', 'Conveyor("own.db")'))
    return Conveyor(folder / "own.db")


def test_commands_use_the_store_of_the_configured_application(
    conveyor: Command, folder: Path, own: Conveyor, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = conveyor("enqueue", "--app", "app:belt", "send", "to=ann").out.strip()
    assert conveyor("ps").code == 4
    monkeypatch.setenv("CONVEYOR_APP", "app:belt")
    assert [job["id"] for job in conveyor("ps", "--json").data] == [job_id]
    assert conveyor("show", job_id).code == 0
    doctor = conveyor("doctor").out
    assert "url\town.db\tthe application" in doctor


def test_a_flag_and_a_variable_override_the_application_s_store(
    conveyor: Command, folder: Path, own: Conveyor, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.command("true").enqueue()
    own.close()
    said = conveyor("enqueue", "--app", "app:belt", "--url", "scratch.db", "send", "to=ann")
    assert [job["id"] for job in conveyor("ps", "--url", "scratch.db", "--json").data] == [
        said.out.strip()
    ]
    monkeypatch.setenv("CONVEYOR_URL", "other.db")
    conveyor("enqueue", "--app", "app:belt", "send", "to=bob")
    assert len(conveyor("ps", "--json").data) == 1
    monkeypatch.setenv("CONVEYOR_APP", "app:belt")
    source = "the environment (CONVEYOR_URL); it overrides the application's own.db"
    assert f"url\tother.db\t{source}" in conveyor("doctor").out
    monkeypatch.delenv("CONVEYOR_URL")
    assert [job["task"] for job in conveyor("ps", "--json").data] == ["conveyor.command"]


def test_a_program_that_names_its_store_follows_the_variable_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVEYOR_URL", "scratch.db")
    belt = Conveyor(folder / "production.db", token="secret")
    belt.command("true").enqueue()
    assert str(folder / "scratch.db") in belt.url
    belt.close()
    assert not (folder / "production.db").exists()
    with Conveyor("memory:") as in_memory:
        assert in_memory.url == "memory:"
    diverted = Conveyor("production.db")
    diverted.divert(folder / "diverted.db")
    assert str(folder / "diverted.db") in diverted.url
    diverted.close()


def test_a_token_goes_only_to_the_server_that_it_was_declared_with(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    belt = Conveyor("http://127.0.0.1:9/", token="secret")
    assert belt.choose_store(load_settings()).token == "secret"
    monkeypatch.setenv("CONVEYOR_URL", "http://127.0.0.1:10/")
    assert belt.choose_store(load_settings()).token is None
    assert Conveyor(token="secret").choose_store(load_settings()).token == "secret"


def test_a_file_and_an_application_that_name_different_stores_are_in_conflict(
    conveyor: Command, folder: Path, own: Conveyor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "conveyor.toml").write_text('app = "app:belt"\nurl = "file.db"\n')
    ran = conveyor("enqueue", "send", "to=ann")
    assert ran.code == 2
    assert "the application names the store 'own.db'" in ran.err
    assert f"conveyor.toml names '{folder / 'file.db'}'" in ran.err
    with pytest.raises(UsageError, match="remove one of them"):
        own.command("true").enqueue()
    assert "remove one of them" in conveyor("doctor").out
    assert conveyor("enqueue", "--url", "scratch.db", "send", "to=ann").code == 0
    monkeypatch.delenv("CONVEYOR_URL")  # which the flag has set in this process
    (folder / "conveyor.toml").write_text(f'app = "app:belt"\nurl = "{folder}/./own.db"\n')
    assert conveyor("enqueue", "send", "to=ann").code == 0
    assert own.command("true").enqueue()
    own.close()


@pytest.mark.parametrize("declared", ["'memory:'", "store=MemoryStore()"])
def test_a_store_that_cannot_be_replaced_is_in_conflict_with_a_configured_one(
    really: Command, folder: Path, declared: str
) -> None:
    (folder / "other.py").write_text(
        "from conveyor import Conveyor\nfrom conveyor.store.memory.store import MemoryStore\n"
        f"belt = Conveyor({declared})\n"
    )
    ran = really("worker", "other:belt", "--url", "scratch.db")  # it must not begin to work
    assert ran.code == 2
    assert "the application has its own store memory:, and the command line names" in ran.err


def test_relative_paths_in_a_file_are_relative_to_that_file(
    conveyor: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'url = "data/jobs.db"\ntoken_file = "token"\nhealth_file = "/run/health"\n'
    text += 'ca_file = ""\n'
    (folder / "conveyor.toml").write_text(text + 'app = "app:other"\n')
    (folder / "app.py").write_text("from conveyor import Conveyor\nother = Conveyor()\n")
    (folder / "data").mkdir()
    inner = folder / "src" / "shop"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    settings = load_settings()
    assert settings["url"] == str(folder / "data" / "jobs.db")
    assert settings["token_file"] == str(folder / "token")
    assert (settings["health_file"], settings["ca_file"]) == ("/run/health", "")
    assert conveyor("exec", "true").code == 0
    assert (folder / "data" / "jobs.db").exists()
    assert conveyor("doctor").code == 0  # which finds the application beside its file


def test_a_configured_limit_of_arguments_wins_over_the_program_s(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Conveyor("memory:", args_limit=10)._producer.args_limit == 10
    monkeypatch.setenv("CONVEYOR_ARGS_LIMIT", "100")
    assert Conveyor("memory:", args_limit=10)._producer.args_limit == 100
    monkeypatch.delenv("CONVEYOR_ARGS_LIMIT")
    assert Conveyor("memory:")._producer.args_limit == 1 << 20


def test_two_files_in_one_folder_are_in_conflict(folder: Path) -> None:
    (folder / "conveyor.toml").write_text('url = "a.db"\n')
    (folder / "pyproject.toml").write_text('[tool.conveyor]\nurl = "b.db"\n')
    with pytest.raises(UsageError) as refused:
        load_settings(folder=folder)
    assert str(folder / "conveyor.toml") in str(refused.value)
    assert str(folder / "pyproject.toml") in str(refused.value)


@pytest.mark.parametrize(
    ("url", "absolute"),
    [
        ("jobs.db", "/srv/jobs.db"),
        ("/var/jobs.db", "/var/jobs.db"),
        ("jobs.db?durability=normal", "/srv/jobs.db?durability=normal"),
        ("sqlite:///jobs.db", "sqlite:////srv/jobs.db"),
        ("sqlite:////var/jobs.db", "sqlite:////var/jobs.db"),
        ("memory:", "memory:"),
        ("https://jobs.example.com", "https://jobs.example.com"),
        ("redis://host", "redis://host"),
        ("sqlite:jobs.db", "sqlite:jobs.db"),
        ("a/b:c.db", "/srv/a/b:c.db"),
    ],
)
def test_a_relative_path_in_a_url_is_taken_from_a_folder(url: str, absolute: str) -> None:
    assert absolute_url(url, "/srv") == absolute


@pytest.mark.alone
def test_a_worker_on_a_scratch_file_runs_nothing_of_the_application_s_own_store(
    really: Command,
    start: Callable[..., object],
    own: Conveyor,
    folder: Path,
    until: Callable[..., None],
) -> None:
    own.command("true").enqueue()
    job_id = really("enqueue", "--app", "app:belt", "--url", "scratch.db", "send", "to=ann").out
    start("worker", "app:belt", "--url", "scratch.db")
    assert really("wait", "--url", "scratch.db", job_id.strip()).code == 0
    assert [job.state for job in own.jobs()] == ["available"]
    own.close()
