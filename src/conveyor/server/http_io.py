"""Decodes requests, within a size limit, and encodes responses as JSON or as problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..core.unreadable import UNREADABLE
from ..errors import ConveyorError, UsageError
from ..store.http.api import JSON, MSGPACK, ApiCall
from ..store.http.payloads import InsertBody, Payload, PutTasksBody, TickBody, WriteOutputBody
from ..store.http.problems import MEDIA, Problem, problem, problem_from_error
from .connection_watch import ClientGoneError
from .unknown_fields import check_fields
from .validation import MANY_DIGITS, check_numbers, check_options_sizes

# Seconds, in the header Retry-After.
RETRY_AFTER = 1

# Bodies that may have options of jobs.
WITH_OPTIONS = frozenset({InsertBody, TickBody, PutTasksBody})

_encode = msgspec.json.Encoder().encode
_decoders: dict[tuple[type[Payload], str], Callable[[bytes], Any]] = {}


class ProblemError(Exception):
    """The request is answered with a problem."""

    def __init__(self, found: Problem) -> None:
        self.problem = found
        super().__init__(found.detail)


async def read_payload(http: Request, call: ApiCall, limit: int) -> Any:
    """Return the query or body of a call; a body has at most `limit` bytes."""
    if call.in_query:
        return decode_query(http.query_params, call)
    data = await read_bytes(http, limit)
    media = _media_type(http) if data else JSON
    if media != JSON and not (call.accepts_msgpack and media == MSGPACK):
        accepted = JSON + (f" or {MSGPACK}" if call.accepts_msgpack else "")
        raise ProblemError(problem("not_json", f"send the body with Content-Type: {accepted}"))
    return decode_body(call, media, data)


def decode_body(call: ApiCall, media: str, data: bytes) -> Any:
    """Return the body of a call; ProblemError or UsageError if it is not valid."""
    try:
        if media == JSON:
            # Parts that are passed on undecoded would otherwise be passed on as invalid UTF-8.
            str(data, "utf-8")
            if call.request in WITH_OPTIONS:
                check_options_sizes(data)
        body = _decoder(call.request, media)(data or b"{}")
        check_fields(call.request, media, data)
    except UNREADABLE as error:
        raise ProblemError(problem("usage", f"body of {call.name}: {error}")) from error
    # Output is long and has few numbers: checking those is faster than searching all of it.
    if call.request is WriteOutputBody or MANY_DIGITS.search(data):
        check_numbers(body)
    return body


async def read_bytes(http: Request, limit: int) -> bytes:
    """Return the body if it has at most `limit` bytes. http_limits.py limits its time."""
    length = http.headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async for part in http.stream():
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
    except ClientDisconnect as error:
        raise ClientGoneError from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def json_response(value: Any, status: int = 200) -> Response:
    """Return a response with a value as JSON."""
    return Response(_encode(value), status, media_type="application/json")


def problem_response(found: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with a problem, and with the headers that belong to its code."""
    headers = dict(headers or {})
    if found.code == "queue_full":
        headers = {
            "Retry-After": str(RETRY_AFTER),
            "Queue-Depth": str(found.depth),
            "Queue-Capacity": str(found.capacity),
        }
    elif found.code == "unavailable":
        headers = {"Retry-After": str(RETRY_AFTER)}
    elif found.code == "unauthorized":
        headers = {"WWW-Authenticate": "Bearer"}
    return Response(_encode(found), found.status, headers, media_type=MEDIA)


def error_response(error: ConveyorError) -> Response:
    """Return a response with the problem that describes an error."""
    return problem_response(problem_from_error(error))


def _too_large(limit: int) -> ProblemError:
    return ProblemError(
        problem(
            "too_large",
            f"the body is larger than {limit:,} bytes: split it into several requests, or start "
            "the server with a larger --body-limit",
        )
    )


def _media_type(http: Request) -> str:
    return http.headers.get("content-type", "").partition(";")[0].strip().lower()


def _decoder(request: type[Payload], media: str) -> Callable[[bytes], Any]:
    known = _decoders.get((request, media))
    if known is None:
        decoder = (
            msgspec.json.Decoder(request) if media == JSON else msgspec.msgpack.Decoder(request)
        )
        known = _decoders[request, media] = decoder.decode
    return known


def decode_query(params: QueryParams, call: ApiCall) -> Any:
    """Return the query of a call; ProblemError or UsageError if it is not valid."""
    given = dict(params)
    if len(given) < len(params.multi_items()):
        raise UsageError(f"query of {call.name}: a parameter is given twice")
    try:
        query = msgspec.convert(given, call.request, strict=False)
    except msgspec.ValidationError as error:
        raise ProblemError(problem("usage", f"query of {call.name}: {error}")) from error
    except ValueError as error:
        raise UsageError(f"query of {call.name}: {error}") from error
    for name, text in given.items():
        if text == "null" and getattr(query, name) is None:
            raise UsageError(f"query of {call.name}: leave out {name} instead of sending null")
    check_numbers(query)
    return query
