"""Migrates a SQLite file to the schema of this version."""

from __future__ import annotations

import apsw

from ...errors import CorruptStoreError, StoreVersionError
from ..sql.schema_files import schema_files

# "Conv" in ASCII: `file jobs.db` shows it, and no other program's database has it.
APPLICATION_ID = 0x436F6E76


def migrate(db: apsw.Connection, path: str) -> None:
    """Apply the schema files that are newer than the database. Call it under our lock."""
    known = schemas()
    version, newest = _pragma(db, "user_version"), len(known)
    if version == newest:
        _check_application(db, path)
        return
    if version > newest:
        raise StoreVersionError(
            f"{path} has schema version {version}, and this Conveyor knows versions up to "
            f"{newest}: it was written by a newer Conveyor. Upgrade this one; nothing was changed."
        )
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _pragma(db, "user_version")
        if version:
            _check_application(db, path)
        elif _has_tables(db):
            raise CorruptStoreError(
                f"{path} is a SQLite database of another program; it was left as it is. "
                "Name another file."
            )
        for number, text in enumerate(known[version:], start=version + 1):
            db.execute(text)
            db.execute(f"PRAGMA user_version = {number}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def schemas() -> tuple[str, ...]:
    """Return the schema files in order; the first brings an empty file to version 1."""
    return schema_files("conveyor.store.sqlite")


def _check_application(db: apsw.Connection, path: str) -> None:
    if _pragma(db, "application_id") != APPLICATION_ID:
        raise CorruptStoreError(
            f"{path} is a SQLite database of another program; it was left as it is. "
            "Name another file."
        )


def _has_tables(db: apsw.Connection) -> bool:
    return bool(list(db.execute("SELECT 1 FROM sqlite_schema LIMIT 1")))


def _pragma(db: apsw.Connection, name: str) -> int:
    [(value,)] = list(db.execute(f"PRAGMA {name}"))
    return int(value)
