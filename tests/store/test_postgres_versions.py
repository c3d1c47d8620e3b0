"""Every supported version of PostgreSQL makes the promises of a store."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from conveyor.errors import UnavailableError
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.migrate import check_server
from postgres_schema import Schemas
from postgres_server import VERSIONS

ROOT = Path(__file__).parents[2]


def test_the_server_has_the_version_that_was_asked_for(schemas: Schemas) -> None:
    wanted = os.environ.get("CONVEYOR_TEST_POSTGRES", "18")
    with psycopg.connect(schemas.server) as session:
        assert wanted not in VERSIONS or session.info.server_version // 10000 == int(wanted)


def test_a_server_that_is_too_old_is_refused() -> None:
    address = parse_address("postgresql://me@h/db")
    check_server(address, 140000)
    with pytest.raises(UnavailableError, match=r"h/db.* is PostgreSQL 13; Conveyor needs 14"):
        check_server(address, 130023)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_an_older_version_makes_the_same_promises(version: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2"]
    ran = subprocess.run(
        [*command, "tests/store", "-k", "postgres"],
        cwd=ROOT,
        env={**os.environ, "CONVEYOR_TEST_POSTGRES": version},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-5000:]
