"""The statements of statements.sql by name, and which of them only read."""

from __future__ import annotations

import re
from dataclasses import fields
from importlib.resources import files

from .dialect import Dialect
from .rows import COLUMNS

_HEADER = re.compile(r"^-- name: (\w+)(, reads)?\n", re.MULTILINE)
_, *_PARTS = _HEADER.split(
    (files("conveyor.store.sql") / "statements.sql").read_text(encoding="utf-8")
)

READ_ONLY = frozenset(name for name, reads in zip(_PARTS[::3], _PARTS[1::3], strict=True) if reads)


def load_statements(dialect: Dialect) -> dict[str, str]:
    """Return the statements by name, in one database's SQL."""
    texts = {each.name: getattr(dialect, each.name) for each in fields(dialect)}
    for table, columns in COLUMNS.items():
        texts[table] = ", ".join(columns)
    return {
        name: re.sub(r"\{(\w+)\}", lambda match: str(texts[match[1]]), body).strip()
        for name, body in zip(_PARTS[::3], _PARTS[2::3], strict=True)
    }
