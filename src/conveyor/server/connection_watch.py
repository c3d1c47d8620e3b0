"""Runs work for a client only as long as the client is connected and has access."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

from starlette.requests import Request

from ..errors import ConveyorError

T = TypeVar("T")


class ClientGoneError(Exception):
    """The client has disconnected, or has lost access (`reason`).

    `result` is what the work returned when it was ended.
    """

    def __init__(self, result: Any = None, reason: ConveyorError | None = None) -> None:
        self.result = result
        self.reason = reason
        super().__init__(str(reason or "the client has disconnected"))


async def run_while_connected(
    http: Request,
    work: Coroutine[Any, Any, T],
    end_work: Callable[[], None],
    watch_access: Coroutine[Any, Any, NoReturn],
) -> T:
    """Return the result of `work`.

    If the client disconnects or `watch_access` raises an error of ours, this calls `end_work`,
    waits for the work to end and raises ClientGoneError.
    """
    working = asyncio.create_task(work)
    disconnect = asyncio.create_task(_wait_for_disconnect(http))
    access_lost = asyncio.create_task(watch_access)
    try:
        await asyncio.wait([working, disconnect, access_lost], return_when=asyncio.FIRST_COMPLETED)
        if not disconnect.done() and not access_lost.done():
            return working.result()
        end_work()
        result = await working
        reason = access_lost.exception() if access_lost.done() else None
    finally:
        for each in (disconnect, access_lost, working):
            each.cancel()
    if reason is not None and not isinstance(reason, ConveyorError):
        raise reason
    raise ClientGoneError(result, reason)


async def _wait_for_disconnect(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        continue
