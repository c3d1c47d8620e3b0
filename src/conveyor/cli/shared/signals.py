"""Calls a handler for signals, even while the main thread runs C code.

Python runs signal handlers between bytecodes of the main thread, so a long C call delays them. The
C-level handler writes to the wakeup descriptor immediately, and a thread reads that.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from ...core.event_log import open_event_log

log = open_event_log("signals")

STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def handle_signals(
    handler: Callable[[signal.Signals, int], None], others: Sequence[signal.Signals] = ()
) -> Generator[None]:
    """Call `handler(signal, count so far)`, in a thread, for each SIGTERM and SIGINT.

    `others` are handled too, and not counted.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    handled = (*STOPPING, *others)

    def listen() -> None:
        count = 0
        while data := os.read(reading, 1):
            if data[0] in handled:
                count += data[0] in STOPPING
                try:
                    handler(signal.Signals(data[0]), count)
                except Exception:  # the next signal must be handled all the same
                    log.exception("signal.not_handled number=%d", data[0])
        os.close(reading)

    thread = threading.Thread(target=listen, name="conveyor-signals", daemon=True)
    thread.start()
    # Set the descriptor before the handlers, and reset it after them: otherwise a signal in between
    # would be caught and lost.
    previous = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    # Whoever started this process may have blocked them.
    previous_mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)
    previous_handlers = {number: signal.signal(number, _do_nothing) for number in handled}
    try:
        yield
    finally:
        for number, previous_handler in previous_handlers.items():
            signal.signal(number, previous_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)
        signal.set_wakeup_fd(previous)
        os.close(writing)
        thread.join(1)


def _do_nothing(_number: int, _frame: object) -> None:
    """Replace the default action of the signal; without a Python handler that would happen."""
