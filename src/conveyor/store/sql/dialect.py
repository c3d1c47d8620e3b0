"""What differs between databases in the text of statements.sql."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The text for each {placeholder} of statements.sql, in one database's SQL."""

    # Follows a SELECT of rows to change: hold them, and skip those that another transaction holds.
    skip_locked: str
    # A subquery with the texts of the JSON array in the parameter :states.
    state_list: str
    # A table with the texts of the JSON array in the parameter :names, as its column `value`.
    names: str
    # The reason of a cancel as bytes, because in a damaged row they may not be characters.
    cancel_reason: str
    # Checks the database's own structures; one row for each finding, or the row "ok".
    integrity_check: str


SQLITE = Dialect(
    # One transaction writes at a time, so no row is ever held by another.
    skip_locked="",
    state_list="SELECT value FROM json_each(:states)",
    names="json_each(:names)",
    cancel_reason="CAST(cancel_reason AS BLOB)",
    integrity_check="PRAGMA integrity_check(20)",
)
