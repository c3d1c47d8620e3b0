"""A blocking program with a worker in a thread: atexit stops it, signals stay the program's.

    python embedded.py             # reads names from stdin, one a line, until it ends

A program that ends by a signal has to end as Python does for atexit to run; for SIGTERM that is
what the handler below is for. Web servers such as gunicorn have one of their own.
"""

from __future__ import annotations

import atexit
import signal
import sys
import time

from conveyor import Conveyor

belt = Conveyor()  # where CONVEYOR_URL says, else ./jobs.db
mail = belt.queue("mail", capacity=10)


@mail.task(name="greet")
def greet(name: str) -> None:
    """Stand for a mail that takes a while."""
    time.sleep(0.5)
    print(f"greeted {name}")


def main() -> None:
    """Greet whoever is named, in the background."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    belt.start(slots=2)
    atexit.register(belt.stop, 10.0)
    for line in sys.stdin:
        greet.enqueue(line.strip())  # waits while ten mails wait
        print(f"noted {line.strip()}", flush=True)


if __name__ == "__main__":
    main()
