"""Values in binary format, read back by a server."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from calls import new, put

from conveyor.errors import UsageError
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.connection import PREPARE_AT, Connection
from conveyor.store.postgres.statements import Query
from conveyor.store.postgres.store import PostgresStore

VALUES: list[tuple[str, list[Any]]] = [
    ("INT8", [0, -1, 2**63 - 1, -(2**63), True]),
    ("INT4", [0, 2**31 - 1, -(2**31)]),
    ("FLOAT8", [0.0, 1, -1.5, 1e300, math.inf]),
    ("TEXT", ["", "a", "é", "a\0b", "\x1a", "x" * 300]),
    ("BYTEA", [b"", b"\0\xff", bytearray(b"ab"), memoryview(b"cd"), bytes(100_000)]),
    ("BOOL", [True, False, 1, 0]),
]
ARRAYS: list[tuple[str, list[Any]]] = [
    ("INT8[]", []),
    ("INT8[]", [7]),
    ("INT8[]", [7, 7, 7]),
    ("INT8[]", [1, None, 2]),
    ("INT8[]", [None, None]),
    ("FLOAT8[]", [0.5, 0.25]),
    ("TEXT[]", ["ab", "cd", "é"]),
    ("TEXT[]", ["", "a\0", None, "abc"]),
    ("TEXT[]", ["same length", "same-length"]),
    ("BYTEA[]", [b"12", b"34"]),
    ("BYTEA[]", [b"1", None, b"234", b""]),
    ("BOOL[]", [True, False]),
]


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    opened = Connection(parse_address(url))
    yield opened
    opened.close()


def read(connection: Connection, sql_type: str, value: Any) -> Any:
    query = Query("test", f"SELECT $1::{sql_type}", [sql_type])
    [(answer,)] = connection._read(connection.execute(query, [value]))
    return answer


def test_a_value_comes_back_as_it_was(connection: Connection) -> None:
    for sql_type, values in VALUES:
        for value in [*values, None]:
            connection._uses.clear()
            assert read(connection, sql_type, value) == value, (sql_type, value)


def test_an_array_comes_back_as_it_was(connection: Connection) -> None:
    for sql_type, values in ARRAYS:
        connection._uses.clear()
        answer = read(connection, sql_type, values)
        if sql_type == "TEXT[]":  # only a text on its own is unescaped
            answer = [each and each.replace("\x1a0", "\0") for each in answer]
        assert answer == values, (sql_type, values)


@pytest.mark.parametrize(
    ("sql_type", "value"),
    [
        ("INT8", 2**63),
        ("INT8", "1"),
        ("INT4", 2**31),
        ("FLOAT8", "x"),
        ("BYTEA", 5),
        ("BYTEA", "text"),
        ("INT8[]", [1, "2"]),
    ],
)
def test_a_value_of_another_type_is_an_error_of_the_data(
    connection: Connection, sql_type: str, value: Any
) -> None:
    with pytest.raises(psycopg.DataError, match="test: "):
        read(connection, sql_type, value)
    assert read(connection, "INT8", 1) == 1


def test_a_number_that_no_column_holds_is_refused_and_loses_nothing(url: str) -> None:
    store = PostgresStore(url)
    put(store, new())
    with pytest.raises(UsageError, match="rejected a value"):
        put(store, new(priority=2**70))
    put(store, new())
    store.close()


@pytest.mark.parametrize("threshold", [5, None])
def test_a_statement_that_is_used_often_is_prepared_where_that_is_allowed(
    connection: Connection, threshold: int | None
) -> None:
    connection.session.prepare_threshold = threshold
    prepared: list[int] = []
    for _ in range(PREPARE_AT + 1):
        connection.query("queue", ("q",))
        [(count,)] = connection.session.execute(
            "SELECT count(*) FROM pg_prepared_statements WHERE name = 'queue'"
        ).fetchall()
        prepared.append(count)
    expected = [0] * (PREPARE_AT - 1) + [1, 1]
    assert prepared == (expected if threshold else [0] * len(prepared))
