"""`conveyor migrate`, and what `conveyor doctor` says about a PostgreSQL server."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import psycopg
import pytest
from shell import Command

from postgres_schema import Schemas


@pytest.fixture
def address(schemas: Schemas) -> Iterator[str]:
    """Return the address of a schema that does not exist."""
    yield f"{schemas.server}&schema=not_migrated"
    with psycopg.connect(schemas.server, autocommit=True) as session:
        session.execute("DROP SCHEMA IF EXISTS not_migrated CASCADE")


def test_a_schema_is_made_once_and_a_check_changes_nothing(conveyor: Command, address: str) -> None:
    refused = conveyor("ps", "--url", address)
    assert refused.code == 4
    assert "conveyor migrate" in refused.err
    checked = conveyor("migrate", "--check", "--url", address)
    assert checked.code == 1
    assert "needs a migration from schema version 0 to" in checked.out
    # The address has its host behind the "?", so the shell would take it apart.
    name, *hinted = shlex.split(refused.err.split("`")[1])
    assert name == "conveyor"
    assert "was migrated from schema version 0" in conveyor(*hinted).out
    done = conveyor("migrate", "--check", "--url", address)
    assert done.code == 0
    assert "nothing to do" in done.out
    assert conveyor("ps", "--url", address).code == 0


def test_the_sql_of_a_migration_can_be_run_by_hand(
    conveyor: Command, address: str, schemas: Schemas
) -> None:
    script = conveyor("migrate", "--sql", "--url", address).out
    with psycopg.connect(schemas.server) as session:
        session.execute(script.encode())
    assert conveyor("migrate", "--check", "--url", address).code == 0
    assert conveyor("migrate", "--sql", "--url", address).out.strip() == ""


@pytest.mark.parametrize("url", ["jobs.db", "memory:", "http://127.0.0.1:1"])
def test_only_postgresql_is_migrated_by_hand(conveyor: Command, url: str) -> None:
    ran = conveyor("migrate", "--url", url)
    assert ran.code == 2
    assert "only a PostgreSQL store" in ran.err


@pytest.mark.parametrize("given", [("--check", "--sql"), ("--sql", "--roles")])
def test_what_to_print_is_one_thing(conveyor: Command, given: tuple[str, ...]) -> None:
    ran = conveyor("migrate", *given, "--url", "postgresql://me@127.0.0.1:1/db")
    assert ran.code == 2
    assert "only one of --check, --sql and --roles" in ran.err


def test_roles_are_printed_for_a_schema_that_exists(
    conveyor: Command, address: str, schemas: Schemas
) -> None:
    refused = conveyor("migrate", "--roles", "--url", address)
    assert refused.code == 4
    assert "run `conveyor migrate` first" in refused.err
    with schemas.one() as url:
        ran = conveyor("migrate", "--roles", "--url", url)
    assert ran.code == 0
    assert "_worker NOLOGIN" in ran.out


def test_doctor_examines_the_server(conveyor: Command, schemas: Schemas) -> None:
    with schemas.one() as url:
        ran = conveyor("doctor", "--url", url.replace("//postgres@", "//postgres:secret@"))
    assert "PostgreSQL 1" in ran.out
    assert "NOT OK\tsettings\tfsync=off" in ran.out
    assert "NOT OK\tsettings\tautovacuum=off" in ran.out
    assert "ok\thints\tnotifications arrive" in ran.out
    assert "differs from the server's by 0.0 s" in ran.out
    assert "responds in" in ran.out
    assert ":secret@" not in ran.out
