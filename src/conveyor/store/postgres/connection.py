"""One connection: named statements, one transaction at a time, and translated errors."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors, generators
from psycopg.adapt import Transformer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ExecStatus, Format, TransactionStatus

from ...errors import StoreVersionError, UnavailableError
from ..move_mark import FROZEN
from ..sql.rows import Row
from ..sql.transaction import Lockable, Params
from .address import Address
from .limited_session import LimitedSession
from .nul_escapes import ESCAPE, unescape
from .statements import STATEMENTS, Query

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

CONNECT_TIMEOUT = 10
# A statement that is run this often on one connection is prepared.
PREPARE_AT = 3
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
            self.session = LimitedSession.connect(make_conninfo(**known), autocommit=True)
        except psycopg.Error as error:
            raise LostError(f"{address.shown} cannot be reached: {_told(error)}") from error
        if migrating:
            self.session.limit = None
        self._uses: Counter[bytes] = Counter()
        self._reader = Transformer(self.session)
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
        if len(given) > 1 and (together := STATEMENTS[name].for_many_rows):
            return self._read(self.execute(together, STATEMENTS[name].bind_columns(given)))
        return [row for each in given for row in self.query(name, each)]

    async def change(self, name: str, params: Iterable[Params]) -> int:
        """Run a statement for each set of parameters and return how many rows were changed."""
        given, statement = list(params), STATEMENTS[name]
        if len(given) > 1 and (together := statement.for_many_rows):
            return self.execute(together, statement.bind_columns(given)).command_tuples or 0
        return sum(
            self.execute(statement.query, statement.bind(each)).command_tuples or 0
            for each in given
        )

    async def lock(self, what: Lockable, keys: Sequence[str], *, shared: bool = False) -> None:
        """Hold rows, in the order of their keys, until the transaction ends."""
        self.query("share_worker" if shared else f"lock_{what}", (list(keys),))

    def query(self, name: str, params: Params = ()) -> list[Row]:
        """Run a statement and return its rows."""
        statement = STATEMENTS[name]
        return self._read(self.execute(statement.query, statement.bind(params)))

    def execute(self, query: Query, values: Iterable[Any]) -> PGresult:
        """Run a query whose values are in the order of their numbers.

        Directly through libpq: a cursor costs as much time as the server takes for an insert.
        """
        encoded = _encode(query, values)
        self._prepare(query)
        self._send(query, encoded)
        return self._checked(self.session.wait(generators.execute(self.session.pgconn))[-1])

    def transact(self, *calls: tuple[str, Params]) -> list[Row]:
        """Run statements as one transaction, in one round trip; returns the rows of the last."""
        sent: list[tuple[Query, list[bytes | None]]] = []
        for name, params in calls:
            statement = STATEMENTS[name]
            sent.append((statement.query, _encode(statement.query, statement.bind(params))))
            self._prepare(statement.query)
        libpq = self.session.pgconn
        libpq.enter_pipeline_mode()
        try:
            for query, encoded in sent:
                self._send(query, encoded)
            libpq.pipeline_sync()
            self.session.wait(generators.send(libpq))
            # The last result says that the transaction has ended.
            *results, _ = [self.session.wait(generators.fetch_many(libpq))[0] for _ in (*sent, 0)]
            libpq.exit_pipeline_mode()
        except BaseException:
            self.close()  # nobody knows what is still to come
            raise
        return self._read([self._checked(result) for result in results][-1])

    def _prepare(self, query: Query) -> None:
        uses = self._uses[query.name] = self._uses[query.name] + 1
        if uses == PREPARE_AT and self.session.prepare_threshold is not None:
            self.session.pgconn.send_prepare(query.name, query.text)
            self._checked(self.session.wait(generators.execute(self.session.pgconn))[-1])

    def _send(self, query: Query, encoded: list[bytes | None]) -> None:
        libpq, formats = self.session.pgconn, [Format.BINARY] * len(encoded)
        if self._uses[query.name] >= PREPARE_AT and self.session.prepare_threshold is not None:
            libpq.send_query_prepared(query.name, encoded, formats, Format.BINARY)
        else:
            libpq.send_query_params(query.text, encoded, None, formats, Format.BINARY)

    @staticmethod
    def _checked(result: PGresult) -> PGresult:
        if result.status == ExecStatus.FATAL_ERROR:
            raise errors.error_from_result(result, encoding="utf-8")
        return result

    def _read(self, result: PGresult) -> list[Row]:
        if not result.nfields:
            return []
        self._reader.set_pgresult(result, format=Format.BINARY)
        rows = self._reader.load_rows(0, result.ntuples, tuple)
        self._reader.set_pgresult(None)
        return [_unescaped(row) if _is_escaped(row) else row for row in rows]

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
            if self.session.pgconn.transaction_status != TransactionStatus.IDLE:
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
            case errors.ObjectNotInPrerequisiteState() if FROZEN in told:
                return UnavailableError(f"{place} is closed: {FROZEN}")
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


def _encode(query: Query, values: Iterable[Any]) -> list[bytes | None]:
    try:
        return query.encode(values)
    except (struct.error, TypeError, OverflowError) as error:
        raise errors.DataError(f"{query.name.decode()}: {error}") from error


def _told(error: psycopg.Error) -> str:
    """Return what the server says, on one line."""
    return " ".join(str(error).split())


def _is_escaped(row: Row) -> bool:
    return any(type(value) is str and ESCAPE in value for value in row)


def _unescaped(row: Row) -> Row:
    return tuple(unescape(value) if isinstance(value, str) else value for value in row)
