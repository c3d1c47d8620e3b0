"""A blocking program with a worker in a thread, stopped by atexit; the program handles signals.

    python embedded.py             # reads names from stdin, one per line, until end of file

atexit handlers run only if Python exits normally, so the program needs a handler for SIGTERM that
calls sys.exit. Web servers such as gunicorn have one.
"""

from __future__ import annotations

import atexit
import signal
import sys
import time

from conveyor import Conveyor

belt = Conveyor()  # CONVEYOR_URL, or ./jobs.db
mail = belt.queue("mail", capacity=10)


@mail.task(name="greet")
def greet(name: str) -> None:
    """Stand in for sending a slow mail."""
    time.sleep(0.5)
    print(f"greeted {name}")


def main() -> None:
    """Greet each name in the background."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    belt.start(slots=2)
    atexit.register(belt.stop, 10.0)
    for line in sys.stdin:
        greet.enqueue(line.strip())  # blocks while ten mails wait
        print(f"noted {line.strip()}", flush=True)


if __name__ == "__main__":
    main()
