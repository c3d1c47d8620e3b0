"""Reads requests, within a limit of size, and answers them as JSON or as a problem."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NoReturn, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..errors import ConveyorError, UsageError
from ..store.http.api import JSON, PACKED, Call
from ..store.http.payloads import Body, WriteOutput
from ..store.http.problems import MEDIA, Problem, problem, problem_of
from .validation import LONG, check_numbers

T = TypeVar("T")

RETRY_AFTER = 1

_encode = msgspec.json.Encoder().encode
_decoders: dict[tuple[type[Body], str], Callable[[bytes], Any]] = {}


class RefusedError(Exception):
    """A request that is answered with a problem."""

    def __init__(self, found: Problem) -> None:
        self.problem = found
        super().__init__(found.detail)


class GoneError(Exception):
    """The one who asked has gone, or (`reason`) is to be refused after all.

    `brought` is what the work has brought by then.
    """

    def __init__(self, brought: Any = None, reason: ConveyorError | None = None) -> None:
        self.brought = brought
        self.reason = reason
        super().__init__(str(reason or "gone"))


async def read(request: Request, call: Call, limit: int) -> Any:
    """Return what a call takes, from the query or the body; `limit` is the most bytes of that."""
    if call.in_query:
        return _query(request, call)
    data = await read_bytes(request, limit)
    kind = _kind(request) if data else JSON
    if kind != JSON and not (call.packed and kind == PACKED):
        known = f"Content-Type: {JSON}" + (f", or as {PACKED}" if call.packed else "")
        raise RefusedError(problem("not_json", f"send the body as JSON, with {known}"))
    try:
        if kind == JSON:
            # Parts that are carried on unread would otherwise be carried on as anything.
            str(data, "utf-8")
        body = _decoder(call.takes, kind)(data or b"{}")
    except msgspec.MsgspecError as error:
        raise RefusedError(problem("usage", f"the body of {call.name}: {error}")) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(
            problem("usage", f"the body of {call.name} is no text, or too deep: {error}")
        ) from error
    # Output is long, and has few numbers: looking at those is quicker than through all of it.
    if call.takes is WriteOutput or LONG.search(data):
        check_numbers(body)
    return body


async def read_bytes(request: Request, limit: int) -> bytes:
    """Return the body, if it is no larger than `limit`. How long it may take, the protocol says."""
    said = request.headers.get("content-length", "0")
    if said.isascii() and said.isdigit() and int(said) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
    except ClientDisconnect as error:
        raise GoneError from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def answer(value: Any, status: int = 200) -> Response:
    """Return a value as JSON."""
    return Response(_encode(value), status, media_type="application/json")


def refuse(found: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem; what programs look for stands in headers too."""
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


def refuse_error(error: ConveyorError) -> Response:
    """Return an error of ours as a problem."""
    return refuse(problem_of(error))


async def unless_gone(
    request: Request,
    work: Coroutine[Any, Any, T],
    end: Callable[[], None],
    watch: Coroutine[Any, Any, NoReturn],
) -> T:
    """Carry work out; when the one who asked goes away, call `end`, wait for it, raise GoneError.

    So too when `watch` raises an error of ours, which is the `reason` then.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_gone(request))
    lapse = asyncio.create_task(watch)
    try:
        await asyncio.wait([task, gone, lapse], return_when=asyncio.FIRST_COMPLETED)
        if not gone.done() and not lapse.done():
            return task.result()
        end()
        brought = await task
        reason = lapse.exception() if lapse.done() else None
    finally:
        for each in (gone, lapse, task):
            each.cancel()
    if reason is not None and not isinstance(reason, ConveyorError):
        raise reason
    raise GoneError(brought, reason)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


def _too_large(limit: int) -> RefusedError:
    return RefusedError(
        problem(
            "too_large",
            f"the body is larger than {limit:,} bytes: send it in several requests, or start the "
            "server with a larger --body-limit",
        )
    )


def _kind(request: Request) -> str:
    """Return what the body says that it is."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _decoder(takes: type[Body], kind: str) -> Callable[[bytes], Any]:
    known = _decoders.get((takes, kind))
    if known is None:
        decoder = msgspec.json.Decoder(takes) if kind == JSON else msgspec.msgpack.Decoder(takes)
        known = _decoders[takes, kind] = decoder.decode
    return known


def _query(request: Request, call: Call) -> Any:
    given = dict(request.query_params)
    try:
        found = msgspec.convert(given, call.takes, strict=False)
    except msgspec.ValidationError as error:
        raise RefusedError(problem("usage", f"the query of {call.name}: {error}")) from error
    except ValueError as error:
        raise UsageError(f"the query of {call.name}: {error}") from error
    check_numbers(found)
    return found
