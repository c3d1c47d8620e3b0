"""The statements in PostgreSQL's SQL, with numbered and typed parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from ..sql.dialect import POSTGRES
from ..sql.executor import Params
from ..sql.statements import load_statements, split_statements
from .binary_values import encoder

_PARAMETER = re.compile(r"(?<!:):(\w+)")
_COMMENT = re.compile(r"--.*")

# The type of a parameter by its name, most of which are names of columns. Declared in every
# statement, so that no type is guessed from a value.
_TYPES: dict[str, str] = {
    name: sql_type
    for sql_type, names in {
        "INT8": "after attempt available cancelled capacity checksum completed count crashes "
        "deleted discarded first job known lane last lease limit minute most number offer offset "
        "position priority rank result_checksum retried retryable rows run running scheduled seq "
        "size stop term term_before until_rank",
        "FLOAT8": "at beat_at cancel_requested_at created_at due_at enqueued_after enqueued_at "
        "enqueued_before expires_at final_at last_at lasting latest lease_until moment next_at "
        "now paused_at revoked_at run_at since started_at unsupported_since until until_before",
        "TEXT": "became callback called_on cancel_reason cron detail digest error fingerprint "
        "holder id kind mark missed name note note_before patience pause_reason paused_by place "
        "queue queues reason recent requires scope scopes state state_before stream subject task "
        "text timezone transaction unique_key what who worker",
        "BYTEA": "answer args data defaults dump info options progress request result sought "
        "stopping",
        "BOOL": "all_of_them cancel_forced executable forced key_kept paused starts whole "
        "with_args with_options with_result with_stopping",
        "JSON": "names numbers states",
        "TEXT[]": "channels keys payloads",
        "INT8[]": "happened",
    }.items()
    for name in names.split()
}
# Where a name means something else.
_SPECIAL = {
    **dict.fromkeys(
        (
            (statement, "before")
            for statement in (
                *("find_sizes", "find_sizes_oldest", "looked_at", "looked_at_oldest"),
                *("count_matching", "failed_alike", "failed_alike_oldest"),
                *("actions", "oldest_action", "output_sizes_before"),
                *("marks", "delete_old_minutes"),
            )
        ),
        "INT8",
    ),
    ("longest_running", "stopping"): "BOOL",
    ("lane_queue", "id"): "INT8",
    ("note", "error"): "BYTEA",
    **dict.fromkeys(
        (
            (statement, "after")
            for statement in (
                *("tokens", "workers", "worker_sizes", "schedules", "queues_after", "minutes"),
            )
        ),
        "TEXT",
    ),
}
_BEFORE = "FLOAT8"
# A parameter of this name is an array.
_ALL = "_all"

# Statements that are run for many rows at once: one statement over arrays.
_FOR_MANY_ROWS = frozenset(
    {
        *("write_output", "note_action", "add_offered_job", "add_offered_file"),
        *("note", "add_moved_job", "add_moved_file", "add_moved_callback", "add_token"),
    }
)
# An insert into a bounded queue differs in where it may insert. Its row is locked before, in the
# same transaction and by another statement: one that locks and counts would count too early.
_WITHOUT_BOUND = "SELECT name FROM queue WHERE name = :name AND capacity IS NULL"
_WITH_ROOM = """
    SELECT name FROM counted_queue
    WHERE name = :name AND capacity = :capacity
        AND scheduled + available + retryable + :scheduled + :available <= capacity
        AND NOT EXISTS (
            SELECT 1 FROM offer WHERE queue = :name AND answer IS NULL AND until >= :now
        )
"""
_KEY = re.compile(r"WHERE (?:id = :id|seq = :seq)\b")
_STATE = re.compile(r"\bstate = ('\w+'|:\w+)")
_VALUES = re.compile(r"VALUES \(([^)]*)\)")


class Query:
    """A text for the server, its name once it is prepared, and how its values are written."""

    __slots__ = ("encoders", "name", "text")

    def __init__(self, name: str, text: str, types: Iterable[str]) -> None:
        self.name = name.encode()
        self.text = text.encode()
        self.encoders = tuple(map(encoder, types))

    def encode(self, values: Iterable[Any]) -> list[bytes | None]:
        """Return the values of the parameters in binary format."""
        return [
            None if value is None else encode(value)
            for encode, value in zip(self.encoders, values, strict=True)
        ]


class Statement:
    """One statement: its query, and its parameters in the order of their numbers."""

    __slots__ = ("for_many_rows", "names", "query", "types")

    def __init__(self, name: str, body: str, *, shared: str = "", many: str = "") -> None:
        """`shared`: the text that this one replaces, whose order of parameters callers know.

        `many`: the text for many rows, where it is not made of `body`.
        """
        body = _by_key(_COMMENT.sub("", body).strip())
        self.names = tuple(dict.fromkeys(_PARAMETER.findall(_COMMENT.sub("", shared or body))))
        self.types = {each: _type_of(name, each) for each in self.names}
        self.query = Query(name, self._numbered(body), self.types.values())
        self.for_many_rows: Query | None = None
        if many or name in _FOR_MANY_ROWS:
            over_arrays = (
                self._numbered(_COMMENT.sub("", many), _ALL) if many else self._over_arrays(body)
            )
            arrays = [f"{each}[]" for each in self.types.values()]
            self.for_many_rows = Query(f"{name}_all", over_arrays, arrays)

    @property
    def text(self) -> bytes:
        """The SQL, with numbered parameters."""
        return self.query.text

    def bind(self, params: Params) -> Sequence[Any]:
        """Return the values in the order of their numbers."""
        if isinstance(params, Mapping):
            return [params[name] for name in self.names]
        return params

    def bind_columns(self, params: Iterable[Params]) -> list[list[Any]]:
        """Return the values of many rows, one list for each parameter."""
        return [list(column) for column in zip(*map(self.bind, params), strict=True)]

    def _numbered(self, body: str, of_arrays: str = "") -> str:
        typed = {
            name + of_arrays: f"${number}::{self.types[name]}{'[]' if of_arrays else ''}"
            for number, name in enumerate(self.names, start=1)
        }
        return _PARAMETER.sub(lambda m: typed[m[1]], body)

    def _over_arrays(self, body: str) -> str:
        """Return an UPDATE or an INSERT that takes one array for each parameter."""
        arrays = ", ".join(
            f"${number}::{self.types[name]}[]" for number, name in enumerate(self.names, start=1)
        )
        columns = ", ".join(f"given_{name}" for name in self.names)
        body = _PARAMETER.sub(r"given_\1", body)
        if body.startswith("UPDATE"):
            given = f"FROM unnest({arrays}) AS given ({columns})"
            return body.replace("WHERE", f"{given}\nWHERE", 1)
        given = f"FROM unnest({arrays}) WITH ORDINALITY AS given ({columns}, given_number)"
        return _VALUES.sub(rf"SELECT \1 {given} ORDER BY given_number", body)


def _by_key(body: str) -> str:
    """Keep a statement that names a job from searching it among all jobs in its state.

    While there are few, the index of final jobs by state looks as cheap as the key, and the plan
    stays. No index is considered for LIKE, which is the same here.
    """
    if not _KEY.search(body):
        return body
    change, where, condition = body.partition("WHERE")
    return change + where + _STATE.sub(r"state LIKE \1", condition)


def _type_of(statement: str, parameter: str) -> str:
    special = _SPECIAL.get((statement, parameter))
    if special is None:
        if parameter.endswith(_ALL):
            return _type_of(statement, parameter.removesuffix(_ALL)) + "[]"
        return _BEFORE if parameter == "before" else _TYPES[parameter]
    return special


def _load() -> dict[str, Statement]:
    own, _ = split_statements(
        (files("conveyor.store.postgres") / "statements.sql").read_text(encoding="utf-8")
    )
    shared, texts = load_statements(POSTGRES), load_statements(POSTGRES, own)
    texts["insert_bounded"] = texts["insert_unbounded"].replace(_WITHOUT_BOUND, _WITH_ROOM)
    many = {name: texts.pop(name + _ALL) for name in shared if name + _ALL in texts}
    return {
        name: Statement(name, body, shared=shared.get(name, ""), many=many.get(name, ""))
        for name, body in texts.items()
    }


STATEMENTS = _load()
