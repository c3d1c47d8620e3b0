"""Between rows and jobs: what a column holds, and whether it still is what was written."""

from __future__ import annotations

from operator import attrgetter
from typing import Any
from zlib import crc32

import msgspec

from ...core.access import Token
from ...core.job import (
    NO_OPTIONS,
    JobRecord,
    Options,
    Progress,
    ScheduleInfo,
    State,
    StopNote,
)
from ...errors import CorruptStoreError
from ..messages import Leader

# The columns are the fields of the records. A job's queue is named by its lane, and two checksums
# follow the fields.
_FIELDS = JobRecord.__struct_fields__
COLUMNS: dict[str, tuple[str, ...]] = {
    "job": (
        *("lane" if name == "queue" else name for name in _FIELDS),
        "checksum",
        "result_checksum",
    ),
    "token": Token.__struct_fields__,
    "schedule": ScheduleInfo.__struct_fields__,
    "leader": Leader.__struct_fields__,
}
SEQ, ID, TASK, LANE, ARGS, STATE, PRIORITY, RUN_AT = map(
    _FIELDS.index, ("seq", "id", "task", "queue", "args", "state", "priority", "run_at")
)
_RESULT, _PROGRESS, _FORCED, _STOPPING, _OPTIONS = map(
    _FIELDS.index, ("result", "progress", "cancel_forced", "stopping", "options")
)

# What a transition may change, and what its guard needs.
_CHANGING: tuple[str, ...] = (
    "seq", "lease", "state", "attempt", "crashes", "run_at", "error", "result", "worker",
    "final_at",
)  # fmt: skip
_changing = attrgetter(*_CHANGING)

Row = tuple[Any, ...]

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


def to_record(row: Row, queue: str) -> JobRecord:
    """Make a job of a row; CorruptStoreError, naming the job, when the row was damaged."""
    *values, check, result_check = row
    options, state, result = values[_OPTIONS], values[STATE], values[_RESULT]
    expected = checksum(values[ID], values[TASK], values[ARGS], options)
    if expected != check or state not in _BY_NAME:
        raise damaged(values[ID], "what was enqueued")
    if result is not None and crc32(result) != result_check:
        raise damaged(values[ID], "its result")
    progress, stopping = values[_PROGRESS], values[_STOPPING]
    values[LANE] = queue
    values[STATE] = _BY_NAME[state]
    values[_PROGRESS] = None if progress is None else _decode_progress(progress)
    values[_FORCED] = bool(values[_FORCED])
    values[_STOPPING] = () if stopping is None else _decode_stopping(stopping)
    values[_OPTIONS] = NO_OPTIONS if options == _NONE else _decode_options(options)
    return JobRecord(*values)


def to_params(job: JobRecord) -> dict[str, Any]:
    """Return what a transition may change about a job, as parameters named like the columns."""
    params: dict[str, Any] = dict(zip(_CHANGING, _changing(job), strict=True))
    params["result_checksum"] = None if job.result is None else crc32(job.result)
    return params


def damaged(job_id: str, what: str) -> CorruptStoreError:
    """Return the error for a row whose checksum does not fit."""
    return CorruptStoreError(
        f"the row of job {job_id} is damaged: {what} is not what was written (checksum). "
        "Enqueue the job again from its source, and check the disk; "
        "`conveyor doctor` looks at the whole file."
    )
