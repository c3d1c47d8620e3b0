"""What keeps the contents of files: named by their SHA-256, written and read in pieces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ...core.job import NewJob
from ...errors import UsageError
from ..file_errors import missing_input
from ..messages import Content


class BlobStore(Protocol):
    """Contents beside the jobs. Any thread may call; calls block until they are done."""

    def look(self, digest: str) -> Content:
        """Return how much of a content is stored, and count that as a use."""
        ...

    def write(self, digest: str, offset: int, data: bytes, *, last: bool) -> Content:
        """Append a piece; the last one completes the content if its SHA-256 matches."""
        ...

    def read(self, digest: str, offset: int, limit: int) -> bytes:
        """Return a piece of a complete content; NotFoundError if it is not complete."""
        ...

    def unused_since(self, moment: float) -> list[str]:
        """Return the digests of contents, complete or not, that were last used before `moment`."""
        ...

    def remove(self, digest: str, unused_since: float) -> bool:
        """Remove a content unless it was used after `unused_since`; returns whether it did."""
        ...


def check_inputs(blobs: BlobStore, jobs: Iterable[NewJob]) -> None:
    """Raise UsageError for a job whose input files are not completely stored."""
    found: dict[str, Content] = {}
    for job in jobs:
        for each in job.options.files:
            content = found.get(each.digest) or blobs.look(each.digest)
            found[each.digest] = content
            if content != Content(each.size, whole=True):
                raise UsageError(missing_input(job.id, each.name))
