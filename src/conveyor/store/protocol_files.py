"""What a store must be able to do with the files of jobs, in pieces of at most 1 MiB.

A content is named by its SHA-256, so that it is there once however many jobs have it. One that no
job refers to is removed an hour after it was last asked for, written or referred to.
"""

from __future__ import annotations

from typing import Protocol

from ..core.files import FileInfo
from ..core.pending import Pending
from .messages import Content, Lease

# How long, in seconds, a content may lie there before a job refers to it.
UNUSED = 3600.0


class FileStore(Protocol):
    """What producers, workers and readers of artifacts need. `insert` refuses jobs whose inputs
    are not wholly there.
    """

    def content(self, digest: str) -> Pending[Content]:
        """Return how much of a content is there. It is then kept for an hour at least."""
        ...

    def write_content(
        self, digest: str, offset: int, data: bytes, *, last: bool
    ) -> Pending[Content]:
        """Append a piece at `offset`, and say how much is there now.

        UsageError when it would leave a hole; what is there already is not written again. With
        `last` the whole must fit the digest: if it does not, it is thrown away, with UsageError.
        """
        ...

    def read_content(self, digest: str, offset: int, limit: int) -> Pending[bytes]:
        """Return at most `limit` bytes from `offset` on, none at the end; NotFoundError unless the
        content is wholly there.
        """
        ...

    def attach(self, lease: Lease, file: FileInfo) -> Pending[bool]:
        """Note an artifact of a running job; one of the same name is replaced.

        False when the lease is stale; UsageError when the content is not wholly there, or when
        there are 1,000 others. The `kind` and `lease` of `file` are set by the store.
        """
        ...

    def files(self, job_id: str) -> Pending[list[FileInfo]]:
        """Return a job's inputs and then its artifacts, each by name."""
        ...

    def sweep_contents(self, *, limit: int) -> Pending[int]:
        """Remove at most `limit` contents, whole or not, that nobody needs; returns how many."""
        ...
