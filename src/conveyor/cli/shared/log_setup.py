"""Sets up logging to stderr, for the commands that run until they are stopped."""

from __future__ import annotations

import logging

from ...core.event_log import open_event_log
from ...errors import UsageError
from ...settings import DEFAULT, Settings
from ...system.stderr_pipe import log_to_stderr

log = open_event_log()


def configure_logging(settings: Settings) -> None:
    """Log to stderr, unless the application has configured logging itself. Call it after import."""
    level = str(settings["log_level"]).upper()
    if level not in logging.getLevelNamesMapping():
        raise UsageError(f"invalid log_level {level!r}: expected DEBUG, INFO, WARNING or ERROR")
    _enable_loggers()
    root = logging.getLogger()
    if not root.handlers:
        log_to_stderr(as_json=settings["log_format"] == "json")
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
