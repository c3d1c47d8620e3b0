"""The files of jobs: inputs as they were enqueued, artifacts as they are left."""

from __future__ import annotations

import msgspec

from ...core.files import FILES_LIMIT, FileInfo, file_name, inputs
from ...errors import UsageError
from ..file_errors import missing_content, too_many
from ..messages import Content, Lease
from .blobs import content
from .claim import held
from .data import Memory


def attach(memory: Memory, lease: Lease, file: FileInfo) -> bool:
    """Note an artifact of a running job."""
    if content(memory, file.digest) != Content(file.size, whole=True):
        raise UsageError(missing_content(file.digest))
    job = held(memory, lease.id, lease.lease)
    if job is None:
        return False
    kept = memory.books.artifacts[job.id]
    if len(kept.keys() - {file_name(file.name)}) >= FILES_LIMIT:
        raise UsageError(too_many(job.id))
    kept[file.name] = msgspec.structs.replace(file, kind="artifact", lease=lease.lease)
    return True


def files(memory: Memory, job_id: str) -> list[FileInfo]:
    """Return a job's files."""
    job = memory.books.job(job_id)
    kept = memory.books.artifacts.get(job_id, {})
    return inputs(job.options.files) + [kept[name] for name in sorted(kept)]
