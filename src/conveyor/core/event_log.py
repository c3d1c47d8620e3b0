"""Opens the package's loggers: what others wrote cannot control the terminal of whoever reads them.

Names, reasons and errors are escaped before any handler gets the record, because an application may
have handlers and formatters of its own.
"""

from __future__ import annotations

import logging
import traceback

from .bounds import cut
from .foreign_text import escape_block, escape_line


def open_event_log(name: str = "") -> logging.Logger:
    """Return the logger "conveyor.NAME". No module opens one of the package in another way."""
    log = logging.getLogger(f"conveyor.{name}" if name else "conveyor")
    log.addFilter(_escape_record)
    return log


def _escape_record(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(map(_escape_argument, record.args))
    if record.exc_info and record.exc_info[1] and not record.exc_text:
        # Formatters use this text, and the exception itself stays for error trackers.
        record.exc_text = _format_exception(record.exc_info[1])
    return True


def _escape_argument(value: object) -> object:
    if isinstance(value, int | float):
        return value
    try:
        return escape_line(str(value))
    except Exception as error:  # noqa: BLE001 - the application's exception may raise anything
        return f"(cannot be printed: {type(error).__name__})"


def _format_exception(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error)).rstrip("\n")
        # A job's exception may have any number of bytes of text.
        return escape_block(cut("traceback", text, keep_end=True))
    except Exception as reason:  # noqa: BLE001 - as above
        return f"(cannot be printed: {type(reason).__name__})"
