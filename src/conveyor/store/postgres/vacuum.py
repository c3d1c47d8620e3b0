"""Vacuums the small tables of the hot path every few seconds: a claim walks what was deleted since.

Autovacuum looks at a table once a minute, and a queue deletes most of its rows within that time.
"""

from __future__ import annotations

import threading
import time

from ...errors import UnavailableError
from .connection import Connection
from .transactions import Transactions

# How often it is done, in seconds, and that it takes up to one part of the time in so many.
EVERY, SHARE = 3.0, 20


class Vacuum:
    """Looks after the tables while this process claims jobs, in a thread of its own."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._due = time.monotonic() + EVERY
        self._lock = threading.Lock()

    def note(self) -> None:
        """Take note that rows were deleted."""
        if time.monotonic() >= self._due and self._lock.acquire(blocking=False):
            thread = threading.Thread(target=self._run, name="conveyor-vacuum", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no room for a thread, or the interpreter ends; jobs are claimed
                self._lock.release()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            self._transactions.check(vacuum)
        except UnavailableError:
            pass  # whoever needs the server says so
        finally:
            ended = time.monotonic()
            self._due = ended + max(EVERY, SHARE * (ended - began))
            self._lock.release()


def vacuum(connection: Connection) -> None:
    """Vacuum the tables that need it and that this user may vacuum, unless another process does."""
    for (table,) in connection.query("tables_to_vacuum"):
        # Not truncated, because that locks the table.
        connection.script(f"VACUUM (SKIP_LOCKED, TRUNCATE FALSE) {table}".encode())
