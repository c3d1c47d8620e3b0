"""Opens the SQL store over a schema of a PostgreSQL database."""

from __future__ import annotations

import random

from ...core.clock import Clock
from ...core.retry import Draw
from ..sql.store import SqlStore
from .address import parse_address
from .driver import PostgresDriver


class PostgresStore(SqlStore):
    """Jobs in a PostgreSQL database that many machines share.

    The schema must exist: `conveyor migrate` makes it. `password` is for an address without one.
    `draw` supplies the randomness of retry jitter.
    """

    is_local = keeps_call_order = False
    can_be_partitioned = True

    def __init__(
        self,
        url: str,
        *,
        password: str = "",
        clock: Clock | None = None,
        draw: Draw = random.random,
    ) -> None:
        address = parse_address(url, password)
        # Passed to the worker's other processes beside the address, which everybody can see.
        self.secret = address.password
        super().__init__(PostgresDriver(address, clock=clock, draw=draw))
