"""Sets up logging to stderr, for the commands that run until they are stopped."""

from __future__ import annotations

import logging

from ...errors import UsageError
from ...settings import Settings


def configure_logging(settings: Settings) -> None:
    """Log to stderr at the level of the settings."""
    level = str(settings["log_level"]).upper()
    if level not in logging.getLevelNamesMapping():
        raise UsageError(f"invalid log_level {level!r}: expected DEBUG, INFO, WARNING or ERROR")
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
