"""The wire format of errors: problem details (RFC 9457) with a code for each exception."""

from __future__ import annotations

from typing import Any

import msgspec

from ...core.bounds import cut
from ...errors import (
    AccessError,
    BatchTooLargeError,
    BusyError,
    ConveyorError,
    CorruptStoreError,
    DuplicateIdError,
    EncodingError,
    InvalidTransitionError,
    NotFoundError,
    QueueFullError,
    StoreVersionError,
    UnavailableError,
    UsageError,
)

MEDIA = "application/problem+json"

# code -> (HTTP status, title, exception)
# An exception is sent with the first code that has it.
PROBLEMS: dict[str, tuple[int, str, type[ConveyorError]]] = {
    "usage": (400, "The request is invalid", UsageError),
    "encoding": (400, "A value cannot be encoded as JSON or is too large", EncodingError),
    "unauthorized": (401, "A valid token is required", AccessError),
    "forbidden": (403, "The token does not allow this", AccessError),
    "not_found": (404, "Not found", NotFoundError),
    "no_route": (404, "No such address", UsageError),
    "no_method": (405, "Method not allowed", UsageError),
    "invalid_transition": (
        409,
        "The state of the job or worker does not allow this",
        InvalidTransitionError,
    ),
    "busy": (409, "The worker is busy", BusyError),
    "duplicate_id": (409, "A job with this id exists already", DuplicateIdError),
    "batch_too_large": (
        413,
        "The request has more jobs than the queue's capacity",
        BatchTooLargeError,
    ),
    "too_large": (413, "The request body is too large", UsageError),
    "headers_too_large": (431, "The request headers are too large", UsageError),
    "not_json": (415, "The request body is not JSON", UsageError),
    "queue_full": (429, "The queue is full", QueueFullError),
    "unavailable": (503, "The store is unavailable", UnavailableError),
    "too_slow": (408, "The request was not received in time", UnavailableError),
    "not_installed": (501, "The server lacks an optional package", UsageError),
    "internal": (500, "Internal server error", UnavailableError),
    "corrupt_store": (503, "The store is corrupt", CorruptStoreError),
    "store_version": (503, "The store has another schema version", StoreVersionError),
}


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error. `code` is for programs; `detail` says what is wrong and what to do.

    `queue_full` and `batch_too_large` add the queue, the number of waiting jobs, the capacity and
    the number of jobs in the request.
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
    """Return the problem with this code."""
    status, title, _ = PROBLEMS[code]
    return Problem(
        type=f"urn:conveyor:{code}", title=title, status=status, code=code, detail=detail, **more
    )


def problem_from_error(error: ConveyorError) -> Problem:
    """Return the problem that describes an exception."""
    if isinstance(error, QueueFullError):
        return problem(
            "batch_too_large" if isinstance(error, BatchTooLargeError) else "queue_full",
            str(error),
            queue=error.queue,
            depth=error.depth,
            capacity=error.capacity,
            size=error.size,
        )
    if isinstance(error, AccessError):
        return problem("unauthorized" if error.unknown else "forbidden", str(error))
    fitting = [code for code, (_, _, kind) in PROBLEMS.items() if type(error) is kind]
    return problem(fitting[0] if fitting else _nearest_code(error), str(error))


def error_from_problem(found: Problem) -> ConveyorError:
    """Return the exception that a problem describes."""
    detail = cut("message", found.detail)
    if found.code in ("queue_full", "batch_too_large"):
        full = QueueFullError if found.code == "queue_full" else BatchTooLargeError
        return full(found.queue, found.depth, found.capacity, found.size)
    if found.code in ("unauthorized", "forbidden"):
        return AccessError(detail, unknown=found.code == "unauthorized")
    # A newer server may send a code that is not known here. Its status says who can help.
    unknown = UsageError if 400 <= found.status < 500 else UnavailableError
    _, _, kind = PROBLEMS.get(found.code, (0, "", unknown))
    return kind(detail)


def _nearest_code(error: ConveyorError) -> str:
    return next(
        (code for code, (_, _, kind) in PROBLEMS.items() if isinstance(error, kind)), "internal"
    )
