"""Runs scripts and SQL in another process, because opening a database twice drops its locks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SQL = (
    "db = apsw.Connection(sys.argv[1]); db.set_busy_timeout(10_000)\n"
    "print(json.dumps([list(row) for row in db.execute(sys.argv[2])]))"
)


def run_script(script: str, *args: object, **options: Any) -> Any:
    """Run a program in another process and return what it prints, from JSON."""
    command = [sys.executable, "-c", f"import apsw, json, os, sys\n{script}", *map(str, args)]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **options
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout or "null")


def sql(path: Path, statement: str) -> Any:
    """Run SQL on a database file and return the rows as lists."""
    return run_script(SQL, path, statement)
