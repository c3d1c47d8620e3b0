"""Decoders that are wrong on purpose: the harness must find out about each."""

from __future__ import annotations

import json
import math
import time
from typing import Any

from harness import Target

SEEDS = (b'{"name": "a", "at": 1}', b"[1, 2]")


def read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None


def forgets_a_type(data: bytes) -> Any:
    value = read(data)
    return value["name"].upper() if isinstance(value, dict) and "name" in value else value


def is_slow(data: bytes) -> None:
    if len(data) > 2000:  # as if its cost grew with the square of the length
        until = time.thread_time() + 0.15
        while time.thread_time() < until:
            pass


def never_ends(data: bytes) -> None:
    while b"\xff" in data:
        pass


def needs_memory(data: bytes) -> int:
    return len(b"x" * (200 << 20)) if b"[[" in data else 0


def loses_something(data: bytes) -> float:
    value = read(data)
    if not isinstance(value, float) or not math.isfinite(value):
        raise ValueError("not a number")
    return value


PLANTED = {
    "raised": Target("planted", forgets_a_type, SEEDS, (ValueError,)),
    "took 0|did not end": Target("planted", is_slow, SEEDS),
    "did not end": Target("planted", never_ends, SEEDS),
    "of memory": Target("planted", needs_memory, SEEDS),
    "reads back": Target("planted", loses_something, [b"1.25"], (ValueError,),
                         lambda value: f"{value:.2f}".encode()),
}  # fmt: skip
