"""Sets up logging to stderr, for the commands that run until they are stopped."""

from __future__ import annotations

import datetime as dt
import logging

import msgspec

from ...core.event_log import open_event_log
from ...core.foreign_text import escape_block, escape_json
from ...errors import UsageError
from ...settings import DEFAULT, Settings
from .stderr_pipe import DroppingHandler

log = open_event_log()

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


def configure_logging(settings: Settings) -> None:
    """Log to stderr, unless the application has configured logging itself. Call it after import."""
    level = str(settings["log_level"]).upper()
    if level not in logging.getLevelNamesMapping():
        raise UsageError(f"invalid log_level {level!r}: expected DEBUG, INFO, WARNING or ERROR")
    _enable_loggers()
    root = logging.getLogger()
    if not root.handlers:
        handler = DroppingHandler()
        is_json = settings["log_format"] == "json"
        handler.setFormatter(JsonFormatter() if is_json else TextFormatter(TEXT_FORMAT))
        root.addHandler(handler)
        root.setLevel(level)
        return
    if settings.sources["log_level"] != DEFAULT:
        log.setLevel(level)
    if settings.sources["log_format"] != DEFAULT:
        log.warning("logging.format_ignored reason=%s", "the application configures logging itself")


def _enable_loggers() -> None:
    # logging.config disables the loggers that exist, unless the application says otherwise; failing
    # jobs would leave no line.
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == log.name and isinstance(logger, logging.Logger):
            logger.disabled = False


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
