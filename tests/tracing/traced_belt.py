"""The belt of traced_jobs.py over some store, and what its spans say."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from traced_jobs import belt

from conveyor.core.job import NewJob, Options
from conveyor.core.trace_context import TraceContext
from conveyor.store.protocol import Store
from spans import context, span_id, trace_id

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def use(store: Store) -> None:
    """Have the belt use a store."""
    producer = belt._producer
    producer._opened, producer._closed = None, False
    producer.divert(lambda: store)


def close() -> None:
    belt._producer.close()


def work(**options: Any) -> None:
    """Run what there is to run."""
    belt.work(timeout=30, slots=2, queues=["q"], **options)


def only(spans: list[ReadableSpan]) -> ReadableSpan:
    [span] = spans
    return span


def traceparent(span: ReadableSpan) -> str:
    return f"00-{trace_id(span)}-{span_id(span)}-{context(span).trace_flags:02x}"


def parent_of(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.span_id:016x}"


def insert(store: Store, trace: TraceContext, task: str = "coroutine") -> str:
    """Enqueue a job as a program without OpenTelemetry would, with a trace that it was given."""
    new = NewJob(id="foreign", task=task, queue="q", options=Options(trace=trace))
    store.insert([new]).result()
    return new.id
