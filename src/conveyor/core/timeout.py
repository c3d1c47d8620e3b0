"""Waiting for an event no longer than a given time."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Event


async def wait_for_event(event: Event, seconds: float | None) -> bool:
    """Wait until an event is set, at most `seconds`; return whether it was set in time."""
    # Code that awaits has imported asyncio; at the top it would cost blocking programs 20 ms.
    try:
        async with sys.modules["asyncio"].timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
