"""One connection: named statements, one transaction at a time, and translated errors."""

from __future__ import annotations

import os
import struct
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors, generators
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus, Format, TransactionStatus

from ...errors import StoreVersionError, UnavailableError
from ..move_mark import FROZEN
from ..sql.executor import Lockable, Params
from ..sql.rows import Row
from .address import Address
from .nul_escapes import ESCAPE, unescape
from .queue_holders import describe_holder
from .session import REMEDY, PoolerError, clock_and_settings, needed_settings, open_session
from .statements import STATEMENTS, Query

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

# How long a claim waits for the other transactions that hold a queue.
LOCK_PATIENCE = "250ms"
# How long a call of an operator waits for them. Like a claim it is run twice, so twice as long.
OPERATOR_PATIENCE = "1500ms"
# A statement that is run this often on one connection is prepared.
PREPARE_AT = 3

# The numbers of the types whose values are texts: name, text and varchar.
_TEXTS = frozenset({19, 25, 1043})

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED; {}"
_BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}"
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
        # Behind a pooler, each transaction may be in another session.
        self._is_pooled = address.pool == "transaction"
        settings = needed_settings(address, migrating=migrating) if self._is_pooled else {}
        self._begin = _BEGIN.format(clock_and_settings(settings)).encode()
        self._begin_reading = _BEGIN_READING.format(clock_and_settings(settings)).encode()
        try:
            self.session = open_session(address, migrating=migrating)
        except psycopg.Error as error:
            raise LostError(f"{address.shown} cannot be reached: {_told(error)}") from error
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

    async def limit_waits(self) -> None:
        """Have this transaction wait for a lock for `OPERATOR_PATIENCE` at most."""
        self.query("limit_waits", (OPERATOR_PATIENCE,))

    async def try_lock_queue(self, name: str, *, patiently: bool) -> bool:
        """Hold a queue; return whether it is held. LockNotAvailable after `LOCK_PATIENCE`."""
        if patiently:
            return bool(self.query("lock_queue_soon", (LOCK_PATIENCE, name)))
        return bool(self.query("try_lock_queue", (name,)))

    def query(self, name: str, params: Params = ()) -> list[Row]:
        """Run a statement and return its rows."""
        statement = STATEMENTS[name]
        return self._read(self.execute(statement.query, statement.bind(params)))

    def execute(self, query: Query, values: Iterable[Any]) -> PGresult:
        """Run a query whose values are in the order of their numbers.

        Directly through libpq: a cursor costs as much time as the server takes for an insert.
        """
        encoded = _encode(query, values)
        if not (self._is_pooled and self._is_idle):
            return self._execute(query, encoded)
        self.begin(reads=False)
        result = self._execute(query, encoded)
        self.script(b"COMMIT")
        return result

    def _execute(self, query: Query, encoded: list[bytes | None]) -> PGresult:
        self._prepare(query)
        self._send(query, encoded)
        return self._checked(self.session.wait(generators.execute(self.session.pgconn))[-1])

    def transact(self, *calls: tuple[str, Params]) -> list[Row]:
        """Run statements as one transaction, in one round trip; returns the rows of the last."""
        if self._is_pooled:
            self.begin(reads=False)
            *_, rows = [self.query(*call) for call in calls]
            self.script(b"COMMIT")
            return rows
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
        texts = [number for number in range(result.nfields) if result.ftype(number) in _TEXTS]
        return list(map(_unescaped, rows)) if _are_escaped(rows, texts) else rows

    # -- transactions --------------------------------------------------------------------------

    def begin(self, *, reads: bool) -> tuple[float, float]:
        """Begin a transaction; return the server's time and this machine's monotonic time."""
        asked = time.monotonic()
        self.script(self._begin_reading if reads else self._begin)
        answered = time.monotonic()
        self._scripts.nextset()
        [(now, *_)] = self._scripts.fetchall()
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
            if not self._is_idle:
                self.script(b"ROLLBACK")
        except psycopg.Error:
            self.close()

    def script(self, text: bytes) -> None:
        """Run statements without parameters in one round trip."""
        self._scripts.execute(text, prepare=False)

    @property
    def _is_idle(self) -> bool:
        return self.session.pgconn.transaction_status == TransactionStatus.IDLE

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
            case errors.InvalidSqlStatementName() | errors.DuplicatePreparedStatement():
                self.close()
                text = f"{place} does not know statements that were prepared in the session: {told}"
                if self._is_pooled:  # The pooler was restarted, and the next session finds out.
                    return LostError(text)
                return PoolerError(f"{text}. Is a pooler in between? Then {REMEDY}")
            case errors.FeatureNotSupported():
                # A prepared statement answers with other types since a migration.
                self.close()
                return LostError(f"{place} refuses a statement in this session: {told}")
            case errors.InsufficientPrivilege():
                return UnavailableError(
                    f"{place} refuses this user: {told}. Grant the right, or a role that has it "
                    "(`conveyor migrate --roles`)."
                )
            case errors.ObjectNotInPrerequisiteState() if FROZEN in told:
                return UnavailableError(f"{place} is closed: {FROZEN}")
            case errors.LockNotAvailable():
                return UnavailableError(f"{place}: {told}{self._describe_holders()}")
            case errors.QueryCanceled() if 'relation "queue"' in told:
                return UnavailableError(f"{place}: {told}{self._describe_holders()}")
            case errors.DiskFull() | errors.OutOfMemory():
                return UnavailableError(
                    f"the server of {place} has no room: {told}. Nothing of this call was written; "
                    "free some space. Workers continue by themselves."
                )
            case _:
                return UnavailableError(f"{place}: {type(error).__name__}: {told}")

    def _describe_holders(self) -> str:
        """Say for which transactions a call has waited in vain that locks a queue."""
        self.roll_back()
        try:
            held = [describe_holder(*row) for row in self.query("queue_holders")]
        except psycopg.Error:
            return ""  # the first error says enough
        return f". The queue is held: {'; '.join(held)}. Then try again." if held else ""


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


def _are_escaped(rows: Sequence[Row], texts: Iterable[int]) -> bool:
    """Whether any value in these columns has a character that stands for another one."""
    # Column by column, for a claim has thousands of texts.
    return any(ESCAPE in "".join(filter(None, map(itemgetter(text), rows))) for text in texts)


def _unescaped(row: Row) -> Row:
    return tuple(unescape(value) if isinstance(value, str) else value for value in row)
