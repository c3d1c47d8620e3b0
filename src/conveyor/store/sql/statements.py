"""The statements of statements.sql by name, and which of them only read."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import NamedTuple

from .rows import JOB_COLUMNS

_HEADER = re.compile(r"^-- name: (\w+)(, reads)?\n", re.MULTILINE)


class Statement(NamedTuple):
    """One named statement. `reads`: it changes nothing, as its header declares."""

    text: str
    reads: bool


def load_statements() -> dict[str, Statement]:
    """Return the statements of statements.sql by name."""
    source = (files("conveyor.store.sql") / "statements.sql").read_text(encoding="utf-8")
    _, *parts = _HEADER.split(source)
    return {
        name: Statement(body.strip().replace("{job}", ", ".join(JOB_COLUMNS)), bool(reads))
        for name, reads, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }


STATEMENTS = load_statements()
READ_ONLY = frozenset(name for name, statement in STATEMENTS.items() if statement.reads)
