"""An asyncio event loop in virtual time, shared by simulated processes that can freeze and die.

Every callback belongs to the process that its context names. What a frozen process would do is
held back until it thaws; what a dead one would do never happens. Between processes the order of
what is ready at once is drawn from the seed; within one it is asyncio's, which programs rely on.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Any

SHUFFLE = 0.3
TICK = 1e-6


class Process:
    """A simulated process: all its callbacks freeze and die together.

    `stopped` is SIGSTOP: its clocks go on. `asleep` is a closed lid: `loop.time` stands still too.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.gone = False
        self.stopped = False
        self.asleep = False
        self.behind = 0.0
        self.held: list[asyncio.Handle] = []
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)

    @property
    def frozen(self) -> bool:
        return self.stopped or self.asleep


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class VirtualLoop(asyncio.BaseEventLoop):
    """Time passes only when nothing is left to do, and then at once."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.now = 0.0
        self.tasks: list[asyncio.Task[Any]] = []
        self._rng = rng
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._made = 0
        self._ready: deque[asyncio.Handle]

    def time(self) -> float:
        process = PROCESS.get()
        return self.now if process is None else self.now - process.behind

    def call_at(
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        # `when` is in the time of whoever asks, which a closed lid may have made late.
        return self.at(when + self.now - self.time(), callback, *args, context=context)

    def at(
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back at a moment of the world's time."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._push(when, handle)
        return handle

    def create_task(self, coro: Any, **how: Any) -> asyncio.Task[Any]:
        task = super().create_task(coro, **how)
        # Kept, so that the tasks of a dead process are not finalised in the middle of the story.
        self.tasks.append(task)
        return task

    def freeze(self, process: Process, *, lid: bool) -> None:
        """Stop a process, or close the lid of its machine."""
        process.stopped, process.asleep = not lid, lid

    def thaw(self, process: Process, asleep_for: float = 0.0) -> None:
        """Let a process go on; with a lid that was closed for a while its timers come later."""
        process.stopped = process.asleep = False
        process.behind += asleep_for
        if asleep_for:
            self._timers = [
                (when + asleep_for if _process(handle) is process else when, made, handle)
                for when, made, handle in self._timers
            ]
            heapq.heapify(self._timers)
        held, process.held = process.held, []
        for handle in held:
            if asleep_for and isinstance(handle, asyncio.TimerHandle):
                self._push(handle.when() + asleep_for, handle)
            else:
                self._ready.append(handle)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        # There are no threads in a simulation: what is given to one takes no time.
        done = self.create_future()
        done.set_result(func(*args))
        return done

    def close(self) -> None:
        self._timers.clear()
        self.tasks.clear()
        super().close()

    def _push(self, when: float, handle: asyncio.TimerHandle) -> None:
        self._made += 1
        handle._when = when  # type: ignore[attr-defined]
        heapq.heappush(self._timers, (when, self._made, handle))

    def _run_once(self) -> None:
        if not self._ready:
            self._advance()
        elif len(self._ready) > 1 and self._rng.random() < SHUFFLE:
            self._interleave()
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if handle._cancelled:
                continue
            process = _process(handle)
            if process is not None and (process.gone or process.stopped or process.asleep):
                # Those of a dead process only matter once the story is over and all is put away.
                process.held.append(handle)
                continue
            handle._run()

    def _advance(self) -> None:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers:
            raise AssertionError("nothing will ever happen any more")
        # Nothing takes no time at all: a loop that waits for a rounding error must come out of it.
        self.now = max(self.now + TICK, timers[0][0])
        while timers and timers[0][0] <= self.now:
            self._ready.append(heapq.heappop(timers)[2])

    def _interleave(self) -> None:
        lines: dict[Process | None, deque[asyncio.Handle]] = {}
        for handle in self._ready:
            lines.setdefault(_process(handle), deque()).append(handle)
        if len(lines) == 1:
            return
        self._ready.clear()
        waiting = list(lines.values())
        while waiting:
            line = self._rng.choice(waiting)
            self._ready.append(line.popleft())
            if not line:
                waiting.remove(line)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: cancelled timers go when their time comes."""

    def _process_events(self, event_list: Any) -> None:
        """Do nothing: there are no files."""

    def _write_to_self(self) -> None:
        """Do nothing: there is one thread."""


def _process(handle: asyncio.Handle) -> Process | None:
    context: contextvars.Context = handle._context  # type: ignore[attr-defined]
    return context.get(PROCESS)
