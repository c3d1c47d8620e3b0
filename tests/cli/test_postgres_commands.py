"""Every command on PostgreSQL, by an address with a password in the environment: shown nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shell import Command, Ran, Start, Until, serve

from postgres_schema import Schemas

PASSWORD = "not-to-be-seen"

Commands = Callable[..., Ran]


@pytest.fixture
def secretly(
    conveyor: Command, schemas: Schemas, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Commands]:
    """Call a command on PostgreSQL; it must succeed, unless told otherwise, and be discreet."""

    def call(*args: object, code: int = 0) -> Ran:
        ran = conveyor(*args)
        assert ran.code == code, ran
        assert PASSWORD not in ran.out + ran.err
        return ran

    with schemas.one() as url:
        # The server of the tests asks for no password.
        secret = url.replace("postgres@", f"postgres:{PASSWORD}@", 1)
        assert PASSWORD in secret
        monkeypatch.setenv("CONVEYOR_URL", secret)
        monkeypatch.setenv("CONVEYOR_APP", "app:belt")
        yield call


def test_commands_that_operate_on_jobs(secretly: Commands, start: Start, until: Until) -> None:
    sent = secretly("enqueue", "send", "to=ann").out.strip()
    waiting = secretly("enqueue", "shop.pack").out.strip()
    assert sent in secretly("ps", "--json").out
    assert secretly("queues").out.count("mail") == 1
    assert secretly("queues", "pause", "mail")
    assert secretly("queues", "resume", "mail")
    assert "No worker serves" in secretly("why", waiting).out
    worker = serve(start)
    secretly("wait", sent)
    assert "sending to ann" in secretly("logs", sent).out
    assert "ann x1" in secretly("show", sent).out
    [running] = secretly("workers", "--json").data
    secretly("workers", "quiet", running["id"])
    secretly("workers", "resume", running["id"])
    secretly("agents")
    assert "nightly" in secretly("schedules").out
    secretly("schedules", "pause", "nightly")
    secretly("schedules", "resume", "nightly")
    secretly("artifacts", sent)
    secretly("cancel", waiting)
    secretly("retry", waiting)
    secretly("cancel", waiting)
    secretly("delete", sent)
    assert "pause" in secretly("audit").out
    worker.terminate()
    _, said = worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert PASSWORD not in said
    assert "postgresql://postgres@" not in secretly("exec", "--detach", "--", "true").err


def test_commands_about_the_store_itself(secretly: Commands) -> None:
    secretly("migrate", "--check")
    secretly("migrate")
    secretly("migrate", "--sql")
    made = secretly("token", "create", "agents", "--scope", "agent")
    assert made.out.strip()
    [token] = secretly("token", "list", "--json").data
    secretly("token", "revoke", token["id"])
    secretly("scale", "status", code=3)
    # The server of the tests is not durable, which it finds.
    doctor = secretly("doctor", code=1).out
    assert "postgresql://postgres:…@" in doctor


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{PASSWORD}@127.0.0.1:1/db",
        f"postgresql://me@127.0.0.1:1/db?password={PASSWORD}",
        f"postgresql://me@127.0.0.1:1/db?sslmode=disable&sslp%61ssword={PASSWORD}",
        f"postgresql://me:{PASSWORD}@[::1/db",
        f"postgresql://me:{PASSWORD}@127.0.0.1/db?schema=A",
        f"postgres//me:{PASSWORD}@127.0.0.1/db",
        f"mysql://me:{PASSWORD}@127.0.0.1/db",
    ],
)
@pytest.mark.parametrize("args", [["ps"], ["doctor"], ["worker", "app:belt"]], ids=" ".join)
def test_an_address_that_is_wrong_is_refused_without_its_password(
    conveyor: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, url: str, args: list[str]
) -> None:
    text = (folder / "app.py").read_text()
    (folder / "app.py").write_text(text.replace('Conveyor("jobs.db")', "Conveyor()"))
    monkeypatch.setenv("CONVEYOR_URL", url)
    ran = conveyor(*args)
    assert ran.code != 0
    assert PASSWORD not in ran.out + ran.err


def test_a_drill_refuses_another_kind_of_store_without_its_password(conveyor: Command) -> None:
    ran = conveyor("drill", "--url", f"mysql://me@h/db?sslpassword={PASSWORD}")
    assert ran.code == 2
    assert "got 'mysql://me@h/db?sslpassword=…'" in ran.err
    assert PASSWORD not in ran.out + ran.err
