"""Shortens the ids of jobs to their ends, which differ: ids of about the same time begin alike."""

from __future__ import annotations

# What stands for the beginning of an id that is cut, and the length of such an id.
CUT = "…"
SHORT_ID = 13


def shorten_id(job_id: str) -> str:
    """Return the end of an id, which commands take for the id."""
    return job_id if len(job_id) <= SHORT_ID else CUT + job_id[1 - SHORT_ID :]
