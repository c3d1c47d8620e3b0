"""Connections of an application to PostgreSQL, of each kind that a job can be enqueued with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import asyncpg
import django
import django.conf
import django.db
import django.db.transaction
import psycopg
import psycopg2
import sqlalchemy.ext.asyncio
import sqlalchemy.orm
from sqlalchemy.pool import NullPool

from conveyor.core.pending import run_sync
from conveyor.store.postgres.address import parse_address

T = TypeVar("T")


class Caller:
    """A connection in a transaction, or in none until it begins one."""

    in_coroutine = False
    # Whether statements outside of `transaction` commit by themselves.
    autocommits = False

    def __init__(self, url: str) -> None:
        self.server = parse_address(url).server
        self.connection: Any = None

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run what the application does with this connection."""
        return run_sync(work)

    def begin(self) -> None:
        """Begin a transaction, if the first statement does not."""

    def commit(self) -> None:
        self.connection.commit()

    def roll_back(self) -> None:
        self.connection.rollback()

    def close(self) -> None:
        self.connection.close()

    def execute(self, text: str) -> Sequence[Any]:
        raise NotImplementedError

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.begin()
        try:
            yield
        except BaseException:
            self.roll_back()
            raise
        self.commit()


class AsyncCaller(Caller):
    in_coroutine = True

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._runner = asyncio.Runner()
        self.call(self.open())

    async def open(self) -> None:
        raise NotImplementedError

    async def shut(self) -> None:
        await self.connection.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def commit(self) -> None:
        self.call(self.connection.commit())

    def roll_back(self) -> None:
        self.call(self.connection.rollback())

    def close(self) -> None:
        self.call(self.shut())
        self._runner.close()


class Psycopg(Caller):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.connection = psycopg.connect(self.server, row_factory=psycopg.rows.dict_row)

    def execute(self, text: str) -> Sequence[Any]:
        cursor = self.connection.execute(text)
        return [tuple(row.values()) for row in cursor.fetchall()] if cursor.description else ()


class PsycopgAsync(AsyncCaller):
    async def open(self) -> None:
        self.connection = await psycopg.AsyncConnection.connect(self.server)

    def execute(self, text: str) -> Sequence[Any]:
        async def run() -> Sequence[Any]:
            cursor = await self.connection.execute(text)
            return await cursor.fetchall() if cursor.description else ()

        return self.call(run())


class Psycopg2(Caller):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.connection = psycopg2.connect(self.server)

    def execute(self, text: str) -> Sequence[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchall() if cursor.description else ()


class SqlAlchemy(Caller):
    driver = "psycopg"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        address = self.server.replace("postgresql:", f"postgresql+{self.driver}:")
        self.engine = sqlalchemy.create_engine(address, poolclass=NullPool)
        self.connection = self.open()

    def open(self) -> Any:
        return self.engine.connect()

    def close(self) -> None:
        self.connection.close()
        self.engine.dispose()

    def execute(self, text: str) -> Sequence[Any]:
        result = self.connection.execute(sqlalchemy.text(text))
        return [tuple(row) for row in result] if result.returns_rows else ()


class SqlAlchemySession(SqlAlchemy):
    driver = "psycopg2"

    def open(self) -> Any:
        return sqlalchemy.orm.Session(self.engine)


class SqlAlchemyScoped(SqlAlchemy):
    def open(self) -> Any:
        return sqlalchemy.orm.scoped_session(sqlalchemy.orm.sessionmaker(self.engine))

    def close(self) -> None:
        self.connection.remove()
        self.engine.dispose()


class SqlAlchemyAsync(AsyncCaller):
    driver = "asyncpg"

    async def open(self) -> None:
        address = self.server.replace("postgresql:", f"postgresql+{self.driver}:")
        self.engine = sqlalchemy.ext.asyncio.create_async_engine(address, poolclass=NullPool)
        self.connection = await self.begin_using()

    async def begin_using(self) -> Any:
        return await self.engine.connect()

    async def shut(self) -> None:
        await self.connection.close()
        await self.engine.dispose()

    def execute(self, text: str) -> Sequence[Any]:
        async def run() -> Sequence[Any]:
            result = await self.connection.execute(sqlalchemy.text(text))
            return [tuple(row) for row in result] if result.returns_rows else ()

        return self.call(run())


class SqlAlchemyAsyncSession(SqlAlchemyAsync):
    driver = "psycopg"

    async def begin_using(self) -> Any:
        return sqlalchemy.ext.asyncio.AsyncSession(self.engine)


class SqlAlchemyAsyncScoped(SqlAlchemyAsync):
    async def begin_using(self) -> Any:
        make = sqlalchemy.ext.asyncio.async_sessionmaker(self.engine)
        return sqlalchemy.ext.asyncio.async_scoped_session(make, scopefunc=lambda: 1)


class Asyncpg(AsyncCaller):
    autocommits = True
    _transaction: Any

    async def open(self) -> None:
        self.connection = await asyncpg.connect(self.server)

    def begin(self) -> None:
        self._transaction = self.connection.transaction()
        self.call(self._transaction.start())

    def commit(self) -> None:
        self.call(self._transaction.commit())

    def roll_back(self) -> None:
        self.call(self._transaction.rollback())

    def execute(self, text: str) -> Sequence[Any]:
        async def run() -> Sequence[Any]:
            return [tuple(row) for row in await self.connection.fetch(text)]

        return self.call(run())


class AsyncpgPool(Asyncpg):
    async def open(self) -> None:
        self._pool = await asyncpg.create_pool(self.server, min_size=1, max_size=1)
        self.connection = await self._pool.acquire()

    async def shut(self) -> None:
        await self._pool.release(self.connection)
        await self._pool.close()


class Django(Caller):
    autocommits = True

    def __init__(self, url: str) -> None:
        super().__init__(url)
        if not django.conf.settings.configured:
            options = psycopg.conninfo.conninfo_to_dict(self.server)
            engine = {"ENGINE": "django.db.backends.postgresql"}
            names = {"NAME": options["dbname"], "USER": options["user"], "HOST": options["host"]}
            other = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
            databases = {"default": engine | names, "jobs": engine | names, "other": other}
            django.conf.settings.configure(DATABASES=databases, USE_TZ=True)
            django.setup()
        self.connection = self.choose()

    def choose(self) -> Any:
        return django.db.connection

    def begin(self) -> None:
        self._atomic = django.db.transaction.atomic(using=self.connection.alias)
        self._atomic.__enter__()

    def commit(self) -> None:
        self._atomic.__exit__(None, None, None)

    def roll_back(self) -> None:
        error = RuntimeError("roll back")
        self._atomic.__exit__(type(error), error, None)

    def execute(self, text: str) -> Sequence[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchall() if cursor.description else ()


class DjangoConnections(Django):
    def choose(self) -> Any:
        return django.db.connections["jobs"]


KINDS: dict[str, Callable[[str], Caller]] = {
    "psycopg": Psycopg,
    "psycopg-async": PsycopgAsync,
    "psycopg2": Psycopg2,
    "sqlalchemy": SqlAlchemy,
    "sqlalchemy-session": SqlAlchemySession,
    "sqlalchemy-scoped": SqlAlchemyScoped,
    "sqlalchemy-async": SqlAlchemyAsync,
    "sqlalchemy-async-session": SqlAlchemyAsyncSession,
    "sqlalchemy-async-scoped": SqlAlchemyAsyncScoped,
    "asyncpg": Asyncpg,
    "asyncpg-pool": AsyncpgPool,
    "django": Django,
    "django-connections": DjangoConnections,
}


@contextmanager
def opened(kind: str, url: str) -> Iterator[Caller]:
    """Open a connection of a kind to the database of a store."""
    caller = KINDS[kind](url)
    try:
        yield caller
    finally:
        caller.close()
