"""One connection: named statements, one transaction at a time, and translated errors."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from ...errors import StoreVersionError, UnavailableError
from ..sql.rows import Row
from ..sql.transaction import Lockable, Params
from .address import Address
from .nul_escapes import ESCAPE, register_texts, unescape
from .statements import STATEMENTS

CONNECT_TIMEOUT = 10
# What the server ends by itself, in milliseconds: a statement that hangs, and a transaction whose
# client has vanished with locks in its hands.
STATEMENT_TIMEOUT, IDLE_TIMEOUT = 60_000, 30_000
# How a server that has vanished from the network is noticed within a minute, in seconds and, the
# last one, milliseconds. The address may say otherwise.
DETECTION = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

_CLOCK = "SELECT extract(epoch FROM clock_timestamp())::FLOAT8"
_BEGIN = f"BEGIN; {_CLOCK}".encode()
_BEGIN_READING = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_CLOCK}".encode()
# In one round trip with the COMMIT. A transaction that has written nothing leaves no mark.
_MARK = b"""INSERT INTO commit_mark (id, is_committed)
SELECT '%s', TRUE WHERE pg_current_xact_id_if_assigned() IS NOT NULL; """


class LostError(UnavailableError):
    """The connection was lost before the transaction was committed: nothing was written."""


class UnknownOutcomeError(UnavailableError):
    """The connection was lost during the COMMIT of a transaction that leaves this mark."""

    def __init__(self, mark: str) -> None:
        super().__init__("the answer to a COMMIT was lost")
        self.mark = mark


class Connection:
    """A session of the server. Used by one thread at a time."""

    excludes_writers = False

    def __init__(self, address: Address, *, migrating: bool = False) -> None:
        self.address = address
        options = [
            f"search_path={address.schema}",
            f"statement_timeout={0 if migrating else STATEMENT_TIMEOUT}",
            f"idle_in_transaction_session_timeout={IDLE_TIMEOUT}",
            "default_transaction_isolation=read\\ committed",
            # A plan that was made while a table was small must not scan it when it has grown.
            "enable_seqscan=off",
        ]
        try:
            given: dict[str, Any] = dict(conninfo_to_dict(address.server))
            known: dict[str, Any] = {
                **DETECTION,
                "connect_timeout": CONNECT_TIMEOUT,
                "application_name": f"conveyor {socket.gethostname()}:{os.getpid()}",
                **given,
                "options": " ".join(
                    [given.get("options", ""), *(f"-c {each}" for each in options)]
                ),
                "client_encoding": "UTF8",
            }
            if address.password:
                known["password"] = address.password
            self.session: psycopg.Connection[Any] = psycopg.connect(
                make_conninfo(**known), autocommit=True
            )
        except psycopg.Error as error:
            raise LostError(f"{address.shown} cannot be reached: {_told(error)}") from error
        adapters = self.session.adapters
        register_texts(adapters)
        adapters.register_dumper(int, Int8Dumper)
        adapters.register_dumper(int, Int8BinaryDumper)
        self._cursor = psycopg.RawCursor(self.session)
        self._cursor.format = psycopg.pq.Format.BINARY
        # Several statements at once are possible only as text.
        self._scripts = psycopg.Cursor(self.session)
        self._began = 0.0

    # -- statements ----------------------------------------------------------------------------

    async def rows(self, name: str, params: Params = ()) -> list[Row]:
        """Run a statement and return its rows."""
        return self.query(name, params)

    async def many(self, name: str, params: Iterable[Params]) -> list[Row]:
        """Run a statement for each set of parameters and return all rows."""
        given = list(params)
        if len(given) > 1 and (text := STATEMENTS[name].for_many_rows):
            return self._execute(text, STATEMENTS[name].bind_columns(given))
        return [row for each in given for row in self.query(name, each)]

    async def change(self, name: str, params: Iterable[Params]) -> int:
        """Run a statement for each set of parameters and return how many rows were changed."""
        given = list(params)
        if len(given) > 1 and (text := STATEMENTS[name].for_many_rows):
            self._execute(text, STATEMENTS[name].bind_columns(given))
            return self._cursor.rowcount
        changed = 0
        for each in given:
            self.query(name, each)
            changed += self._cursor.rowcount
        return changed

    async def lock(self, what: Lockable, keys: Sequence[str], *, shared: bool = False) -> None:
        """Hold rows, in the order of their keys, until the transaction ends."""
        self.query("share_worker" if shared else f"lock_{what}", (list(keys),))

    def query(self, name: str, params: Params = ()) -> list[Row]:
        """Run a statement and return its rows."""
        statement = STATEMENTS[name]
        return self._execute(statement.text, statement.bind(params))

    def _execute(self, text: bytes, values: Sequence[Any]) -> list[Row]:
        cursor = self._cursor
        cursor.execute(text, values)
        if cursor.description is None:
            return []
        return [_unescaped(row) if _is_escaped(row) else row for row in cursor.fetchall()]

    # -- transactions --------------------------------------------------------------------------

    def begin(self, *, reads: bool) -> tuple[float, float]:
        """Begin a transaction; return the server's time and this machine's monotonic time."""
        asked = time.monotonic()
        self.script(_BEGIN_READING if reads else _BEGIN)
        answered = time.monotonic()
        self._scripts.nextset()
        [(now,)] = self._scripts.fetchall()
        self._began = now
        return now, (asked + answered) / 2

    def commit(self, *, wrote: bool) -> None:
        """Commit; UnknownOutcomeError if the connection is lost meanwhile."""
        mark = new_mark(self._began) if wrote else ""
        try:
            self.script((_MARK % mark.encode() if mark else b"") + b"COMMIT")
        except psycopg.OperationalError as error:
            if not self.is_lost or not mark:
                raise
            raise UnknownOutcomeError(mark) from error

    def roll_back(self) -> None:
        """Roll back the transaction, if one is open; a broken connection is closed."""
        try:
            if self.session.info.transaction_status is not TransactionStatus.IDLE:
                self.script(b"ROLLBACK")
        except psycopg.Error:
            self.close()

    def script(self, text: bytes) -> None:
        """Run statements without parameters in one round trip."""
        self._scripts.execute(text, prepare=False)

    @property
    def is_lost(self) -> bool:
        """Whether the session has ended."""
        return bool(self.session.closed)

    def close(self) -> None:
        """End the session."""
        self.session.close()

    def translate(self, error: psycopg.Error) -> UnavailableError:
        """Return the error of ours that says what PostgreSQL's means, with a remedy."""
        place, told = self.address.shown, _told(error)
        if self.is_lost:
            return LostError(f"the connection to {place} was lost: {told}")
        match error:
            case errors.UndefinedTable() | errors.InvalidSchemaName() | errors.UndefinedColumn():
                return StoreVersionError(
                    f"{place} has not the tables of this Conveyor: {told}. Run `conveyor migrate`."
                )
            case errors.InsufficientPrivilege():
                return UnavailableError(f"{place} refuses this user: {told}. Grant the right.")
            case errors.DiskFull() | errors.OutOfMemory():
                return UnavailableError(
                    f"the server of {place} has no room: {told}. Nothing of this call was written; "
                    "free some space. Workers continue by themselves."
                )
            case _:
                return UnavailableError(f"{place}: {type(error).__name__}: {told}")


def new_mark(now: float) -> str:
    """Return a mark for a transaction: the time in milliseconds, and what nobody else draws."""
    return f"{int(now * 1000):012x}{os.urandom(8).hex()}"


def _told(error: psycopg.Error) -> str:
    """Return what the server says, on one line."""
    return " ".join(str(error).split())


def _is_escaped(row: Row) -> bool:
    return any(type(value) is str and ESCAPE in value for value in row)


def _unescaped(row: Row) -> Row:
    return tuple(unescape(value) if isinstance(value, str) else value for value in row)
