"""Between rows and jobs: what a column holds, and whether it still is what was written."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import msgspec

from ...core.job import NO_OPTIONS, JobRecord, NewJob, Options, Progress, State, StopNote
from ...errors import CorruptStoreError

JOB_COLUMNS = (
    "seq", "id", "lane", "task", "args", "options", "checksum", "state", "priority", "run_at",
    "enqueued_at", "attempt", "lease", "crashes", "worker", "lease_until", "cancel_requested_at",
    "started_at", "final_at", "result", "result_checksum", "error", "progress", "cancel_forced",
    "stopping",
)  # fmt: skip
SEQ, ID, LANE = 0, 1, 2

_BY_NAME = {state.value: state for state in State}
_encode = msgspec.json.Encoder().encode
_decode_options = msgspec.json.Decoder(Options).decode
_decode_progress = msgspec.json.Decoder(Progress).decode
_decode_stopping = msgspec.json.Decoder(tuple[StopNote, ...]).decode
_NONE = b"{}"


def encode_options(options: Options) -> bytes:
    """Return options as JSON; what is at its default is left out."""
    return _NONE if options is NO_OPTIONS else _encode(options)


def checksum(job_id: str, task: str, args: bytes, options: bytes) -> int:
    """Return what the accepted part of a job adds up to (CRC-32)."""
    return crc32(options, crc32(args, crc32(f"{job_id}\0{task}".encode())))


def unique_key(new: NewJob) -> str | None:
    """Return what is unique about a job: its key, among the jobs of its task."""
    return None if new.options.key is None else f"{new.task}\0{new.options.key}"


def to_record(row: tuple[Any, ...], queue: str) -> JobRecord:
    """Make a job of a row; CorruptStoreError, naming the job, when the row was damaged."""
    (
        seq, job_id, _, task, args, options, check, state, priority, run_at, enqueued_at, attempt,
        lease, crashes, worker, lease_until, cancel_requested_at, started_at, final_at, result,
        result_check, error, progress, cancel_forced, stopping,
    ) = row  # fmt: skip
    if checksum(job_id, task, args, options) != check or state not in _BY_NAME:
        raise damaged(job_id, "what was enqueued")
    if result is not None and crc32(result) != result_check:
        raise damaged(job_id, "its result")
    return JobRecord(
        seq=seq,
        id=job_id,
        task=task,
        queue=queue,
        args=args,
        state=_BY_NAME[state],
        priority=priority,
        run_at=run_at,
        enqueued_at=enqueued_at,
        attempt=attempt,
        lease=lease,
        crashes=crashes,
        worker=worker,
        lease_until=lease_until,
        cancel_requested_at=cancel_requested_at,
        started_at=started_at,
        final_at=final_at,
        result=result,
        error=error,
        progress=None if progress is None else _decode_progress(progress),
        cancel_forced=bool(cancel_forced),
        stopping=() if stopping is None else _decode_stopping(stopping),
        options=NO_OPTIONS if options == _NONE else _decode_options(options),
    )


def damaged(job_id: str, what: str) -> CorruptStoreError:
    """Return the error for a row whose checksum does not fit."""
    return CorruptStoreError(
        f"the row of job {job_id} is damaged: {what} is not what was written (checksum). "
        "Enqueue the job again from its source, and check the disk; "
        "`conveyor doctor` looks at the whole file."
    )
