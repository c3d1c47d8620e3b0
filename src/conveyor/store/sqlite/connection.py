"""One connection to one SQLite file: safe opening, a lock beside it, and translated errors."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from typing import Literal, NoReturn

import apsw

from ...errors import CorruptStoreError, UnavailableError
from ...system.file_lock import FileLock, lock_attempts
from ...system.file_owner import PRIVATE_FILE
from ..move_mark import MARK, check_unmarked
from ..sql.dialect import SQLITE
from ..sql.executor import Lockable, Params
from ..sql.rows import Row
from ..sql.statements import READ_ONLY, load_statements
from .inode import Inode
from .migrate import migrate

Durability = Literal["full", "normal"]

STATEMENTS = load_statements(SQLITE)

# WAL pages after which we checkpoint: 4,000 pages are 16 MB.
CHECKPOINT_PAGES = 4000


class Database:
    """The file and the lock beside it. Used by one thread at a time."""

    excludes_writers = True

    def __init__(self, path: str, durability: Durability, *, for_move: bool = False) -> None:
        self.path = path
        self._durability = durability
        self._for_move = for_move
        self._wal_pages = 0
        self._at_wal = Inode(path + "-wal")
        self._lock = self._open_lock()
        self._db: apsw.Connection | None = None
        try:
            with self._lock.exclusive():
                self._connect()
        except BaseException:
            self._lock.close()
            raise

    async def rows(self, name: str, params: Params = ()) -> list[Row]:
        """Run a statement and return its rows."""
        try:
            return list(self._connection.execute(STATEMENTS[name], params))
        except UnicodeDecodeError:
            if name not in READ_ONLY:
                raise
            return self._damaged_rows(STATEMENTS[name], params)

    async def many(self, name: str, params: Iterable[Params]) -> list[Row]:
        """Run a statement for each set of parameters and return all rows."""
        return list(self._connection.executemany(STATEMENTS[name], params))

    async def change(self, name: str, params: Iterable[Params]) -> int:
        """Run a statement for each set of parameters and return how many rows were changed.

        A user's triggers may have changed some of them. What is missing then, this does not show;
        but the lock on the file lets nobody change what this transaction has read.
        """
        db = self._connection
        before = db.total_changes()
        for _ in db.executemany(STATEMENTS[name], params):
            pass
        return db.total_changes() - before

    async def lock(self, what: Lockable, keys: Sequence[str], *, shared: bool = False) -> None:
        """Do nothing: the lock on the file excludes every other writer."""

    async def limit_waits(self) -> None:
        """Do nothing, too."""

    async def try_lock_queue(self, name: str, *, patiently: bool) -> bool:
        """Do nothing, too."""
        return True

    @contextmanager
    def writing(self) -> Generator[None]:
        """Hold one write transaction; it is durable once this context is left."""
        with self._translated(), self._lock.exclusive():
            self._check_wal()
            with self._ended():
                self._begin()
                yield
                self._connection.execute("COMMIT")
            if not self._is_same_wal():
                # See `_check_wal`: what we wrote may have gone into a deleted file.
                self._reconnect()
                raise UnavailableError(self._trap())
            if self._wal_pages >= CHECKPOINT_PAGES:
                self._checkpoint("PASSIVE")

    @contextmanager
    def reading(self) -> Generator[None]:
        """Hold one consistent view of the file."""
        with self._translated(), self._lock.shared():
            self._check_wal()
            with self._ended():
                self._connection.execute("BEGIN")
                yield

    @contextmanager
    def _ended(self) -> Generator[None]:
        """Roll back on the way out whatever was not committed."""
        # Twice, because a Ctrl-C may cut the first one short.
        try:
            try:
                yield
            finally:
                self.roll_back()
        finally:
            self.roll_back()

    def savepoint(self) -> None:
        """Set a savepoint."""
        self._connection.execute("SAVEPOINT operation")

    def release_savepoint(self) -> None:
        """Keep what was done since the savepoint."""
        self._connection.execute("RELEASE operation")

    def roll_back_to_savepoint(self) -> None:
        """Undo what was done since the savepoint."""
        self._connection.execute("ROLLBACK TO operation")
        self._connection.execute("RELEASE operation")

    def roll_back(self) -> None:
        """Roll back the transaction, if one is open."""
        if self._db is not None and self._db.in_transaction:
            with suppress(apsw.Error):
                self._db.execute("ROLLBACK")

    def close(self) -> None:
        """Checkpoint the WAL, then close the file."""
        with suppress(UnavailableError), self._translated(), self._lock.exclusive():
            if self._db is not None and self._wal_pages and self._is_same_wal():
                self._checkpoint("TRUNCATE")
        if self._db is not None:
            self._db.close()
        self._lock.close()

    @property
    def _connection(self) -> apsw.Connection:
        if self._db is None:
            raise UnavailableError(f"{self.path} is not open")
        return self._db

    def _damaged_rows(self, statement: str, params: Params) -> list[Row]:
        """Return the rows of a SELECT of which some text is not UTF-8; that text is replaced."""
        described = self._connection.execute(statement, params).get_description()
        names = [f"c{number}" for number in range(len(described))]
        values = ", ".join(
            f"typeof({each}) = 'text', iif(typeof({each}) = 'text', CAST({each} AS BLOB), {each})"
            for each in names
        )
        found = f"WITH found ({', '.join(names)}) AS (\n{statement}\n)"
        rows = self._connection.execute(f"{found} SELECT {values} FROM found", params)  # noqa: S608 - no text from outside
        return [
            tuple(
                value.decode(errors="replace") if is_text else value
                for is_text, value in zip(row[::2], row[1::2], strict=True)
            )
            for row in rows
        ]

    def _open_lock(self) -> FileLock:
        try:
            return FileLock(self.path + ".lock", like=self.path)
        except OSError as error:
            folder = os.path.dirname(os.path.abspath(self.path))
            raise UnavailableError(
                f"{self.path} cannot be opened: {error}. A lock file is kept beside it, so the "
                f"folder {folder} must exist and be writable."
            ) from error

    def _connect(self) -> None:
        self._check_links()
        self._create()
        with self._translated():
            db = apsw.Connection(self.path)
            # A close must never delete the WAL: another SQLite library in some process may have
            # dropped the locks by which SQLite knows that it is still in use.
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            db.set_busy_timeout(0)
            self._retry_busy(db, "PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {self._durability}")
            db.execute("PRAGMA wal_autocheckpoint = 0")
            db.execute("PRAGMA cache_size = -32000")
            db.execute("PRAGMA temp_store = MEMORY")
            db.set_wal_hook(self._count_pages)
            migrate(db, self.path)
            if not self._for_move:
                check_unmarked(self.path, list(db.execute(STATEMENTS["leader"], (MARK,))))
            self._db, self._wal = db, self._at_wal.look()

    def _create(self) -> None:
        """Create the file if there is none, for its owner alone; its WAL will have its mode."""
        # Never one that exists: closing it would drop SQLite's locks on it. An error is SQLite's to
        # report, as it cannot create the file either.
        with suppress(OSError):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, PRIVATE_FILE)
            os.close(descriptor)

    def _check_links(self) -> None:
        """Refuse a file with several names: each name would have a lock and a WAL of its own."""
        with suppress(FileNotFoundError):
            seen = os.stat(self.path)
            if stat.S_ISDIR(seen.st_mode):
                raise UnavailableError(f"{self.path} is a directory; name a file in it")
            names = seen.st_nlink
            if names > 1:
                raise UnavailableError(
                    f"{self.path} has {names} names (hard links). Processes that use different "
                    "names would run every job twice and damage the file: keep one name, and make "
                    "copies with SQLite's backup API."
                )

    def _count_pages(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _reconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            if not self._at_wal.look():
                self._save_deleted_wal(db)
            db.close()
        self._connect()

    def _save_deleted_wal(self, db: apsw.Connection) -> None:
        """Bring into the file what a WAL has that somebody deleted; this connection still has it.

        Nobody has begun another one, so nothing in the file is newer. What SQLite itself deletes is
        in the file already.
        """
        with self._translated():
            pages, saved = db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        if saved < pages:
            raise CorruptStoreError(
                f"the WAL of {self.path} was deleted, and {pages - saved} of its {pages} pages are "
                "not in the file: stop everything that uses the file, and restore a backup"
            )

    def _check_wal(self) -> None:
        """Look whether the WAL still is the file we have open.

        When another SQLite library in this process (Python's sqlite3) closes the same database,
        it may bring the WAL into the file and delete it under us. What we would write then would
        go nowhere. The WAL is never opened for this look: a second descriptor is the trap itself.
        """
        if self._db is None or not self._is_same_wal():
            self._reconnect()

    def _is_same_wal(self) -> bool:
        return self._at_wal.look() == self._wal

    def _trap(self) -> str:
        return (
            f"the WAL of {self.path} was replaced while it was written, so the last call may not "
            "have happened: something else in this process opens and closes the same file. Use "
            "another process, or SQLite's backup API, for that."
        )

    def _begin(self) -> None:
        self._retry_busy(self._connection, "BEGIN IMMEDIATE")

    def _retry_busy(self, db: apsw.Connection, statement: str) -> None:
        for _ in lock_attempts(f"{self.path} is locked by another program"):
            try:
                db.execute(statement)
            except apsw.BusyError:
                continue
            return

    def _checkpoint(self, mode: Literal["PASSIVE", "TRUNCATE"]) -> None:
        self._connection.wal_checkpoint(mode=getattr(apsw, f"SQLITE_CHECKPOINT_{mode}"))
        self._wal_pages = 0

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except apsw.Error as error:
            raise_translated(self.path, error)


def raise_translated(path: str, error: apsw.Error) -> NoReturn:
    """Raise the error of ours that says what SQLite's means, with the file and a remedy."""
    match error:
        case apsw.NotADBError():
            raise CorruptStoreError(
                f"{path} is not a SQLite database; it was left as it is. Name another file."
            ) from error
        case apsw.CorruptError():
            raise CorruptStoreError(
                f"{path} is damaged: {error}. Stop all workers, copy the file, and recover it with "
                "`sqlite3 jobs.db .recover`, or restore a backup."
            ) from error
        case apsw.FullError():
            raise UnavailableError(
                f"the disk of {path} is full; nothing of this call was written. Free some space; "
                "workers continue by themselves."
            ) from error
        case apsw.ReadOnlyError() | apsw.PermissionsError():
            raise UnavailableError(
                f"{path} is read-only for this user: {error}. Change the permissions of the file "
                "and its folder, or name another file."
            ) from error
        case apsw.CantOpenError():
            raise UnavailableError(
                f"{path} cannot be opened: {error}. Check that its folder exists and is accessible."
            ) from error
        case _:
            raise UnavailableError(f"{path}: {type(error).__name__}: {error}") from error
