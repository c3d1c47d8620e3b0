"""Starts pgqueuer's worker as its command `pgq run` does, which fails with the current typer."""

from __future__ import annotations

import sys
from typing import Any

from pgqueuer.adapters.cli import cli
from pgqueuer.core import logconfig

set_up = logconfig.setup_fancy_logger
cli.logconfig.setup_fancy_logger = lambda level: set_up(as_level(level))


def as_level(level: Any) -> Any:
    return logconfig.LogLevel[level] if isinstance(level, str) else level


batch = sys.argv[1]
sys.argv = ["pgq", "run", "--log-level", "ERROR", "--batch-size", batch, "with_pgqueuer:main"]
cli.app()
