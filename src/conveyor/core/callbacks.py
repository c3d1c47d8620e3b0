"""Durable callbacks: which jobs are enqueued when another one ends, and what they are told."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from .bounds import cut
from .ids import derived_id
from .job import Callback, ErrorInfo, State
from .record import Record

_encode = msgspec.json.Encoder().encode


class EndedJob(Record, frozen=True, kw_only=True):
    """What a callback gets: the job that has ended, and how.

    `state` is "completed", "discarded" or "cancelled". `error` says why a job was discarded or
    cancelled, without its traceback, which `belt.job(ended.id).history()` has; a result is
    `belt.job(ended.id).result()`. Both are there until the job is pruned.
    """

    id: str
    task: str
    queue: str
    state: State
    error: ErrorInfo | None = None


class CallbackCall(msgspec.Struct, frozen=True):
    """A callback of one job as it stands: its number, and the id and arguments of its job.

    The number counts the runs of the job: it is 1 until an operator retries the job after its end.
    """

    number: int
    id: str
    args: bytes


_decode_args = msgspec.json.Decoder(dict[str, EndedJob]).decode


def first_call(
    callback: Callback, job_id: str, task: str, queue: str, number: int = 1
) -> CallbackCall:
    """Return the call of a job that is enqueued now. Its arguments are those of a success."""
    ended = EndedJob(id=job_id, task=task, queue=queue, state=State.COMPLETED)
    args = _encode({callback.parameter: ended})
    return CallbackCall(number, callback_id(job_id, callback.on, number), args)


def callback_id(job_id: str, on: str, number: int) -> str:
    """Return the id of the job that a callback enqueues: each end of a job has its own."""
    return derived_id("callback", job_id, on, str(number))


def number_of_next_end(numbers: Iterable[int], lease: int) -> int:
    """Return a number that no earlier end of a job had, to replace callbacks with these numbers.

    A job that has none now may have had some; it has not ended more often than it was claimed.
    """
    return max(numbers, default=lease + 1)


def is_called(on: str, state: State) -> bool:
    """Whether a job that ends in `state` enqueues a callback."""
    return on == "finished" or (on == "discarded" and state is State.DISCARDED)


def not_given(declared: Iterable[Callback], given: Collection[str]) -> list[Callback]:
    """Return what a task declares of the callbacks that a job was not `given`: it has its own."""
    return [each for each in declared if each.on not in given]


def args_at_end(args: bytes, state: State, error: ErrorInfo | None) -> bytes:
    """Return the arguments of a callback, now that the end of its job is known."""
    if state is State.COMPLETED:
        return args
    [(parameter, ended)] = _decode_args(args).items()
    return _encode({parameter: msgspec.structs.replace(ended, state=state, error=_brief(error))})


def _brief(error: ErrorInfo | None) -> ErrorInfo | None:
    if error is None:
        return None
    return ErrorInfo(error.type, cut("message", error.message), exit_code=error.exit_code)
