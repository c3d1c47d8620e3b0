"""The part of the store protocol for the files of jobs, in pieces of at most 1 MiB.

A content is named by its SHA-256, so it is stored once however many jobs have it. A content that no
job refers to is removed an hour after it was last looked up, written or referred to.
"""

from __future__ import annotations

from typing import Protocol

from ..core.files import FileInfo
from ..core.pending import Pending
from .messages import Content, Lease

# How long, in seconds, a content is kept that no job refers to.
UNUSED = 3600.0


class FileStore(Protocol):
    """For producers, workers and readers of artifacts. `insert` refuses jobs whose inputs are not
    completely stored.
    """

    def content(self, digest: str) -> Pending[Content]:
        """Return how much of a content is stored. It is then kept for at least an hour."""
        ...

    def write_content(
        self, digest: str, offset: int, data: bytes, *, last: bool
    ) -> Pending[Content]:
        """Append a piece at `offset`; returns how much is stored now.

        UsageError if it would leave a hole; bytes that are stored already are skipped. With `last`
        the content must match its digest; otherwise it is discarded and UsageError raised.
        """
        ...

    def read_content(self, digest: str, offset: int, limit: int) -> Pending[bytes]:
        """Return at most `limit` bytes from `offset` on, none at the end; NotFoundError unless the
        content is complete.
        """
        ...

    def attach(self, lease: Lease, file: FileInfo) -> Pending[bool]:
        """Record an artifact of a running job; one of the same name is replaced.

        False if the lease is stale; UsageError if the content is not complete, or if the job has
        1,000 other artifacts. The `kind` and `lease` of `file` are set by the store.
        """
        ...

    def files(self, job_id: str) -> Pending[list[FileInfo]]:
        """Return a job's inputs and then its artifacts, each by name."""
        ...

    def sweep_contents(self, *, limit: int) -> Pending[int]:
        """Remove at most `limit` contents, complete or not, that no job needs; returns how many."""
        ...
