"""What the jobs of every system do, so that they are counted and timed in the same way.

A job appends one byte to a file of its worker, or the time of its enqueue and that of its start.
"""

from __future__ import annotations

import functools
import os
import struct
import time

SERVER = os.environ["BENCH_PG"]
STAMP = struct.Struct("<qq")


@functools.cache
def marks() -> int:
    """Return the descriptor of the worker's file."""
    return os.open(os.environ["BENCH_MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def mark() -> None:
    os.write(marks(), b"x")


def stamp(enqueued_at: int) -> None:
    os.write(marks(), STAMP.pack(enqueued_at, time.monotonic_ns()))
