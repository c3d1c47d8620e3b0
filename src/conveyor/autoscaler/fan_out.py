"""Calls for many machines at once: all are tried before an error is raised."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from ..core.event_log import open_event_log
from ..errors import ConveyorError
from .provider import Machine

log = open_event_log("autoscaler")

Item = TypeVar("Item")
T = TypeVar("T")

# Calls in flight at a time.
CONCURRENCY = 8


async def try_each(
    call: Callable[[Item], Awaitable[T]], items: Iterable[Item]
) -> tuple[list[T], list[ConveyorError]]:
    """Make the call for each item; return the results and the errors."""
    results: list[T] = []
    errors: list[ConveyorError] = []
    semaphore = asyncio.Semaphore(CONCURRENCY)

    async def try_one(item: Item) -> None:
        async with semaphore:
            try:
                results.append(await call(item))
            except ConveyorError as error:
                errors.append(error)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(try_one(item))
    return results, errors


async def call_each(call: Callable[[Item], Awaitable[None]], items: Iterable[Item]) -> None:
    """Make the call for each item; raise the first error once all were tried."""
    _, errors = await try_each(call, items)
    if errors:
        raise errors[0]


async def create_machines(
    create_one: Callable[[], Awaitable[Machine]], count: int
) -> list[Machine]:
    """Return the machines that could be created; raise the first error if there are none.

    Errors beside a success are logged: the scaler asks for the missing machines at its next look.
    """
    created, errors = await try_each(lambda _: create_one(), range(count))
    if errors and not created:
        raise errors[0]
    for error in errors:
        log.warning("machine.not_made error=%s", error)
    return created
