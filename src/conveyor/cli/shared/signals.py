"""Turns signals into calls, even while the main thread is deep in C code.

Python runs signal handlers between byte codes of the main thread, so a long C call delays them;
the wake-up descriptor is written by the C-level handler at once, and a thread reads it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def listening(
    act: Callable[[signal.Signals, int], None], others: Sequence[signal.Signals] = ()
) -> Generator[None]:
    """Call `act(signal, how many so far)`, in a thread, for each SIGTERM and SIGINT.

    `others` are heard too, and do not count.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    heard = (*STOPPING, *others)

    def listen() -> None:
        count = 0
        while data := os.read(reading, 1):
            if data[0] in heard:
                count += data[0] in STOPPING
                act(signal.Signals(data[0]), count)
        os.close(reading)

    thread = threading.Thread(target=listen, name="conveyor-signals", daemon=True)
    thread.start()
    # The ear before the handlers, and after them at the end: a signal that was caught and not heard
    # would be lost.
    previous = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _nothing) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous)
        os.close(writing)
        thread.join(1)


def _nothing(_number: int, _frame: object) -> None:
    """Be there: without a Python handler the signal would do what it does by default."""
