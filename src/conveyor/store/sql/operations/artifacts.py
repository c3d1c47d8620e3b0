"""The files of jobs, and which contents are still needed."""

from __future__ import annotations

from collections.abc import Sequence

from ....core.files import FILES_LIMIT, FileInfo, checked_file
from ....errors import UsageError
from ...file_errors import too_many_artifacts
from ...messages import Lease
from ..transaction import Tx
from .admin import get


async def attach(tx: Tx, lease: Lease, file: FileInfo) -> bool:
    """Record an artifact of a running job."""
    checked_file(file)
    await tx.lock_jobs([lease.id])
    found = await tx.rows("held", (lease.id, lease.lease))
    if not found:
        return False
    seq = found[0][0]
    if (await tx.rows("count_others", (seq, file.name)))[0][0] >= FILES_LIMIT:
        raise UsageError(too_many_artifacts(lease.id))
    row = (seq, file.name, file.digest, file.size, file.executable, lease.lease)
    await tx.rows("attach", row)
    return True


async def files(tx: Tx, job_id: str) -> list[FileInfo]:
    """Return a job's files."""
    job = await get(tx, job_id)
    return [
        FileInfo(
            name=name,
            digest=digest,
            size=size,
            kind="input" if kind == "input" else "artifact",
            executable=bool(executable),
            lease=lease,
        )
        for name, digest, size, kind, executable, lease in await tx.rows("files", (job.seq,))
    ]


async def needed(tx: Tx, digests: Sequence[str]) -> list[str]:
    """Return the digests that accepted or offered jobs refer to."""
    return [digest for digest in digests if await tx.rows("refers", (digest,))]
