"""Reports what an SDK of OpenTelemetry raises: once for each error, and no job is harmed."""

from __future__ import annotations

from functools import lru_cache

from ..core.event_log import open_event_log

log = open_event_log("tracing")


def report(error: Exception) -> None:
    """Log an error of foreign code, unless it was logged before."""
    _report(type(error).__name__, str(error)[:500])


@lru_cache(maxsize=100)
def _report(kind: str, message: str) -> None:
    log.warning("tracing.failed type=%s error=%s; jobs go on without these spans", kind, message)
