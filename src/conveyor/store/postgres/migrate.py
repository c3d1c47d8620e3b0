"""Migrates a schema to the version that this Conveyor knows, and checks which one it has.

A step says in its first line with which older version it is compatible: `-- compatible with 3`.
Processes that know version 3 then run on with it. Those that need a step refuse an older schema.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import errors

from ...errors import StoreVersionError, UnavailableError
from ..sql.schema_files import schema_files
from .address import Address
from .connection import Connection
from .roles import ROLES, creating_script, granting_script, role_name

# Two migrations of one schema at once: the second waits for the first.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('conveyor migrate {schema}', 0))"
OLDEST_SERVER = 140000
# How long a step waits for a lock, and everybody behind it, and how long it is tried again, in
# seconds.
LOCK_TIMEOUT, PATIENCE = 1.0, 60.0
_COMPATIBLE = re.compile(r"-- compatible with (\d+)\b")
_TABLES = """SELECT relname::TEXT FROM pg_class
WHERE relnamespace = to_regnamespace(%s) AND relkind IN ('r', 'p', 'v') AND NOT relispartition
ORDER BY relname"""
_BLOCKERS = """SELECT pid, coalesce(application_name, ''), state FROM pg_stat_activity
WHERE pid IN (SELECT pid FROM pg_locks WHERE granted AND relation IN
    (SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace(%s)))
    AND pid <> pg_backend_pid()
ORDER BY xact_start LIMIT 3"""


def schemas() -> tuple[str, ...]:
    """Return the schema files in order; the first makes an empty schema version 1."""
    return schema_files("conveyor.store.postgres")


def oldest_code(steps: Sequence[str]) -> int:
    """Return the oldest version that code may know to use a schema with all of these steps."""
    return max(
        int(found[1]) if (found := _COMPATIBLE.match(step)) else number
        for number, step in enumerate(steps, start=1)
    )


def migration_script(
    schema: str, version: int, steps: Sequence[str], lock_timeout: float = LOCK_TIMEOUT
) -> str:
    """Return the SQL that brings a schema from `version` to the newest one; "" if it has that."""
    if version >= len(steps):
        return ""
    parts = [
        f"CREATE SCHEMA IF NOT EXISTS {schema};",
        f"SET LOCAL search_path = {schema};",
        f"SET LOCAL lock_timeout = {lock_timeout * 1000:.0f};",
        *steps[version:],
        "CREATE TABLE IF NOT EXISTS schema_version",
        "    (version BIGINT NOT NULL, oldest_code BIGINT NOT NULL);",
        "DELETE FROM schema_version;",
        "INSERT INTO schema_version (version, oldest_code)",
        f"VALUES ({len(steps)}, {oldest_code(steps)});",
    ]
    return "\n".join(parts)


def read_version(connection: Connection) -> tuple[int, int]:
    """Return the version of a schema, and of the oldest code for it; 0 if it does not exist."""
    cursor = connection.session.cursor()
    # Qualified, because behind a pooler there is no search path outside a transaction.
    table = f"{connection.address.schema}.schema_version"
    cursor.execute("SELECT to_regclass(%s) IS NULL", (table,))
    if cursor.fetchall() == [(True,)]:
        return 0, 0
    query = f"SELECT version, oldest_code FROM {table}"  # noqa: S608 - a checked name
    [(version, oldest)] = cursor.execute(query.encode()).fetchall()
    return int(version), int(oldest)


def check_server(address: Address, version: int) -> None:
    """Raise an error for a server that is too old; `version` is the server's number for it."""
    if version < OLDEST_SERVER:
        raise UnavailableError(
            f"{address.shown} is PostgreSQL {version // 10000}; Conveyor needs "
            f"{OLDEST_SERVER // 10000} or newer"
        )


def check_version(connection: Connection, steps: Sequence[str] | None = None) -> None:
    """Raise an error unless this Conveyor, which knows these steps, can use a schema."""
    place = connection.address.shown
    check_server(connection.address, connection.session.info.server_version)
    version, oldest = read_version(connection)
    newest = len(schemas() if steps is None else steps)
    if oldest > newest:
        raise StoreVersionError(
            f"{place} has schema version {version}, which needs a Conveyor that knows version "
            f"{oldest}, and this one knows versions up to {newest}: it was migrated by a newer "
            "Conveyor. Upgrade this one; nothing was changed."
        )
    if version < newest:
        told = f"has schema version {version} of {newest}" if version else "has no tables"
        raise StoreVersionError(
            f"{place} {told}: run `conveyor migrate --url {shlex.quote(place)}`"
        )


class Migration:
    """The migration of one schema, while processes of the version before run on."""

    def __init__(
        self,
        address: Address,
        *,
        steps: Sequence[str] | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
        patience: float = PATIENCE,
    ) -> None:
        self._address = address
        self._steps = schemas() if steps is None else steps
        self._lock_timeout = lock_timeout
        self._patience = patience
        self.place = address.shown

    def versions(self) -> tuple[int, int]:
        """Return the schema's version and the newest one."""
        with self._connection() as connection:
            return read_version(connection)[0], len(self._steps)

    def script(self) -> str:
        """Return the SQL that `run` would run now, without its transaction."""
        with self._connection() as connection:
            version, _ = read_version(connection)
            return migration_script(self._address.schema, version, self._steps)

    def role_script(self) -> str:
        """Return the SQL that makes roles with few rights in the schema as it is."""
        with self._connection() as connection:
            if not read_version(connection)[0]:
                raise StoreVersionError(f"{self.place} has no tables: run `conveyor migrate` first")
            return creating_script(self._address.schema, self._tables(connection))

    def run(self) -> tuple[int, int]:
        """Bring the schema to the newest version; return the versions before and after.

        If a session holds a lock that a step needs, the step gives up its own locks, so that nobody
        waits behind it for long, and is tried again.
        """
        until = time.monotonic() + self._patience
        while True:
            with self._connection() as connection:
                check_server(self._address, connection.session.info.server_version)
                try:
                    return self._run_once(connection)
                except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
                    connection.roll_back()
                    if time.monotonic() > until:
                        raise UnavailableError(self._blocked(connection)) from error
            time.sleep(self._lock_timeout)

    def _run_once(self, connection: Connection) -> tuple[int, int]:
        schema = self._address.schema
        connection.script(b"BEGIN")
        connection.script(_LOCK.format(schema=schema).encode())
        version, _ = read_version(connection)
        if version < len(self._steps):
            script = migration_script(schema, version, self._steps, self._lock_timeout)
            connection.script(script.encode())
            self._grant(connection)
        connection.script(b"COMMIT")
        return version, max(version, len(self._steps))

    def _grant(self, connection: Connection) -> None:
        """Give the roles that exist their rights in new tables."""
        schema = self._address.schema
        tables = self._tables(connection)
        for role in ROLES:
            query = "SELECT FROM pg_roles WHERE rolname = %s"
            if connection.session.execute(query, (role_name(schema, role),)).fetchall():
                connection.script(granting_script(schema, role, tables).encode())

    def _tables(self, connection: Connection) -> list[str]:
        rows = connection.session.execute(_TABLES, (self._address.schema,)).fetchall()
        return [name for (name,) in rows]

    def _blocked(self, connection: Connection) -> str:
        rows = connection.session.execute(_BLOCKERS, (self._address.schema,)).fetchall()
        sessions = ", ".join(f"session {pid} ({name}, {state})" for pid, name, state in rows)
        return (
            f"{self.place} could not be migrated within {self._patience:.0f} s, because "
            f"{sessions or 'another session'} holds locks; nothing was changed. End that session's "
            "transaction, and run `conveyor migrate` again."
        )

    @contextmanager
    def _connection(self) -> Generator[Connection]:
        connection = Connection(self._address, migrating=True)
        try:
            yield connection
        except psycopg.Error as error:
            raise connection.translate(error) from error
        finally:
            connection.close()
