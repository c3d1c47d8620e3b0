"""Opens the SQL store over a SQLite file."""

from __future__ import annotations

import random
from pathlib import Path
from urllib.parse import parse_qsl

from ...core.clock import Clock
from ...core.retry import Draw
from ...errors import UsageError
from ..sql.store import SqlStore
from .connection import Durability
from .driver import SqliteDriver


class SqliteStore(SqlStore):
    """Jobs in a SQLite file.

    `durability` "full" survives a power cut with every acknowledged call; "normal" may lose the
    last moments before one, and is several times as fast for single calls. `draw` supplies the
    randomness of retry jitter. `for_move` also opens a file whose jobs are moved.
    """

    is_local = keeps_call_order = True

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock | None = None,
        durability: Durability = "full",
        draw: Draw = random.random,
        for_move: bool = False,
    ) -> None:
        driver = SqliteDriver(
            path, clock=clock, durability=durability, draw=draw, for_move=for_move
        )
        super().__init__(driver)

    @classmethod
    def open(cls, url: str, clock: Clock | None = None, *, for_move: bool = False) -> SqliteStore:
        """Open the store at a path or "sqlite:///path", with "?durability=full|normal"."""
        path, durability = parse_address(url)
        return cls(path, clock=clock, durability=durability, for_move=for_move)


def parse_address(url: str) -> tuple[str, Durability]:
    """Return the path and the durability that an address names; UsageError if it is not one."""
    address, _, query = url.partition("?")
    path = address.removeprefix("sqlite:")
    if path != address:
        if not path.startswith("///") or path == "///":
            raise UsageError(
                f"{url!r}: write sqlite:///jobs.db for a file in this folder, or "
                "sqlite:////var/jobs.db for one from the root"
            )
        path = path.removeprefix("///")
    try:
        options = dict(parse_qsl(query, keep_blank_values=True))
    except ValueError:  # it has too many parts
        options = {"?": query}
    durability = options.pop("durability", "full")
    if durability not in ("full", "normal") or options:
        raise UsageError(f"{url!r}: the one option is durability=full or durability=normal")
    return path, "full" if durability == "full" else "normal"
