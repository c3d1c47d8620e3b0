"""Errors on the wire: problem details (RFC 9457) with a code, and back into the same exceptions."""

from __future__ import annotations

from typing import Any

import msgspec

from ...errors import (
    AccessError,
    BusyError,
    ConveyorError,
    CorruptStoreError,
    EncodingError,
    InvalidTransitionError,
    NotFoundError,
    QueueFullError,
    StoreVersionError,
    UnavailableError,
    UsageError,
)

MEDIA = "application/problem+json"

# The first code of an exception is the one by which it is sent.
# code -> (HTTP status, what it is in a few words, the exception)
PROBLEMS: dict[str, tuple[int, str, type[ConveyorError]]] = {
    "usage": (400, "The request cannot mean anything", UsageError),
    "encoding": (400, "A value that JSON cannot hold, or that is too large", EncodingError),
    "unauthorized": (401, "A token is needed", AccessError),
    "forbidden": (403, "The token does not allow this", AccessError),
    "not_found": (404, "There is no such thing", NotFoundError),
    "no_route": (404, "There is no such address", UsageError),
    "no_method": (405, "The address does not know this method", UsageError),
    "invalid_transition": (
        409,
        "The state of the job or worker forbids it",
        InvalidTransitionError,
    ),
    "busy": (409, "The worker holds jobs", BusyError),
    "too_large": (413, "The request is too large", UsageError),
    "headers_too_large": (431, "The headers are too large", UsageError),
    "not_json": (415, "The body is not JSON", UsageError),
    "queue_full": (429, "The queue is full", QueueFullError),
    "unavailable": (503, "The store is out of reach", UnavailableError),
    "too_slow": (408, "The request did not come in time", UnavailableError),
    "internal": (500, "The server failed", UnavailableError),
    "corrupt_store": (503, "The store is damaged", CorruptStoreError),
    "store_version": (503, "The store is of another version", StoreVersionError),
}


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong. `code` is for programs, `detail` says what, why and how to fix it.

    A full queue adds its name, how many jobs wait, its bound and how many more were asked for.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    queue: str = ""
    depth: int = 0
    capacity: int = 0
    size: int = 0


def problem(code: str, detail: str, **more: Any) -> Problem:
    """Describe what went wrong."""
    status, title, _ = PROBLEMS[code]
    return Problem(
        type=f"urn:conveyor:{code}", title=title, status=status, code=code, detail=detail, **more
    )


def problem_of(error: ConveyorError) -> Problem:
    """Describe an error of ours."""
    if isinstance(error, QueueFullError):
        return problem(
            "queue_full",
            str(error),
            queue=error.queue,
            depth=error.depth,
            capacity=error.capacity,
            size=error.size,
        )
    if isinstance(error, AccessError):
        return problem("unauthorized" if error.unknown else "forbidden", str(error))
    fitting = [code for code, (_, _, kind) in PROBLEMS.items() if type(error) is kind]
    return problem(fitting[0] if fitting else _nearest(error), str(error))


def error_of(found: Problem) -> ConveyorError:
    """Return the exception that a server described."""
    if found.code == "queue_full":
        return QueueFullError(found.queue, found.depth, found.capacity, found.size)
    if found.code in ("unauthorized", "forbidden"):
        return AccessError(found.detail, unknown=found.code == "unauthorized")
    _, _, kind = PROBLEMS.get(found.code, (0, "", UnavailableError))
    return kind(found.detail)


def _nearest(error: ConveyorError) -> str:
    return next(
        (code for code, (_, _, kind) in PROBLEMS.items() if isinstance(error, kind)), "internal"
    )
