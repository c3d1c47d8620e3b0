"""An exception as data: names, message and traceback, whatever the exception does when asked."""

from __future__ import annotations

import traceback

from .job import ErrorInfo

FRAMES = 50
MESSAGE_LIMIT = 10_000
TRACEBACK_LIMIT = 50_000


def error_info(error: BaseException) -> ErrorInfo:
    """Describe an exception; one that cannot be printed is described by its class."""
    kind = type(error)
    return ErrorInfo(
        type=class_name(kind),
        message=_message(error)[:MESSAGE_LIMIT],
        traceback=_traceback(error)[-TRACEBACK_LIMIT:],
        bases=tuple(class_name(base) for base in kind.__mro__[1:] if base is not object),
    )


def class_name(kind: type) -> str:
    """Return "module.Name", or just "Name" for a builtin."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as reason:  # noqa: BLE001 - the exception is the user's and may do anything
        return f"(its text cannot be printed: {type(reason).__name__})"


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error, limit=FRAMES))
    except Exception:  # noqa: BLE001 - as above
        frames = traceback.format_tb(error.__traceback__, limit=FRAMES)
        return "".join([*frames, class_name(type(error))])
