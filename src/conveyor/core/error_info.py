"""An exception as data: names, message and traceback, whatever the exception does when asked."""

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
    """Describe an exception; one that cannot be printed is described by its class."""
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
    """Return the text as JSON can hold it: file names may hold what is no character at all."""
    return text.encode(errors="backslashreplace").decode()


def class_name(kind: type) -> str:
    """Return "module.Name", or just "Name" for a builtin."""
    match kind.__module__:
        case "builtins":
            return kind.__qualname__
        case "__mp_main__":  # how the script that is __main__ is called in a child process
            return f"__main__.{kind.__qualname__}"
        case module:
            return f"{module}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as reason:  # noqa: BLE001 - the exception is the user's and may do anything
        return f"(its text cannot be printed: {type(reason).__name__})"


def _traceback(error: BaseException) -> str:
    frames = _from_the_job_on(error.__traceback__)
    try:
        # The innermost ones, which say most when a function has called itself for ever.
        return "".join(traceback.format_exception(type(error), error, frames, limit=-FRAMES))
    except Exception:  # noqa: BLE001 - as above
        lines = traceback.format_tb(frames, limit=-FRAMES)
        return "".join([*lines, class_name(type(error))])


def _from_the_job_on(frames: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of the runner, above the job's own; all stay if there are no others."""
    inner = frames
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(RUNNERS):
        inner = inner.tb_next
    return inner or frames
