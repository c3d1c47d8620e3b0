"""`conveyor drill --url postgresql://…`: in schemas of its own, of which nothing stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from conveyor.drill.scenarios import SCENARIOS
from postgres_schema import Schemas

PASSWORD = "not-to-be-seen"


def drill(folder: Path, url: str, *args: str) -> subprocess.CompletedProcess[str]:
    (folder / "tmp").mkdir()
    plain = {name: text for name, text in os.environ.items() if not name.startswith("CONVEYOR")}
    return subprocess.run(
        [sys.executable, "-m", "conveyor", "drill", "--url", url, *args],
        cwd=folder,
        env={**plain, "TMPDIR": str(folder / "tmp")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def made_schemas(schemas: Schemas) -> list[str]:
    with psycopg.connect(schemas.server) as session:
        found = (
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'conveyor!_scratch%' ESCAPE '!'"
        )
        return [name for (name,) in session.execute(found).fetchall()]


def check_report(ran: subprocess.CompletedProcess[str], *names: str) -> None:
    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout)
    assert [scenario["name"] for scenario in results["scenes"]] == [*names]
    assert results["kept"]


@pytest.mark.alone
def test_a_drill_on_postgres_keeps_its_promises_and_shows_no_password(
    schemas: Schemas, tmp_path: Path
) -> None:
    url = schemas.server.replace("postgres@", f"postgres:{PASSWORD}@", 1)
    assert PASSWORD in url
    ran = drill(tmp_path, url, "--only", "kill", "--only", "drain", "--json", "--keep")
    check_report(ran, "drain", "kill")
    assert made_schemas(schemas) == []
    assert PASSWORD not in ran.stdout + ran.stderr
    kept = [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]
    assert [path for path in kept if path.name == "conveyor_drill_app.py"]
    assert not [path for path in kept if PASSWORD.encode() in path.read_bytes()]


@pytest.mark.slow
@pytest.mark.alone
def test_every_scenario_without_a_file_is_kept_on_postgres(
    schemas: Schemas, tmp_path: Path
) -> None:
    ran = drill(tmp_path, schemas.server, "--json")
    check_report(ran, *(scenario.name for scenario in SCENARIOS if not scenario.needs_file))
    assert made_schemas(schemas) == []


def test_a_role_that_may_make_no_schema_is_told_which_right_it_lacks(
    schemas: Schemas, tmp_path: Path
) -> None:
    role = f"drill_{os.getpid()}"
    with psycopg.connect(schemas.server, autocommit=True) as session:
        session.execute(f"CREATE ROLE {role} LOGIN".encode())
        try:
            ran = drill(tmp_path, schemas.server.replace("postgres@", f"{role}@", 1))
        finally:
            session.execute(f"DROP ROLE {role}".encode())
    assert ran.returncode not in (0, 1)
    assert "permission denied for database" in ran.stderr
    assert "GRANT CREATE ON DATABASE" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("url", "args", "why"),
    [
        ("jobs.db", (), "temporary SQLite store, or with --url on PostgreSQL; got 'jobs.db'"),
        ("postgresql://a/b", ("--only", "disk"), "'disk' needs a store in a file"),
    ],
)
def test_a_store_on_which_a_drill_cannot_run_is_wrong_use(
    url: str, args: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    ran = drill(tmp_path, url, *args)
    assert ran.returncode == 2
    assert why in ran.stderr


def test_the_list_for_postgres_has_the_scenarios_without_a_file(tmp_path: Path) -> None:
    ran = drill(tmp_path, "postgresql://nowhere/db", "--list")
    names = [line.split("\t")[0] for line in ran.stdout.splitlines()[1:]]
    assert names == [scenario.name for scenario in SCENARIOS if not scenario.needs_file]
