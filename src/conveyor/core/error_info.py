"""An exception as data: its type, message and traceback, even if it cannot print itself."""

from __future__ import annotations

import os
import traceback
from types import TracebackType

from .job import ErrorInfo

FRAMES = 50
MESSAGE_LIMIT = 10_000
TRACEBACK_LIMIT = 50_000
RUNNERS = (
    os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "runners") + os.sep
)


def error_info(error: BaseException) -> ErrorInfo:
    """Describe an exception. Long messages and tracebacks are cut."""
    kind = type(error)
    classes = [each for each in kind.__mro__ if each is not object]
    # `retry_on` may name a class with its module or without.
    names = [class_name(each) for each in classes] + [each.__qualname__ for each in classes]
    return ErrorInfo(
        type=names[0],
        message=printable(_message(error)[:MESSAGE_LIMIT]),
        traceback=printable(_traceback(error)[-TRACEBACK_LIMIT:]),
        bases=tuple(dict.fromkeys(names[1:])),
    )


def printable(text: str) -> str:
    """Escape what JSON cannot hold: file names may contain bytes that are not characters."""
    return text.encode(errors="backslashreplace").decode()


def class_name(kind: type) -> str:
    """Return "module.Name", or just "Name" for a builtin."""
    match kind.__module__:
        case "builtins":
            return kind.__qualname__
        case "__mp_main__":  # the name of the script's module in a child process
            return f"__main__.{kind.__qualname__}"
        case module:
            return f"{module}.{kind.__qualname__}"


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
