"""An exception as data: its type, message and traceback, even if it cannot print itself."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable
from types import TracebackType

from .class_names import class_name
from .job import ErrorInfo
from .retry_on import other_names

FRAMES = 50
MESSAGE_LIMIT = 10_000
TRACEBACK_LIMIT = 50_000
RUNNERS = (
    os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "runners") + os.sep
)


def error_info(error: BaseException, retry_on: Iterable[str] = ()) -> ErrorInfo:
    """Describe an exception. Long messages and tracebacks are cut.

    Its `bases` contain the names in `retry_on` that mean one of its classes.
    """
    kind = type(error)
    classes = [each for each in kind.__mro__ if each is not object]
    # `retry_on` may name a class with its module or without.
    names = [class_name(each) for each in classes] + [each.__qualname__ for each in classes]
    names += other_names(error, retry_on)
    return ErrorInfo(
        type=names[0],
        message=printable(_message(error)[:MESSAGE_LIMIT]),
        traceback=printable(_traceback(error)[-TRACEBACK_LIMIT:]),
        bases=tuple(dict.fromkeys(names[1:])),
    )


def printable(text: str) -> str:
    """Escape what JSON cannot hold: file names may contain bytes that are not characters."""
    return text.encode(errors="backslashreplace").decode()


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as reason:  # noqa: BLE001 - the user's exception may raise anything
        return f"(its message cannot be printed: {type(reason).__name__})"


def _traceback(error: BaseException) -> str:
    frames = _without_runner_frames(error.__traceback__)
    try:
        # Keep the innermost frames: they say most after endless recursion.
        return "".join(traceback.format_exception(type(error), error, frames, limit=-FRAMES))
    except Exception:  # noqa: BLE001 - as above
        lines = traceback.format_tb(frames, limit=-FRAMES)
        return "".join([*lines, class_name(type(error))])


def _without_runner_frames(frames: TracebackType | None) -> TracebackType | None:
    """Drop the runner's frames above the job's own; keep all if there are no others."""
    inner = frames
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(RUNNERS):
        inner = inner.tb_next
    return inner or frames
