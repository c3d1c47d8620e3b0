"""An exception as data: its type, message and traceback, even if it cannot print itself."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable
from types import TracebackType

import msgspec

from .bounds import BOUNDS, cut
from .class_names import class_name
from .job import ErrorInfo
from .retry_on import other_names

FRAMES = 50
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
RUNNERS = os.path.join(PACKAGE, "runners") + os.sep
STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
# The directories of installed packages, here and on Debian.
INSTALLED = ("site-packages", "dist-packages")


def error_info(error: BaseException, retry_on: Iterable[str] = ()) -> ErrorInfo:
    """Describe an exception, whatever its class does. Long messages and tracebacks are cut.

    Its `bases` contain the names in `retry_on` that mean one of its classes.
    """
    try:
        return _describe(error, retry_on)
    except BaseException as reason:  # noqa: BLE001 - as in `_message`; even its class may have code
        kind = type.__repr__(type(error)).removeprefix("<class '").removesuffix("'>")
        return ErrorInfo(kind, f"(it cannot be described: {type.__repr__(type(reason))})")


def _describe(error: BaseException, retry_on: Iterable[str]) -> ErrorInfo:
    kind = type(error)
    classes = [each for each in kind.__mro__ if each is not object]
    # `retry_on` may name a class with its module or without.
    names = [class_name(each) for each in classes] + [each.__qualname__ for each in classes]
    names += other_names(error, retry_on)
    return ErrorInfo(
        type=names[0],
        message=printable(cut("message", _message(error))),
        traceback=printable(cut("traceback", _traceback(error), keep_end=True)),
        bases=tuple(dict.fromkeys(names[1:])),
    )


def bounded_error(error: ErrorInfo) -> ErrorInfo:
    """Return an error as it is stored: long texts are cut, wherever it comes from."""
    changed = {
        "type": cut("class", error.type),
        "message": cut("message", error.message),
        "traceback": cut("traceback", error.traceback, keep_end=True),
        "bases": tuple(cut("class", each) for each in error.bases[: BOUNDS["bases"].limit]),
    }
    return msgspec.structs.replace(error, **changed)


def describe_import_error(error: BaseException) -> str:
    """Return "KeyError: 'SECRET' (app.py, line 3)" for an exception that ended an import."""
    line = raised_at(error)
    message = printable(cut("message", _message(error)))
    text = f"{type(error).__name__}: {message}"
    return f"{text} ({line})" if line else text


def raised_at(error: BaseException) -> str:
    """Return "app.py, line 3": the innermost line of the application that raised an error.

    Empty if no code of it was running.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = [
        (frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    others = [each for each in frames if not _is_of_python_or_conveyor(each[0])]
    # The application may be an installed package, too.
    best = [each for each in others if not _is_installed(each[0])] or others
    return f"{best[-1][0]}, line {best[-1][1]}" if best else ""


def printable(text: str) -> str:
    """Escape what JSON cannot hold: file names may contain bytes that are not characters."""
    return text.encode(errors="backslashreplace").decode()


def _is_installed(path: str) -> bool:
    return any(each in path for each in INSTALLED)


def _is_of_python_or_conveyor(path: str) -> bool:
    of_python = path.startswith(STANDARD_LIBRARY) and not _is_installed(path)
    return of_python or path.startswith(("<frozen", PACKAGE))


def _message(error: BaseException) -> str:
    try:
        return str.__str__(str(error))  # it may be a subclass, with code of its own
    except BaseException as reason:  # noqa: BLE001 - the user's exception may raise anything, even SystemExit
        return f"(its message cannot be printed: {type(reason).__name__})"


def _traceback(error: BaseException) -> str:
    frames = _without_runner_frames(error.__traceback__)
    try:
        # Keep the innermost frames: they say most after endless recursion.
        return "".join(traceback.format_exception(type(error), error, frames, limit=-FRAMES))
    except BaseException:  # noqa: BLE001 - as above
        lines = traceback.format_tb(frames, limit=-FRAMES)
        return "".join([*lines, class_name(type(error))])


def _without_runner_frames(frames: TracebackType | None) -> TracebackType | None:
    """Drop the runner's frames above the job's own; keep all if there are no others."""
    inner = frames
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(RUNNERS):
        inner = inner.tb_next
    return inner or frames
