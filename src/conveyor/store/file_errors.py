"""What stores say about files that are not as they should be, in the same words."""

from __future__ import annotations

from ..core.files import FILES_LIMIT


def hole(digest: str, size: int, offset: int) -> str:
    """Say that a piece does not follow what is there."""
    return (
        f"content {digest[:12]}…: {size:,} bytes of it are here, so a piece at {offset:,} would "
        "leave a hole: ask how much is here, and go on from there"
    )


def unlike(digest: str) -> str:
    """Say that a content is not what its digest says."""
    return (
        f"content {digest[:12]}…: what was sent is not what its SHA-256 says, and was thrown away. "
        "Was the file changed while it was read? Send it again from the beginning."
    )


def missing_content(digest: str) -> str:
    """Say that there is no such content."""
    return f"content {digest[:12]}… is not here, or not all of it"


def missing_input(job_id: str, name: str) -> str:
    """Say that a job cannot be taken without its input."""
    return f"job {job_id}: the content of its file {name!r} is not in the store, or not all of it"


def too_many(job_id: str) -> str:
    """Say that a job has too many artifacts."""
    return f"job {job_id} has {FILES_LIMIT:,} artifacts, and can have no more"
