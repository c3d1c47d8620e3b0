"""A file as an older version of Conveyor has left it."""

from __future__ import annotations

from pathlib import Path

import apsw

from conveyor.store.sqlite.migrate import APPLICATION_ID, schemas


def make_older(path: Path, version: int) -> None:
    """Make a file what an older version would have made of it: its tables, and what they hold."""
    newer = path.with_suffix(".newer")
    path.rename(newer)
    old = apsw.Connection(str(path))
    for schema in schemas()[:version]:
        old.execute(schema)
    old.execute(f"PRAGMA user_version = {version}; PRAGMA application_id = {APPLICATION_ID}")
    old.execute("ATTACH ? AS newer", (str(newer),))
    tables = old.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall()
    for (table,) in tables:
        if not table.startswith("sqlite_"):
            columns = old.execute("SELECT name FROM pragma_table_info(?, 'main')", (table,))
            names = ", ".join(name for (name,) in columns)
            old.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM newer.{table}")
    old.close()
