"""Connections of the application: each kind that `using(connection=...)` takes, seen as one.

A kind is recognised by the name of its class, so none of these packages is imported here. Where an
adapter needs its package, the application has imported it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

from ..errors import UsageError

Row = tuple[Any, ...]

KNOWN = (
    "a connection of psycopg, psycopg2, asyncpg or Django, or a Session or Connection of SQLAlchemy"
)
_PARAMETER = re.compile(r"\$(\d+)")
# What `transaction_status` of psycopg and psycopg2 says.
_IDLE, _IN_ERROR = 0, 3

ABORTED = (
    "an earlier statement has failed in this transaction, so it can only be rolled back: "
    "roll it back, or to a savepoint, and try again"
)
CLOSED = "the connection is closed: pass one that is open"


class CallerConnection(Protocol):
    """A connection that the application owns: it begins and ends the transactions.

    The methods of one that is not `is_async` never suspend, so `run_sync` runs them.
    """

    @property
    def is_async(self) -> bool:
        """Whether it is for coroutines."""
        ...

    @property
    def numbered(self) -> bool:
        """Whether parameters are written as $1, and not as %s."""
        ...

    async def in_transaction(self) -> bool:
        """Whether the next statement is a part of a transaction; False if it commits by itself.

        UsageError if no statement can be run.
        """
        ...

    async def execute(self, text: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Run a statement and return its rows."""
        ...


class _Psycopg:
    is_async, numbered = False, True

    def __init__(self, given: Any) -> None:
        self._given = given

    async def in_transaction(self) -> bool:
        """Whether it is in one, or begins one with its next statement."""
        if self._given.closed:
            raise UsageError(CLOSED)
        status = self._given.info.transaction_status
        if status == _IN_ERROR:
            raise UsageError(ABORTED)
        return status != _IDLE or not self._given.autocommit

    async def execute(self, text: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        psycopg = sys.modules["psycopg"]
        # Whatever cursors and rows the application uses.
        cursor = psycopg.RawCursor(self._given, row_factory=psycopg.rows.tuple_row)
        cursor.execute(text, values)
        rows: Sequence[Row] = cursor.fetchall() if cursor.description else ()
        return rows


class _AsyncPsycopg(_Psycopg):
    is_async = True

    async def execute(self, text: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        psycopg = sys.modules["psycopg"]
        cursor = psycopg.AsyncRawCursor(self._given, row_factory=psycopg.rows.tuple_row)
        await cursor.execute(text, values)
        rows: Sequence[Row] = await cursor.fetchall() if cursor.description else ()
        return rows


class _Psycopg2(_Psycopg):
    numbered = False

    async def execute(self, text: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        extensions = sys.modules["psycopg2"].extensions
        with self._given.cursor(cursor_factory=extensions.cursor) as cursor:
            cursor.execute(text, tuple(values))
            rows: Sequence[Row] = cursor.fetchall() if cursor.description else ()
            return rows


class _Asyncpg:
    is_async, numbered = True, True

    def __init__(self, given: Any) -> None:
        self._given = given

    async def in_transaction(self) -> bool:
        if self._given.is_closed():
            raise UsageError(CLOSED)
        return bool(self._given.is_in_transaction())

    async def execute(self, text: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        rows: Sequence[Sequence[Any]] = await self._given.fetch(text, *values)
        return rows


class _SqlAlchemy:
    """A Connection, or a Session: that one's connection is that of its next statement."""

    is_async = False

    def __init__(self, given: Any) -> None:
        self._connection: Any = given.connection() if callable(given.connection) else given
        self.numbered = _sqlalchemy_numbers(self._connection)

    async def in_transaction(self) -> bool:
        return _in_sqlalchemy_transaction(self._connection)

    async def execute(self, text: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        result = self._connection.exec_driver_sql(text, tuple(values))
        rows: Sequence[Sequence[Any]] = result.fetchall() if result.returns_rows else ()
        return rows


class _AsyncSqlAlchemy:
    is_async = True

    def __init__(self, given: Any) -> None:
        self._given = given
        self._connection: Any = None

    @property
    def numbered(self) -> bool:
        return _sqlalchemy_numbers(self._connection.sync_connection)

    async def in_transaction(self) -> bool:
        if self._connection is None:
            is_session = hasattr(self._given, "sync_session") or hasattr(self._given, "registry")
            self._connection = await self._given.connection() if is_session else self._given
        if self._connection.sync_connection is None:
            raise UsageError("the AsyncConnection is not started: use `async with engine.begin()`")
        return _in_sqlalchemy_transaction(self._connection.sync_connection)

    async def execute(self, text: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        result = await self._connection.exec_driver_sql(text, tuple(values))
        rows: Sequence[Sequence[Any]] = result.fetchall() if result.returns_rows else ()
        return rows


class _Django:
    is_async, numbered = False, False

    def __init__(self, given: Any) -> None:
        if given.vendor != "postgresql":
            raise UsageError(
                f"the Django connection {given.alias!r} is one of {given.display_name}, "
                "not of the PostgreSQL database that has the jobs: pass connections[...] of that"
            )
        self._given = given

    async def in_transaction(self) -> bool:
        if self._given.needs_rollback:
            raise UsageError(ABORTED)
        return bool(self._given.in_atomic_block or not self._given.get_autocommit())

    async def execute(self, text: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        with self._given.cursor() as cursor:
            cursor.execute(text, tuple(values))
            rows: Sequence[Row] = cursor.fetchall() if cursor.description else ()
            return rows


_Kind = type[_Psycopg] | type[_Asyncpg] | type[_SqlAlchemy] | type[_AsyncSqlAlchemy] | type[_Django]
# By the full name of the class or of one that it inherits from.
_KINDS: dict[str, _Kind] = {
    "psycopg.Connection": _Psycopg,
    "psycopg.AsyncConnection": _AsyncPsycopg,
    "psycopg2.extensions.connection": _Psycopg2,
    "asyncpg.connection.Connection": _Asyncpg,
    "asyncpg.pool.PoolConnectionProxy": _Asyncpg,
    "sqlalchemy.engine.base.Connection": _SqlAlchemy,
    "sqlalchemy.orm.session.Session": _SqlAlchemy,
    "sqlalchemy.orm.scoping.scoped_session": _SqlAlchemy,
    "sqlalchemy.ext.asyncio.engine.AsyncConnection": _AsyncSqlAlchemy,
    "sqlalchemy.ext.asyncio.session.AsyncSession": _AsyncSqlAlchemy,
    "sqlalchemy.ext.asyncio.scoping.async_scoped_session": _AsyncSqlAlchemy,
    "django.utils.connection.ConnectionProxy": _Django,
    "django.db.backends.base.base.BaseDatabaseWrapper": _Django,
}


def checked_connection(given: object) -> object:
    """Return an object if it is a connection that can be used; UsageError otherwise."""
    _kind_of(given)
    return given


def caller_connection(given: object, *, in_coroutine: bool) -> CallerConnection:
    """Return a connection of the application for blocking code, or for a coroutine.

    UsageError if it is the other kind.
    """
    kind = _kind_of(given)
    shown = _name_of(type(given))
    if kind.is_async and not in_coroutine:
        raise UsageError(
            f"{shown} is for coroutines: call the twin with the prefix `a` (aenqueue) and await it"
        )
    if in_coroutine and not kind.is_async:
        raise UsageError(
            f"{shown} would block the event loop: pass an async connection, or call enqueue() in "
            "the thread that uses this one"
        )
    return kind(given)


async def query(connection: CallerConnection, text: str, values: Sequence[Any]) -> list[Row]:
    """Run a statement with parameters $1, $2, … and return its rows."""
    if not connection.numbered:
        text, order = _unnumbered(text)
        values = [values[number] for number in order]
    return [tuple(map(_plain, row)) for row in await connection.execute(text, values)]


def _plain(value: Any) -> Any:
    return bytes(value) if type(value) is memoryview else value


@lru_cache
def _unnumbered(text: str) -> tuple[str, tuple[int, ...]]:
    """Return a statement with %s for each $1, and which values are wanted in their order."""
    order = tuple(int(number) - 1 for number in _PARAMETER.findall(text))
    return _PARAMETER.sub("%s", text.replace("%", "%%")), order


def _kind_of(given: object) -> _Kind:
    for each in type(given).__mro__:
        kind = _KINDS.get(_name_of(each))
        if kind is not None:
            return kind
    raise UsageError(f"must be {KNOWN}, got {type(given)!r}")


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _in_sqlalchemy_transaction(connection: Any) -> bool:
    if connection.closed:
        raise UsageError(CLOSED)
    return not connection.connection.dbapi_connection.autocommit


def _sqlalchemy_numbers(connection: Any) -> bool:
    if connection.dialect.name != "postgresql":
        raise UsageError(
            f"this is a connection to {connection.dialect.name}, not to the PostgreSQL database "
            "that has the jobs"
        )
    return bool(connection.dialect.paramstyle == "numeric_dollar")
