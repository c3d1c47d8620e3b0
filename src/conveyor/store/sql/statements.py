"""The statements of statements.sql by name, and which of them only read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from importlib.resources import files

from ...core.job import DETAILS
from .dialect import Dialect
from .rows import COLUMNS

NOTHING: Mapping[str, str] = {}
_HEADER = re.compile(r"^-- name: (\w+)(, reads)?\n", re.MULTILINE)


def split_statements(text: str) -> tuple[dict[str, str], frozenset[str]]:
    """Return the statements of a file by name, and the names of those that only read."""
    _, *parts = _HEADER.split(text)
    names, reads, bodies = parts[::3], parts[1::3], parts[2::3]
    reading = (name for name, marked in zip(names, reads, strict=True) if marked)
    return dict(zip(names, bodies, strict=True)), frozenset(reading)


_STATEMENTS, READ_ONLY = split_statements(
    (files("conveyor.store.sql") / "statements.sql").read_text(encoding="utf-8")
)


def load_statements(dialect: Dialect, own: Mapping[str, str] = NOTHING) -> dict[str, str]:
    """Return the statements by name, in one database's SQL, with its `own` in their place."""
    texts = {each.name: getattr(dialect, each.name) for each in fields(dialect)}
    for table, columns in COLUMNS.items():
        texts[table] = ", ".join(columns)
    texts["moved_job_values"] = ", ".join(f":{column}" for column in COLUMNS["moved_job"])
    texts["listed_job"] = ", ".join(
        f"CASE WHEN :with_{column} THEN {column} END" if column in DETAILS else column
        for column in COLUMNS["job"]
    )
    return {
        name: re.sub(r"\{(\w+)\}", lambda match: str(texts[match[1]]), body).strip()
        for name, body in (_STATEMENTS | dict(own)).items()
    }
