"""Waiting for an event ends when it is set or when the time is over."""

from __future__ import annotations

import asyncio

import pytest

from conveyor.core.timeout import wait_for_event


async def set_soon(event: asyncio.Event) -> bool:
    asyncio.get_running_loop().call_soon(event.set)
    return await wait_for_event(event, 20.0)


def test_it_says_whether_the_event_was_set_in_time() -> None:
    async def main() -> None:
        assert await set_soon(asyncio.Event())
        assert not await wait_for_event(asyncio.Event(), 0.001)
        assert not await wait_for_event(asyncio.Event(), 0.0)

    asyncio.run(main())


def test_an_event_that_is_set_already_is_not_waited_for() -> None:
    async def main() -> bool:
        event = asyncio.Event()
        event.set()
        return await wait_for_event(event, 0.0)

    assert asyncio.run(main())


def test_a_cancel_of_the_waiter_passes_through() -> None:
    async def main() -> None:
        waiter = asyncio.create_task(wait_for_event(asyncio.Event(), None))
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter

    asyncio.run(main())
