"""Where jobs live. `open_store` knows every kind of store; a kind is one file and one line here."""

from __future__ import annotations

from ..clock import Clock
from ..errors import UsageError
from .memory import MemoryStore
from .protocol import Store

# The variable by which a store's secret reaches the processes that a worker starts.
TOKEN = "CONVEYOR_TOKEN"  # noqa: S105 - its name
KNOWN = "'memory:', a path like 'jobs.db', 'sqlite:///jobs.db' or 'sqlite:////var/jobs.db'"


def open_store(url: str, clock: Clock | None = None) -> Store:
    """Open the store at an address; UsageError for an address of no known kind."""
    scheme, colon, _ = url.partition(":")
    if url in ("memory:", "memory://"):
        return MemoryStore(clock)
    if not url or (colon and scheme != "sqlite" and "/" not in scheme):
        raise UsageError(f"there is no store for {url!r}; known are {KNOWN}")
    # The driver is imported only where it is needed: memory and the command line's help go without.
    from .sqlite import SqliteStore  # noqa: PLC0415

    return SqliteStore.open(url, clock)
