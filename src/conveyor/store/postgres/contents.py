"""The contents of files in the database, in pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from ...core.files import checked_digest, checked_piece, checked_range
from ...errors import NotFoundError, UsageError
from ..file_errors import gap_message, mismatch_message, missing_content
from ..messages import Content
from ..sql.transaction import Tx

T = TypeVar("T")


class _Transact(Protocol):
    def __call__(self, operation: Callable[[Tx], Coroutine[Any, Any, T]], *, reads: bool) -> T: ...


class Contents:
    """Contents by digest. Any thread may call; calls block until they are done."""

    def __init__(self, transact: _Transact) -> None:
        self._transact = transact

    def look(self, digest: str) -> Content:
        """Return how much of a content is stored, and count that as a use."""
        checked_digest(digest)
        return self._transact(lambda tx: _look(tx, digest), reads=False)

    def write(self, digest: str, offset: int, data: bytes, *, last: bool) -> Content:
        """Append a piece; the last one completes the content if its SHA-256 matches."""
        checked_piece(offset, len(data))
        checked_digest(digest)
        content = self._transact(
            lambda tx: _write(tx, digest, offset, data, last=last), reads=False
        )
        if content is None:
            raise UsageError(mismatch_message(digest))
        return content

    def read(self, digest: str, offset: int, limit: int) -> bytes:
        """Return a piece of a complete content; NotFoundError if it is not complete."""
        checked_range(offset, limit)
        checked_digest(digest)
        return self._transact(lambda tx: _read(tx, digest, offset, limit), reads=True)

    def unused_since(self, moment: float) -> list[str]:
        """Return the digests of contents, complete or not, that were last used before `moment`."""

        async def find(tx: Tx) -> list[str]:
            return [digest for (digest,) in await tx.rows("unused_contents", (moment,))]

        return self._transact(find, reads=True)

    def remove(self, digest: str, unused_since: float) -> bool:
        """Remove a content unless it was used after `unused_since`; returns whether it did."""

        async def remove(tx: Tx) -> bool:
            return bool(await tx.rows("remove_content", (digest, unused_since)))

        return self._transact(remove, reads=False)


async def _look(tx: Tx, digest: str) -> Content:
    rows = await tx.rows("use_content", (tx.now, digest))
    return Content(*rows[0]) if rows else Content(0, whole=False)


async def _write(tx: Tx, digest: str, offset: int, data: bytes, *, last: bool) -> Content | None:
    """Append a piece; None if the content was complete, and not what its digest says."""
    await tx.rows("add_content", (digest, tx.now))
    [(size, whole)] = await tx.rows("lock_content", (digest,))
    if whole:
        return await _look(tx, digest)
    if offset > size:
        raise UsageError(gap_message(digest, size, offset))
    rest = data[size - offset :]
    if rest:
        await tx.rows("add_piece", (digest, size, rest))
        size += len(rest)
    if last and await _digest(tx, digest) != digest:
        await tx.rows("delete_content", (digest,))
        return None
    await tx.rows("grow_content", (size, last, tx.now, digest))
    return Content(size, whole=last)


async def _digest(tx: Tx, digest: str) -> str:
    summed = hashlib.sha256()
    for (position,) in await tx.rows("piece_positions", (digest,)):
        [(data,)] = await tx.rows("piece", (digest, position))
        summed.update(data)
    return summed.hexdigest()


async def _read(tx: Tx, digest: str, offset: int, limit: int) -> bytes:
    if not await tx.rows("whole_content", (digest,)):
        raise NotFoundError(missing_content(digest))
    rows = await tx.rows("read_content", (offset, offset + limit, digest))
    return b"".join(data for _, data in rows)
