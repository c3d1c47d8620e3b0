"""An event loop whose clock the test moves, so that no timer expires by itself."""

from __future__ import annotations

import asyncio


class StillLoop(asyncio.SelectorEventLoop):
    """Its timers expire when `advance` reaches them, however long that takes."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


async def turn() -> None:
    """Let everything happen that waits neither for a timer nor for another thread."""
    for _ in range(20):
        await asyncio.sleep(0)
