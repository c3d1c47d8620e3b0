"""Migrates a schema to the version that this Conveyor knows, and checks which one it has."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import psycopg

from ...errors import StoreVersionError, UnavailableError
from ..sql.schema_files import schema_files
from .address import Address
from .connection import Connection

# Two migrations of one schema at once: the second waits for the first.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('conveyor migrate {schema}', 0))"
OLDEST_SERVER = 140000


def schemas() -> tuple[str, ...]:
    """Return the schema files in order; the first makes an empty schema version 1."""
    return schema_files("conveyor.store.postgres")


def migration_script(address: Address, version: int) -> str:
    """Return the SQL that brings a schema from `version` to the newest one; "" if it has that."""
    newest = len(schemas())
    if version >= newest:
        return ""
    parts = [
        f"CREATE SCHEMA IF NOT EXISTS {address.schema};",
        f"SET LOCAL search_path = {address.schema};",
        *schemas()[version:],
        "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL);",
        "DELETE FROM schema_version;",
        f"INSERT INTO schema_version (version) VALUES ({newest});",  # noqa: S608 - a number
    ]
    return "\n".join(parts)


def read_version(connection: Connection) -> int:
    """Return the version of a schema; 0 if it has none, or does not exist."""
    cursor = connection.session.cursor()
    table = f"{connection.address.schema}.schema_version"
    cursor.execute("SELECT to_regclass(%s) IS NULL", (table,))
    if cursor.fetchall() == [(True,)]:
        return 0
    # Qualified, because behind a pooler there is no search path outside a transaction.
    query = f"SELECT version FROM {table}"  # noqa: S608 - a checked name
    [(version,)] = cursor.execute(query.encode()).fetchall()
    return int(version)


def check_version(connection: Connection) -> None:
    """Raise an error unless a schema has the version that this Conveyor knows."""
    place, server = connection.address.shown, connection.session.info.server_version
    if server < OLDEST_SERVER:
        raise UnavailableError(
            f"{place} is PostgreSQL {server // 10000}; Conveyor needs 14 or newer"
        )
    version, newest = read_version(connection), len(schemas())
    if version > newest:
        raise StoreVersionError(
            f"{place} has schema version {version}, and this Conveyor knows versions up to "
            f"{newest}: it was migrated by a newer Conveyor. Upgrade this one; nothing was changed."
        )
    if version < newest:
        told = f"has schema version {version} of {newest}" if version else "has no tables"
        raise StoreVersionError(
            f"{place} {told}: run `conveyor migrate --url {connection.address.shown}`"
        )


class Migration:
    """The migration of one schema. Workers run meanwhile only if its step allows it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self.place = address.shown

    def versions(self) -> tuple[int, int]:
        """Return the schema's version and the newest one."""
        with self._connection() as connection:
            return read_version(connection), len(schemas())

    def script(self) -> str:
        """Return the SQL that `run` would run now, without its transaction."""
        with self._connection() as connection:
            return migration_script(self._address, read_version(connection))

    def run(self) -> tuple[int, int]:
        """Bring the schema to the newest version; return the versions before and after."""
        with self._connection() as connection:
            connection.script(b"BEGIN")
            connection.script(_LOCK.format(schema=self._address.schema).encode())
            version = read_version(connection)
            if version < len(schemas()):
                connection.script(migration_script(self._address, version).encode())
            connection.script(b"COMMIT")
            return version, max(version, len(schemas()))

    @contextmanager
    def _connection(self) -> Generator[Connection]:
        connection = Connection(self._address, migrating=True)
        try:
            yield connection
        except psycopg.Error as error:
            raise connection.translate(error) from error
        finally:
            connection.close()
