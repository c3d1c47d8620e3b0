"""Does the same to many machines at once, and tells what went wrong after all were tried."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from ..errors import ConveyorError

log = logging.getLogger("conveyor.autoscaler")

A = TypeVar("A")
T = TypeVar("T")

AT_ONCE = 8


async def attempt(
    act: Callable[[A], Awaitable[T]], items: Iterable[A]
) -> tuple[list[T], list[ConveyorError]]:
    """Act on each, a few at once; returns what came of it, and the errors of the others."""
    done: list[T] = []
    errors: list[ConveyorError] = []
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(item: A) -> None:
        async with turns:
            try:
                done.append(await act(item))
            except ConveyorError as error:
                errors.append(error)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(one(item))
    return done, errors


async def make(act: Callable[[A], Awaitable[T]], items: Iterable[A]) -> list[T]:
    """Return what could be made; the first error when that is nothing.

    What failed beside something that did not is logged: whoever asked will ask for more.
    """
    done, errors = await attempt(act, items)
    if errors and not done:
        raise errors[0]
    for error in errors:
        log.warning("machine.not_made error=%s", error)
    return done


async def do(act: Callable[[A], Awaitable[None]], items: Iterable[A]) -> None:
    """Act on each; the first error, if there was one, comes after all were tried."""
    _, errors = await attempt(act, items)
    if errors:
        raise errors[0]
