"""The SQLite driver: one file, any number of processes on one machine, one writer at a time."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ...core.clock import Clock, SystemClock
from ...core.pending import Pending
from ...core.retry import Draw
from ..blobs.directory import BlobDirectory
from ..messages import HintKind, Listener, new_discards
from ..sql.transaction import Tx
from .connection import Database, Durability
from .notifier import Notifier
from .writer import Writer

T = TypeVar("T")


class SqliteDriver:
    """A SQLite file, with the files and the sockets beside it."""

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock | None = None,
        durability: Durability = "full",
        draw: Draw = random.random,
        for_move: bool = False,
    ) -> None:
        # A link to a file must not give it another lock and other files beside it.
        self._path = os.path.realpath(path) if os.path.islink(path) else os.path.abspath(path)
        self._clock = clock or SystemClock()
        self._durability: Durability = durability
        self._draw = draw
        self._for_move = for_move
        self._lock = threading.Lock()
        self._left_behind: list[object] = []
        self.discards = new_discards()
        self.blobs = BlobDirectory(self._path + ".files", self._clock.now)
        self._open()

    @property
    def url(self) -> str:
        """The address by which another process on this machine reaches the same file."""
        return f"sqlite:///{self._path}?durability={self._durability}"

    @property
    def folder(self) -> str:
        """Where workers leave files that others on this machine may read."""
        return self._path + ".workers"

    def now(self) -> float:
        """Return the time by the machine's clock: all who use the file share it."""
        return self._clock.now()

    def submit(
        self, operation: Callable[[Tx], Coroutine[Any, Any, T]], *, reads: bool
    ) -> Pending[T]:
        """Run an operation completely or not at all, in the order of the calls."""
        if self._writer.pid != os.getpid():
            self._reopen_after_fork()
        return self._writer.submit(operation, reads=reads)

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        """Call `listener` for hints of these kinds from any process; returns how to stop."""
        if self._writer.pid != os.getpid():
            self._reopen_after_fork()
        return self._notifier.listen(kinds, listener)

    def close(self) -> None:
        """Run what was submitted, then release the file."""
        self._writer.close()
        self._notifier.close()

    def _open(self) -> None:
        db = Database(self._path, self._durability, for_move=self._for_move)
        self._notifier = Notifier(self._path)
        self._writer = Writer(db, self._clock, self._notifier.notify, self.discards, self._draw)

    def _reopen_after_fork(self) -> None:
        with self._lock:
            if self._writer.pid != os.getpid():
                # This is a forked child. The parent's connection must never be used or even
                # closed here: that would drop the parent's locks. It is kept, untouched.
                self._left_behind += [self._writer, self._notifier]
                self._open()
