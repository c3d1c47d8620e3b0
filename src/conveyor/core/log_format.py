"""How log records look: as text for people, or as JSON, with the attributes that were added."""

from __future__ import annotations

import datetime as dt
import logging

import msgspec

from .foreign_text import escape_block, escape_json

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
# What every record has; all other attributes were added by whoever logged it.
STANDARD_ATTRIBUTES = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class TextFormatter(logging.Formatter):
    """Formats records for people: what others wrote cannot control their terminal.

    Further lines are indented, so that no message or traceback looks like another record.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        return escape_block(super().format(record)).replace("\n", "\n  ")


class JsonFormatter(logging.Formatter):
    """Formats each record as a JSON object on one line, with the attributes that were added."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        fields: dict[str, object] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        added = vars(record).items()
        fields |= {name: value for name, value in added if name not in STANDARD_ATTRIBUTES}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return _encode(fields)


def logs_json() -> bool:
    """Whether this process logs as JSON: then the processes that it starts do so, too."""
    return any(isinstance(each.formatter, JsonFormatter) for each in logging.getLogger().handlers)


def _encode(fields: dict[str, object]) -> str:
    try:
        document = msgspec.json.encode(fields, enc_hook=_printable)
    except (TypeError, ValueError):  # bytes that were not UTF-8, keys that are no strings
        document = msgspec.json.encode({name: _printable(each) for name, each in fields.items()})
    return escape_json(document.decode())


def _printable(value: object) -> str:
    try:
        return escape_block(value if isinstance(value, str) else ascii(value))
    except Exception as error:  # noqa: BLE001 - the application's object may raise anything
        return f"(cannot be printed: {type(error).__name__})"
