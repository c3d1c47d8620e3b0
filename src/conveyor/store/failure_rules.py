"""Errors about groups of failures: rules of every store."""

from __future__ import annotations

from ..core.failures import WINDOW
from ..errors import NotFoundError


def no_failure(fingerprint: str) -> NotFoundError:
    """Return the error for a group to which none of the newest failures belongs."""
    return NotFoundError(
        f"no failure {fingerprint[:50]!r} is among the newest {WINDOW:,} failed attempts"
    )
