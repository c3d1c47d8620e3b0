"""A TCP proxy that cuts connections, at random moments or all at once."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

PIECE = 65536
# How many bytes of one direction pass, at the most, before what was drawn for it happens.
FAR = 1500
# The longest that nothing passes, in seconds.
LONGEST = 1.0


class Fate(NamedTuple):
    """What happens to a connection: after so many bytes up or down, a pause, and then the cut."""

    up: int
    down: int
    pause: float
    cut: bool


SPARED = Fate(1 << 62, 1 << 62, 0.0, cut=False)
# What was asked is heard, and the answer is lost.
UNANSWERED = Fate(1 << 62, 0, 0.0, cut=True)


class CuttingProxy:
    """A proxy in front of a server, in its own thread.

    It cuts at most `most` connections at random; the first connections have `fates` instead.
    """

    def __init__(
        self, port: int, *, seed: int = 0, most: int = 0, fates: Sequence[Fate] = ()
    ) -> None:
        self.cuts = 0
        self._behind = port
        self._most = most
        self._draw = random.Random(seed)
        self._fates = deque(fates)
        self._up = True
        self._going: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, name="proxy")
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether all cuts were made."""
        return self.cuts >= self._most

    def cut_off(self) -> None:
        """Cut all connections, and refuse new ones until `let_through`."""
        self._call(self._cut_all)

    def let_through(self) -> None:
        """Accept connections again."""
        self._up = True

    def close(self) -> None:
        self._call(self._cut_all)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _call(self, act: Callable[[], Awaitable[None]]) -> None:
        async def do() -> None:
            await act()

        asyncio.run_coroutine_threadsafe(do(), self._loop).result(10)

    async def _cut_all(self) -> None:
        self._up = False
        going = list(self._going)
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, sock=self._listening)
        )
        self._loop.run_forever()
        # Nobody is let in any more. Who just was is there only a moment later; asyncio would leave
        # their sockets open if this were closed before that.
        self._loop.remove_reader(self._listening)
        self._loop.run_until_complete(asyncio.sleep(0.05))
        server.close()
        self._loop.run_until_complete(self._cut_all())
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.run_until_complete(server.wait_closed())
        self._loop.close()

    async def _serve(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._going.add(task)
        writers = [back]
        try:
            if self._up:
                with suppress(OSError):
                    there, on = await asyncio.open_connection("127.0.0.1", self._behind)
                    writers.append(on)
                    await self._pass(here, on, there, back)
        except asyncio.CancelledError:
            pass  # cut off; the end of this task is nothing to anybody
        finally:
            self._going.discard(task)
            for writer in writers:
                writer.transport.abort()

    async def _pass(
        self,
        here: asyncio.StreamReader,
        on: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> None:
        fate = self._fate()
        ways = [
            asyncio.create_task(self._carry(here, on, fate.up, fate)),
            asyncio.create_task(self._carry(there, back, fate.down, fate)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, left: int, fate: Fate
    ) -> None:
        paused = False
        with suppress(OSError):
            while data := await source.read(PIECE):
                if len(data) > left and not paused:
                    target.write(data[:left])
                    await target.drain()
                    data, paused = data[left:], True
                    await asyncio.sleep(fate.pause)
                    if fate.cut:
                        self.cuts += 1
                        return
                left -= len(data)
                target.write(data)
                await target.drain()

    def _fate(self) -> Fate:
        if self._fates:
            return self._fates.popleft()
        if self.done:
            return SPARED
        draw = self._draw
        pause = draw.choice([0.0, 0.0, 0.0, draw.uniform(0.0, LONGEST)])
        # On its way there, on its way back, or just as its answer begins.
        up, down = draw.choice(
            [(draw.randrange(FAR), 1 << 62), (1 << 62, draw.randrange(FAR)), (1 << 62, 0)]
        )
        return Fate(up, down, pause, cut=draw.random() < 0.8)
