"""Decodes requests, within a size limit, and encodes responses as JSON or as problems."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..core.page import Page
from ..core.unreadable import UNREADABLE
from ..errors import ConveyorError, UsageError
from ..store.http.api import CURSOR_HEADER, CURSOR_SAFE, JSON, MSGPACK, ApiCall
from ..store.http.payloads import Payload, WriteOutputBody
from ..store.http.problems import MEDIA, Problem, problem, problem_from_error
from ..system.file_threads import FileThreads
from .body_room import BodySpace
from .body_shape import SMALL, check_sizes, read_shape
from .connection_watch import ClientGoneError
from .validation import check_numbers, may_have_large_number

LARGER_BODIES = "split it into several requests, or start the server with a larger --body-limit"
# How many bytes of a large body are written at once.
PIECE = 256 << 10

# Seconds, in the header Retry-After.
RETRY_AFTER = 1

_encode = msgspec.json.Encoder().encode
_decoders: dict[tuple[type[Payload], str], Callable[[bytes], Any]] = {}


class ProblemError(Exception):
    """The request is answered with a problem."""

    def __init__(self, found: Problem) -> None:
        self.problem = found
        super().__init__(found.detail)


async def read_payload(
    http: Request,
    call: ApiCall,
    limit: int,
    args_limit: int,
    threads: FileThreads,
    space: BodySpace,
) -> Any:
    """Return the query or body of a call; a body has at most `limit` bytes, or the call's own.

    The arguments of a job have at most `args_limit` bytes. A body that is not small is decoded in
    one of the `threads`: checking it takes seconds.
    """
    if call.in_query:
        return decode_query(http.query_params, call)
    if limit <= call.body_limit:
        data = await read_bytes(http, limit, space)
    else:
        data = await read_bytes(http, call.body_limit, space, f"{call.name} needs no more")
    media = _media_type(http) if data else JSON
    if media != JSON and not (call.accepts_msgpack and media == MSGPACK):
        accepted = JSON + (f" or {MSGPACK}" if call.accepts_msgpack else "")
        raise ProblemError(problem("not_json", f"send the body with Content-Type: {accepted}"))
    if len(data) > SMALL:
        return await threads.run(partial(decode_body, call, media, data, args_limit))
    return decode_body(call, media, data, args_limit)


def decode_body(call: ApiCall, media: str, data: bytes, args_limit: int = 1 << 20) -> Any:
    """Return the body of a call; ProblemError or UsageError if it is not valid."""
    try:
        if media == JSON:
            # Parts that are passed on undecoded would otherwise be passed on as invalid UTF-8.
            str(data, "utf-8")
        data = data or b"{}"
        shape = read_shape(call.request, media, data)
        if len(data) > SMALL:
            check_sizes(shape, args_limit)
        body = _decoder(call.request, media)(data)
    except UNREADABLE as error:
        raise ProblemError(problem("usage", f"body of {call.name}: {error}")) from error
    # Output is long and has few numbers: checking those is faster than searching all of it.
    if call.request is WriteOutputBody or may_have_large_number(data):
        check_numbers(body)
    return body


async def read_bytes(
    http: Request, limit: int, space: BodySpace, way_out: str = LARGER_BODIES
) -> bytes:
    """Return the body if it has at most `limit` bytes. http_limits.py limits its time."""
    length = http.headers.get("content-length", "0")
    if length.isascii() and length.isdigit():
        if float(length) > limit:
            raise _too_large(limit, way_out)
        await _have_room(space, int(length))
    parts: list[bytes] = []
    size = 0
    try:
        async for part in http.stream():
            size += len(part)
            if size > limit:
                raise _too_large(limit, way_out)
            await _have_room(space, size)
            parts.append(part)
    except ClientDisconnect as error:
        raise ClientGoneError from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _have_room(space: BodySpace, size: int) -> None:
    if not await space.reach(size):
        raise ProblemError(
            problem(
                "unavailable",
                "the bodies of other requests take all the memory that this server has for them; "
                "retry later",
            )
        )


class PiecewiseResponse(Response):
    """A response whose body is sent in pieces, each when the client has taken most of the last.

    Written at once, a large body would lie twice in the server's memory: here and in the transport.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        if len(self.body) <= PIECE:
            await super().__call__(scope, receive, send)
            return
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        body = memoryview(self.body)
        for offset in range(0, len(body), PIECE):
            piece, more = body[offset : offset + PIECE], offset + PIECE < len(body)
            await send({"type": "http.response.body", "body": piece, "more_body": more})
            await asyncio.sleep(0)  # what is written is sent once in each iteration of the loop


def json_response(value: Any, status: int = 200) -> Response:
    """Return a response with a value as JSON."""
    return PiecewiseResponse(_encode(value), status, media_type="application/json")


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


def _too_large(limit: int, way_out: str) -> ProblemError:
    return ProblemError(problem("too_large", f"the body is larger than {limit:,} bytes: {way_out}"))


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


def page_response(call: ApiCall, page: Page[Any], *, encoded: bool = False) -> Response:
    """Return the response with a page of a list, and where it goes on.

    `encoded`: the page has what the response shows already.
    """
    response = json_response(page if encoded or call.encode is None else call.encode(page))
    if page.more:
        last = getattr(page[-1], call.cursor) if page.next is None else page.next
        # A name can have letters that no header can, and even the end of a line.
        response.headers[CURSOR_HEADER] = quote(str(last), CURSOR_SAFE)
    return response
