"""The files of jobs, and which contents are still needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from ...core.files import FILES_LIMIT, FileInfo, checked_file, inputs
from ...errors import UsageError
from ..file_errors import too_many_artifacts
from ..messages import Lease
from .claim import held
from .data import MemoryData


def attach(memory: MemoryData, lease: Lease, file: FileInfo) -> bool:
    """Record an artifact of a running job."""
    checked_file(file)
    job = held(memory, lease.id, lease.lease)
    if job is None:
        return False
    kept = memory.index.artifacts[job.id]
    if len(kept.keys() - {file.name}) >= FILES_LIMIT:
        raise UsageError(too_many_artifacts(job.id))
    kept[file.name] = msgspec.structs.replace(file, kind="artifact", lease=lease.lease)
    return True


def files(memory: MemoryData, job_id: str) -> list[FileInfo]:
    """Return a job's files."""
    job = memory.index.job(job_id)
    kept = memory.index.artifacts.get(job_id, {})
    return inputs(job.options.files) + [kept[name] for name in sorted(kept)]


def needed(memory: MemoryData, digests: Sequence[str]) -> list[str]:
    """Return the digests that accepted or offered jobs refer to."""
    referred_to = frozenset(_references(memory))
    return [digest for digest in digests if digest in referred_to]


def _references(memory: MemoryData) -> Iterator[str]:
    options = [job.options for job in memory.index.jobs.values()]
    for offer in memory.offers.values():
        if offer.answer is None:
            options += [new.options for new in offer.jobs]
    for each in options:
        yield from (file.digest for file in each.files)
    for artifacts in memory.index.artifacts.values():
        yield from (each.digest for each in artifacts.values())
