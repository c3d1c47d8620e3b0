"""Contents of files, in pieces, and which of them nobody needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...core.files import checked_digest, checked_piece
from ...core.job import NewJob
from ...errors import NotFoundError, UsageError
from ..file_errors import hole, missing_content, missing_input, unlike
from ..messages import Content
from ..protocol_files import UNUSED
from .data import Memory, StoredContent


def content(memory: Memory, digest: str) -> Content:
    """Say how much of a content is there."""
    stored = memory.contents.get(checked_digest(digest))
    if stored is None:
        return Content(0, whole=False)
    stored.used_at = memory.now
    return Content(len(stored.data), stored.whole)


def write_content(memory: Memory, digest: str, offset: int, data: bytes, *, last: bool) -> Content:
    """Append a piece."""
    checked_piece(offset, len(data))
    stored = memory.contents.get(checked_digest(digest)) or StoredContent(memory.now)
    if not stored.whole:
        size = len(stored.data)
        if offset > size:
            raise UsageError(hole(digest, size, offset))
        added = data[size - offset :]
        stored.data += added
        stored.sha256.update(added)
        if last and stored.sha256.hexdigest() != digest:
            memory.contents.pop(digest, None)
            raise UsageError(unlike(digest))
        stored.whole = last
        memory.contents[digest] = stored
    return content(memory, digest)


def read_content(memory: Memory, digest: str, offset: int, limit: int) -> bytes:
    """Return a piece."""
    checked_piece(offset, limit)
    stored = memory.contents.get(checked_digest(digest))
    if stored is None or not stored.whole:
        raise NotFoundError(missing_content(digest))
    return bytes(stored.data[offset : offset + limit])


def need_inputs(memory: Memory, jobs: Sequence[NewJob]) -> None:
    """Raise UsageError for jobs whose inputs are not wholly there."""
    for job in jobs:
        for each in job.options.files:
            if content(memory, each.digest) != Content(each.size, whole=True):
                raise UsageError(missing_input(job.id, each.name))


def sweep_contents(memory: Memory, *, limit: int) -> int:
    """Remove contents that nobody needs."""
    old = [
        digest for digest, stored in memory.contents.items() if stored.used_at < memory.now - UNUSED
    ]
    needed = frozenset(_needed(memory)) if old else frozenset[str]()
    unneeded = [digest for digest in old if digest not in needed][:limit]
    for digest in unneeded:
        del memory.contents[digest]
    return len(unneeded)


def _needed(memory: Memory) -> Iterator[str]:
    options = [job.options for job in memory.books.jobs.values()]
    for offer in memory.offers.values():
        if offer.answer is None:
            options += [new.options for new in offer.jobs]
    for each in options:
        yield from (file.digest for file in each.files)
    for artifacts in memory.books.artifacts.values():
        yield from (each.digest for each in artifacts.values())
