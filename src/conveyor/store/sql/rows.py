"""Between rows and jobs: what a column holds, and whether it still is what was written."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from math import inf, isfinite
from operator import attrgetter
from typing import Any
from zlib import crc32

import msgspec

from ...core.access import Token
from ...core.job import (
    NO_OPTIONS,
    Detail,
    JobRecord,
    Options,
    Progress,
    ScheduleInfo,
    State,
    StopNote,
    leave_out,
)
from ...core.unreadable import UNREADABLE
from ..messages import Leader

# The columns are the fields of the records. A job's queue is named by its lane, its damage is seen
# when the row is read, and two checksums follow the fields.
_FIELDS = tuple(name for name in JobRecord.__struct_fields__ if name not in ("damage", "omitted"))
COLUMNS: dict[str, tuple[str, ...]] = {
    "job": (
        *("lane" if name == "queue" else name for name in _FIELDS),
        "checksum",
        "result_checksum",
    ),
    # All but its number and its lane, which are other ones in another store.
    "moved_job": (
        *(name for name in _FIELDS if name not in ("seq", "queue")),
        *("checksum", "result_checksum", "expires_at", "unique_key", "key_kept", "cancel_reason"),
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
_ENQUEUED_AT = _FIELDS.index("enqueued_at")
_CHECKSUM = len(_FIELDS)
# What follows "crashes" in the row of a job that was never claimed, up to its options.
_FIRST_RUN = _FIELDS.index("worker")
_NEVER_CLAIMED = tuple(
    0 if name == "cancel_forced" else None for name in _FIELDS[_FIRST_RUN:_OPTIONS]
)
_FIRST_TIME, _LAST_TIME = _FIELDS.index("lease_until"), _FIELDS.index("final_at")

# What a transition may change, and what its guard needs.
_CHANGING: tuple[str, ...] = (
    "seq", "lease", "state", "attempt", "crashes", "run_at", "error", "result", "worker",
    "final_at", "unsupported_since",
)  # fmt: skip
_changing = attrgetter(*_CHANGING)

Row = tuple[Any, ...]

_NULL = type(None)
_NUMBERS, _TEXTS, _BLOBS = frozenset({int}), frozenset({str}), frozenset({bytes})
_COLUMN_TYPES: dict[str, frozenset[type]] = {
    **dict.fromkeys(("id", "task", "state"), _TEXTS),
    **dict.fromkeys(("worker", "error"), _TEXTS | {_NULL}),
    **dict.fromkeys(("args", "options"), _BLOBS),
    **dict.fromkeys(("result", "progress", "stopping"), _BLOBS | {_NULL}),
    **dict.fromkeys(("run_at", "enqueued_at"), frozenset({float})),
    **dict.fromkeys(
        ("lease_until", "cancel_requested_at", "started_at", "unsupported_since", "final_at"),
        frozenset({float, _NULL}),
    ),
    "cancel_forced": _NUMBERS | {bool},
    "result_checksum": _NUMBERS | {_NULL},
}
_TYPES = tuple(_COLUMN_TYPES.get(name, _NUMBERS) for name in COLUMNS["job"])
_ENQUEUED_TYPES = tuple(each for known in _TYPES[:_FIRST_RUN] for each in known)

# The queue of a job whose lane is unknown; no queue has such a name.
NO_QUEUE = ""

_BY_NAME = {state.value: state for state in State}
_encode = msgspec.json.Encoder().encode
_decode_labels = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_options = msgspec.json.Decoder(Options).decode
_decode_progress = msgspec.json.Decoder(Progress).decode
_decode_stopping = msgspec.json.Decoder(tuple[StopNote, ...]).decode
_NONE = b"{}"
_OMITTED = {"args": _NONE, "options": _NONE, "result": None, "stopping": None}


class _DamagedError(ValueError):
    """A row is not what was written."""


_UNREADABLE = (_DamagedError, *UNREADABLE)


def encode_options(options: Options) -> bytes:
    """Return options as JSON; what is at its default is left out."""
    return _NONE if options is NO_OPTIONS else _encode(options)


def checksum(job_id: str, task: str, args: bytes, options: bytes) -> int:
    """Return what the accepted part of a job adds up to (CRC-32)."""
    return crc32(options, crc32(args, crc32(f"{job_id}\0{task}".encode())))


def to_record(row: Row, queue: str) -> JobRecord:
    """Make a job of a row. If the row cannot be read, the job's `damage` says why."""
    try:
        # Hot path: as most claims find it.
        if row[_FIRST_RUN:_OPTIONS] == _NEVER_CLAIMED and row[-1] is None:
            return _read_never_claimed(row, queue)
        return _read(row, queue)
    except _UNREADABLE:
        return _salvage(row, queue)


def listed_record(row: Row, queue: str, omitted: frozenset[Detail]) -> JobRecord:
    """Make a job of a row in which some details were not read. Their checksums are not checked."""
    if not omitted:
        return to_record(row, queue)
    values = list(row)
    for name in omitted:
        values[_FIELDS.index(name)] = _OMITTED[name]
    if "result" in omitted:
        values[-1] = None
    if omitted & {"args", "options"}:
        with suppress(TypeError):  # then it shows as damaged
            values[_CHECKSUM] = checksum(row[ID], row[TASK], values[ARGS], values[_OPTIONS])
    return leave_out(to_record(tuple(values), queue), omitted)


def claim_order(row: Row) -> tuple[float, float, int]:
    """Return the place of an available job in its queue; one that cannot be read is first."""
    priority, run_at = row[PRIORITY], row[RUN_AT]
    if type(priority) is not int or type(run_at) is not float:
        return -inf, 0.0, row[SEQ]
    return -priority, run_at, row[SEQ]


def stored_size(row: Row) -> int:
    """Return how many bytes the arguments and options of a job have."""
    args, options = row[ARGS], row[_OPTIONS]
    try:
        return len(args) + len(options)
    except TypeError:  # in a damaged row
        return 0


def is_accepted_part_intact(row: Row) -> bool:
    """Whether what was enqueued can be read, whatever happened to the rest of the row."""
    try:
        _check_accepted(row)
        _decode_options(row[_OPTIONS])
    except (TypeError, AttributeError, *_UNREADABLE):
        return False
    return True


def is_time(value: object) -> bool:
    """Whether a column holds a moment that can be sent as JSON."""
    return type(value) in (float, int) and isfinite(value)  # type: ignore[arg-type]


def finite(number: Any) -> float:
    """Return a number as it is, or 0 if it is none, or cannot be sent as JSON."""
    return number if is_time(number) else 0.0


def text(value: Any) -> str:
    """Return a text as it is, or an empty one if it is none."""
    return value if isinstance(value, str) else ""


def whole(number: Any) -> int:
    """Return a whole number as it is, or 0 if it is none."""
    return number if type(number) is int else 0


def decode_labels(requires: str) -> tuple[str, ...] | None:
    """Return the labels of a lane; None if they cannot be read any more."""
    try:
        return _decode_labels(requires)
    except (TypeError, *UNREADABLE):
        return None


def to_params(job: JobRecord) -> dict[str, Any]:
    """Return what a transition may change about a job, as parameters named like the columns."""
    params: dict[str, Any] = dict(zip(_CHANGING, _changing(job), strict=True))
    params["result_checksum"] = None if job.result is None else crc32(job.result)
    return params


def _read(row: Row, queue: str) -> JobRecord:
    *values, _, result_check = row
    if not _are_well_typed(tuple(map(type, row))):
        raise _DamagedError
    _check_accepted(row)
    result = values[_RESULT]
    if result is not None and crc32(result) != result_check:
        raise _DamagedError
    # The sum is finite only if every part is.
    times = sum(filter(None, values[_FIRST_TIME : _LAST_TIME + 1]), values[_ENQUEUED_AT])
    if not isfinite(times + values[RUN_AT]):
        raise _DamagedError
    progress, stopping = values[_PROGRESS], values[_STOPPING]
    values[LANE] = _check_queue(queue)
    values[STATE] = _read_state(values[STATE])
    values[_PROGRESS] = None if progress is None else _decode_progress(progress)
    values[_FORCED] = bool(values[_FORCED])
    values[_STOPPING] = () if stopping is None else _decode_stopping(stopping)
    values[_OPTIONS] = _read_options(values[_OPTIONS])
    return JobRecord(*values)


def _read_never_claimed(row: Row, queue: str) -> JobRecord:
    enqueued, options = row[:_FIRST_RUN], row[_OPTIONS]
    if tuple(map(type, enqueued)) != _ENQUEUED_TYPES or type(options) is not bytes:
        raise _DamagedError
    _check_accepted(row)
    seq, job_id, task, _, args, state, priority, run_at, enqueued_at, *counts = enqueued
    if not isfinite(run_at + enqueued_at):
        raise _DamagedError
    attempt, lease, crashes = counts
    return JobRecord(
        seq,
        job_id,
        task,
        _check_queue(queue),
        args,
        _read_state(state),
        priority,
        run_at,
        enqueued_at,
        attempt,
        lease,
        crashes,
        options=_read_options(options),
    )


def _check_queue(queue: str) -> str:
    if queue == NO_QUEUE:
        raise _DamagedError
    return queue


def _check_accepted(row: Row) -> None:
    if checksum(row[ID], row[TASK], row[ARGS], row[_OPTIONS]) != row[_CHECKSUM]:
        raise _DamagedError


@lru_cache(maxsize=1000)  # they differ in what is NULL
def _are_well_typed(types: tuple[type, ...]) -> bool:
    return all(each in known for each, known in zip(types, _TYPES, strict=True))


def _salvage(row: Row, queue: str) -> JobRecord:
    """Make a job of what can be read of a row; its `damage` lists the rest."""
    fields: dict[str, Any] = {}
    wrong: list[str] = []
    for name, value, known in zip(_FIELDS, row, _TYPES, strict=False):
        read = _READ.get(name, _as_it_is)
        try:
            if type(value) not in known or (type(value) is float and not isfinite(value)):
                raise _DamagedError(f"it holds {value!r:.40}")
            fields[name] = _MISSING.get(name) if value is None else read(value)
        except _UNREADABLE as error:
            fields[name] = _MISSING.get(name)
            wrong.append(f"its {name} cannot be read: {error}")
    fields["queue"] = queue
    if queue == NO_QUEUE:
        wrong.append("its lane is unknown")
    wrong += _broken_checksums(row)
    if any("result" in each for each in wrong):
        fields["result"] = None
    if fields["id"] is None:
        fields["id"] = f"#{row[SEQ]}"  # no job has such an id
    fields["args"] = _shown_args(row[ARGS])
    return JobRecord(**fields, damage="; ".join(wrong) or "its checksums cannot be read")


def _broken_checksums(row: Row) -> list[str]:
    broken: list[str] = []
    if not is_accepted_part_intact(row):
        broken.append("what was enqueued is not what was written (checksum)")
    result, result_check = row[_RESULT], row[-1]
    if isinstance(result, bytes) and crc32(result) != result_check:
        broken.append("its result is not what was written (checksum)")
    return broken


def _shown_args(args: Any) -> bytes:
    """Return damaged arguments as JSON, for people: as they are, or in a string."""
    text = args.decode(errors="replace") if isinstance(args, bytes) else repr(args)
    try:
        msgspec.json.decode(text)
    except UNREADABLE:
        return _encode(text)
    return text.encode()


def _read_state(value: Any) -> State:
    if value not in _BY_NAME:
        raise _DamagedError(f"{value!r:.40} is no state")
    return _BY_NAME[value]


def _read_options(options: bytes) -> Options:
    return NO_OPTIONS if options == _NONE else _decode_options(options)


def _as_it_is(value: Any) -> Any:
    return value


_READ: dict[str, Any] = {
    "state": _read_state,
    "progress": _decode_progress,
    "cancel_forced": bool,
    "stopping": _decode_stopping,
    "options": _read_options,
}
_MISSING: dict[str, Any] = {
    "task": "?",
    "args": _NONE,
    # Nothing runs a job in an unknown state, so it is over.
    "state": State.DISCARDED,
    "cancel_forced": False,
    "stopping": (),
    "options": NO_OPTIONS,
    **dict.fromkeys(("priority", "attempt", "lease", "crashes"), 0),
    **dict.fromkeys(("run_at", "enqueued_at"), 0.0),
}
