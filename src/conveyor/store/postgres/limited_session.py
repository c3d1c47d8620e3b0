"""A session that ends when the server is silent for too long: a network can fail without a word."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

T = TypeVar("T")

# Longer than the server lets a statement run, in seconds: an answer that is later does not come.
ANSWER_TIMEOUT = 65.0


class LimitedSession(psycopg.Connection[Any]):
    """Ends if the server does not answer within `limit` seconds; None waits for ever."""

    limit: float | None = ANSWER_TIMEOUT

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Wait for an answer; after the limit, OperationalError, and the session is closed."""
        if self.limit is None:
            return super().wait(gen, *args, **kwargs)
        return super().wait(self._limited(gen, self.limit), *args, **kwargs)

    def _limited(self, gen: PQGen[T], limit: float) -> Generator[Wait, Ready | int, T]:
        deadline = time.monotonic() + limit
        try:
            wanted = next(gen)
            while True:
                # psycopg resumes a generator ten times a second, also if nothing has come.
                ready = yield wanted
                if not ready and time.monotonic() >= deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer within {limit:g} s")
                wanted = gen.send(ready)
        except StopIteration as done:
            answer: T = done.value
            return answer
