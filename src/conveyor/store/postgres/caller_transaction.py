"""Operations in the application's own transaction, on its connection.

They are those of every other call, within a savepoint: whatever they raise, the transaction of the
application goes on as if the call had not been made. Where a connection commits each statement by
itself, the call is a transaction of its own. Jobs that need no decision are inserted before, by a
function of the schema, which has a savepoint of its own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar, cast

from ...core.clock import Clock
from ...core.job import NewJob
from ...core.retry import Draw
from ...core.unreadable import UNREADABLE
from ...errors import ConveyorError, CorruptStoreError, UsageError
from ..caller_connection import CallerConnection, query
from ..caller_errors import sqlstate, translated
from ..messages import Hint
from ..sql.executor import Lockable, Params
from ..sql.rows import Row
from ..sql.transaction import ConflictError, Lanes, Tx
from . import quick_join
from .address import Address
from .notifier import encode_hints
from .nul_escapes import escape, unescape
from .statements import STATEMENTS

T = TypeVar("T")

# How often an operation is run again because another transaction was faster.
MOST_TRIES = 5
READ_COMMITTED = "read committed"

# How what an operation does begins, ends well, and is undone: in a transaction, and without one.
_SAVEPOINT = (
    "SAVEPOINT conveyor",
    ("RELEASE SAVEPOINT conveyor",),
    ("ROLLBACK TO SAVEPOINT conveyor", "RELEASE SAVEPOINT conveyor"),
)
_TRANSACTION = "BEGIN", ("COMMIT",), ("ROLLBACK",)
_ENTER = """WITH before AS MATERIALIZED (SELECT current_setting('search_path') AS path)
SELECT path, set_config('search_path', $1::TEXT, TRUE), current_setting('transaction_isolation'),
    extract(epoch FROM clock_timestamp())::FLOAT8
FROM before"""
# NOTIFY takes effect at the commit, of which nobody else knows.
_LEAVE = """SELECT set_config('search_path', $1::TEXT, TRUE), (
    SELECT count(pg_notify(channel, payload))
    FROM unnest($2::TEXT[], $3::TEXT[]) AS hint (channel, payload)
)"""


class CallerTransaction:
    """A transaction of the application, as operations see it."""

    excludes_writers = False

    def __init__(self, connection: CallerConnection, address: Address) -> None:
        self._connection = connection
        self._address = address
        self._isolation = ""

    # -- statements ----------------------------------------------------------------------------

    async def rows(self, name: str, params: Params = ()) -> list[Row]:
        """Run a statement and return its rows."""
        return await self._each(name, [params], "")

    async def many(self, name: str, params: Iterable[Params]) -> list[Row]:
        """Run a statement for each set of parameters and return all rows."""
        return await self._each(name, list(params), "")

    async def change(self, name: str, params: Iterable[Params]) -> int:
        """Run a statement for each set of parameters and return how many rows were changed."""
        # Not all drivers say how many that are.
        text = STATEMENTS[name].text
        is_silent = text.startswith(b"UPDATE") and b"RETURNING" not in text
        return len(await self._each(name, list(params), " RETURNING 1" if is_silent else ""))

    async def lock(self, what: Lockable, keys: Sequence[str], *, shared: bool = False) -> None:
        """Hold rows, in the order of their keys, until the transaction ends."""
        await self.rows("share_worker" if shared else f"lock_{what}", (list(keys),))

    async def limit_waits(self) -> None:
        """Do nothing: how long an application waits, it decides itself."""

    async def try_lock_queue(self, name: str, *, patiently: bool) -> bool:
        """Hold a queue unless another transaction does; nothing here is run again for it."""
        return bool(await self.rows("try_lock_queue", (name,)))

    async def _each(self, name: str, params: Sequence[Params], suffix: str) -> list[Row]:
        statement = STATEMENTS[name]
        if len(params) > 1 and statement.for_many_rows:
            text = statement.for_many_rows.text.decode() + suffix
            return await self._execute(text, statement.bind_columns(params))
        text = statement.text.decode() + suffix
        return [row for each in params for row in await self._execute(text, statement.bind(each))]

    async def _execute(self, text: str, values: Sequence[Any] = ()) -> list[Row]:
        given = [_written(value) for value in values]
        return [tuple(map(_read, row)) for row in await query(self._connection, text, given)]

    # -- operations ----------------------------------------------------------------------------

    async def insert(
        self, jobs: Sequence[NewJob], capacity: int | None, *, clock: Clock | None
    ) -> bool:
        """Insert plain jobs in two round trips; False if the general operation must decide."""
        address = self._address
        await self._connection.in_transaction()
        try:
            [(now, is_there)] = await self._execute(quick_join.LOOK, [address.schema])
            if not is_there:
                return False
            now = clock.now() if clock else now
            values = quick_join.values(jobs, capacity, address, now)
            [(is_done,)] = await self._execute(quick_join.call(address), values)
        except UnicodeEncodeError:  # no statement was sent
            return False
        except Exception as error:
            if (ours := translated(error, address.shown)) is None:
                raise
            raise ours from error
        return bool(is_done)

    async def run(
        self,
        operation: Callable[[Tx], Coroutine[Any, Any, T]],
        *,
        clock: Clock | None,
        draw: Draw,
        rereads: str = "",
    ) -> T:
        """Run an operation completely or not at all. It takes effect when the caller commits.

        `rereads`: why it must see what others have committed since the transaction began.
        """
        tries = 0
        while True:
            tries += 1
            try:
                async with self._undone_unless_done():
                    return await self._operate(
                        operation, clock, draw, rereads, is_repeated=tries > 1
                    )
            except ConveyorError as error:
                if not isinstance(error, ConflictError) or tries == MOST_TRIES:
                    raise
            except Exception as error:
                if not self._was_taken(error):
                    ours = translated(error, self._address.shown)
                    if ours is None:
                        raise
                    raise ours from error
                if tries == MOST_TRIES:
                    raise UsageError(f"the database rejected a value: {error}") from error

    @asynccontextmanager
    async def _undone_unless_done(self) -> AsyncGenerator[None]:
        is_inside = await self._connection.in_transaction()
        begin, end, undo = _SAVEPOINT if is_inside else _TRANSACTION
        await self._execute(begin)
        try:
            yield
            for each in end:
                await self._execute(each)
        except BaseException:
            # If this fails, too, the transaction cannot go on, and the first error says why.
            with suppress(Exception):
                for each in undo:
                    await self._execute(each)
            raise

    async def _operate(
        self,
        operation: Callable[[Tx], Coroutine[Any, Any, T]],
        clock: Clock | None,
        draw: Draw,
        rereads: str,
        *,
        is_repeated: bool,
    ) -> T:
        [(path, _, self._isolation, now)] = await self._execute(_ENTER, [self._address.schema])
        if rereads and self._isolation != READ_COMMITTED:
            raise UsageError(
                f"{rereads}, and this transaction is {self._isolation.upper()}: use READ "
                "COMMITTED, or enqueue without connection= after the commit"
            )
        tx = Tx(
            self,
            Lanes(),
            clock.now() if clock else now,
            draw,
            careful=is_repeated,
            is_held_open=True,
        )
        try:
            value = await operation(tx)
            await tx.write_tallies()
        except UnicodeEncodeError as error:
            raise UsageError(f"the database rejects a value: {error}") from error
        except UNREADABLE as error:
            raise CorruptStoreError(f"a row that this call needs is damaged: {error}") from error
        hints = [Hint(kind, tuple(subjects)) for kind, subjects in tx.hints.items()]
        await self._execute(_LEAVE, [path, *encode_hints(self._address, hints)])
        return value

    def _was_taken(self, error: Exception) -> bool:
        """Whether another transaction has taken a unique value, so that another try finds it."""
        if not sqlstate(error).startswith("23"):
            return False
        if self._isolation != READ_COMMITTED:
            raise ConflictError(
                "another transaction has taken the unique key since this one began: roll back and "
                "repeat the transaction"
            ) from error
        return True


def _written(value: Any) -> Any:
    if isinstance(value, str):
        return escape(str(value))  # a State is not what each driver takes for a string
    return [_written(each) for each in cast("list[Any]", value)] if type(value) is list else value


def _read(value: Any) -> Any:
    return unescape(value) if isinstance(value, str) else value
