"""What the database of a caller's connection says, whichever driver has raised it."""

from __future__ import annotations

from typing import Any

from ..errors import ConveyorError, UnavailableError, UsageError
from .caller_connection import ABORTED


def sqlstate(error: BaseException) -> str:
    """Return PostgreSQL's code of an error; "" if it has none."""
    wrapped: Any = getattr(error, "orig", None)  # SQLAlchemy's; Django has the driver's as cause
    for each in (error, wrapped, error.__cause__, getattr(wrapped, "__cause__", None)):
        code = getattr(each, "sqlstate", None) or getattr(each, "pgcode", None)
        if isinstance(code, str):
            return code
    return ""


def translated(error: BaseException, place: str) -> ConveyorError | None:
    """Return the error of ours that says what to do; None if the driver's own does.

    `place` names the store of the jobs.
    """
    told = " ".join(str(error).split())
    match sqlstate(error):
        case "25P02":
            return UsageError(ABORTED)
        case "25006":
            return UsageError(f"the transaction is read-only: {told}")
        case "3F000" | "42P01" | "42703" | "42883":
            return UsageError(
                f"the database of this connection has not the tables of {place}: pass a "
                f"connection to that database, or run `conveyor migrate` ({told})"
            )
        case "42501":
            return UnavailableError(
                f"the user of this connection may not write to {place}: {told}. Grant the right"
            )
        case _:
            return None
