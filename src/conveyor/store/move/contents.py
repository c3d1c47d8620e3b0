"""Copies the contents of files: each in pieces, so that an interrupted one is continued."""

from __future__ import annotations

from ...core.files import PIECE
from ...errors import NotFoundError, UsageError
from ..sql.rows import Row
from ..sql.store import SqlStore
from ..sql.transaction import Tx

# How many digests are read at once.
DIGESTS = 1000


def read_digests(store: SqlStore, after: str) -> list[Row]:
    """Return the next contents that jobs refer to: digests and sizes, in the order of digests."""

    async def read(tx: Tx) -> list[Row]:
        return await tx.rows("moved_digests", (after, DIGESTS))

    return store.transact(read, reads=True).result()


def copy_content(source: SqlStore, target: SqlStore, digest: str) -> str:
    """Copy one content; return what is wrong with it in the source, "" if nothing is.

    The target keeps it only if its SHA-256 is the digest.
    """
    try:
        there = target.content(digest).result()
        if there.whole:
            return ""
        here = source.content(digest).result()
        size = there.size
        is_whole = False
        while not is_whole:
            data = source.read_content(digest, size, PIECE).result()
            last = not data or size + len(data) >= here.size
            written = target.write_content(digest, size, data, last=last).result()
            size, is_whole = size + len(data), written.whole
    except (NotFoundError, UsageError) as error:
        return f"the content {digest}: {error}"
    return ""


def is_there(store: SqlStore, digest: str, size: int) -> bool:
    """Whether a store has a whole content of this size."""
    try:
        found = store.content(digest).result()
    except UsageError:  # it is no digest
        return False
    return found.whole and found.size == size
