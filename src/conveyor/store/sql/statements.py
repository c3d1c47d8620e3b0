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
# A list of jobs looks at these columns, and at the arguments only if it searches them.
_SEEN = """seq, lane, task, state, worker, enqueued_at, length(args) AS args_size,
        length(options) AS options_size, length(result) AS result_size,
        length(stopping) AS stopping_size, length(progress) AS progress_size,
        CASE WHEN :sought IS NOT NULL AND length(args) <= 65536 THEN args END AS short_args"""
_SIZES = "seq, args_size, options_size, result_size, stopping_size, progress_size"
# Whether a job of `found` is one of the filter.
_MATCHING = """(:queue IS NULL OR lane IN (SELECT id FROM lane WHERE lane.queue = :queue))
    AND (:task IS NULL OR task = :task)
    AND (:states IS NULL OR state IN ({state_list}))
    AND (:worker IS NULL OR worker = :worker)
    AND (:enqueued_before IS NULL OR enqueued_at < :enqueued_before)
    AND (:enqueued_after IS NULL OR enqueued_at >= :enqueued_after)
    AND (:sought IS NULL OR {has_text})
    AND (:error IS NULL OR EXISTS (
        SELECT 1 FROM attempt_error AS entry
        WHERE entry.job = found.seq AND entry.fingerprint = :error AND NOT EXISTS (
            SELECT 1 FROM attempt_error AS later WHERE later.job = found.seq
                AND later.seq > entry.seq AND later.fingerprint IS NOT NULL
        )
    ))"""
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
    texts["seen"], texts["sizes"] = _SEEN, _SIZES
    texts["matching"] = _MATCHING.format(**texts)
    texts["listed_job"] = ", ".join(
        f"CASE WHEN :with_{column} THEN {column} END" if column in DETAILS else column
        for column in COLUMNS["job"]
    )
    return {
        name: re.sub(r"\{(\w+)\}", lambda match: str(texts[match[1]]), body).strip()
        for name, body in (_STATEMENTS | dict(own)).items()
    }
