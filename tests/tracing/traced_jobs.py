"""Jobs of all kinds that say in which trace they run, for tests and their child processes."""

from __future__ import annotations

import os

from opentelemetry import trace

from conveyor import Conveyor, Snooze, current_job

belt = Conveyor("memory:")
q = belt.queue("q")


def current() -> str:
    """Return the current span as `traceparent` would have it."""
    found = trace.get_current_span().get_span_context()
    return f"{found.trace_id:032x}-{found.span_id:016x}"


@q.task(name="coroutine")
async def in_coroutine() -> str:
    return current()


@q.task(name="thread")
def in_thread() -> str:
    return current()


@q.task(name="process", run="process")
def in_process() -> dict[str, str]:
    return {"span": current(), "parent": os.environ.get("TRACEPARENT", "")}


@q.task(name="chain")
async def chain() -> str:
    inner = await in_coroutine.aenqueue()
    return inner.id


@q.task(name="chain in a process", run="process")
def chain_in_process() -> str:
    return Conveyor(os.environ["CHAIN_URL"]).queue("q").task(name="coroutine")(_inner).enqueue().id


async def _inner() -> str:
    return current()


@q.task(name="fails", retries=1, backoff=0.0)
async def fails() -> None:
    raise LookupError("no such thing")


@q.task(name="snoozes")
async def snoozes() -> None:
    if current_job().meta.get("done") is None:
        raise Snooze(3600)


KINDS = {"coroutine": in_coroutine, "thread": in_thread}
