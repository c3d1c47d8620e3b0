"""The schema of a database: one file of SQL for each version, in the package of its driver."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def schema_files(package: str) -> tuple[str, ...]:
    """Return the texts in order; the first one makes an empty database version 1."""
    folder = files(package) / "schema"
    return tuple(
        entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".sql")
    )
