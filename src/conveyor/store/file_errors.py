"""Messages about files that a store cannot accept, the same for every store."""

from __future__ import annotations

from ..core.files import FILES_LIMIT


def gap_message(digest: str, size: int, offset: int) -> str:
    """Return the message for a piece that does not follow what is stored."""
    return (
        f"content {digest[:12]}…: a piece at offset {offset:,} would leave a hole, as {size:,} "
        "bytes are stored; ask for the stored size and continue there"
    )


def mismatch_message(digest: str) -> str:
    """Return the message for a content whose SHA-256 is not its digest."""
    return (
        f"content {digest[:12]}…: SHA-256 mismatch; the upload was thrown away. If the file "
        "changed while it was read, send it again from the beginning"
    )


def missing_content(digest: str) -> str:
    """Return the message for a content that is not completely stored."""
    return f"content {digest[:12]}… is not stored, or not completely"


def missing_input(job_id: str, name: str) -> str:
    """Return the message for a job whose input file is not completely stored."""
    return f"job {job_id}: its file {name!r} is not stored, or not completely; upload it first"


def too_many_artifacts(job_id: str) -> str:
    """Return the message for one artifact more than a job can have."""
    return f"job {job_id} has {FILES_LIMIT:,} artifacts and can have no more"
