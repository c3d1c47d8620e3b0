"""Spans by OpenTelemetry's conventions for messaging. The only module that imports its API.

An SDK and its processors are foreign code: what they raise is logged once and harms no job.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context as Variables
from contextvars import Token
from importlib.metadata import version
from typing import Any, TypeVar

from opentelemetry import context as contexts
from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TracerProvider
from opentelemetry.trace.span import TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from ..core.foreign_text import escape_line
from ..core.job import ErrorInfo, JobRecord
from ..core.trace_context import TraceContext, read_trace
from .failure import report

T = TypeVar("T")

SYSTEM = "conveyor"
NOTHING = Context()
# What of an error goes into a span, in characters.
MESSAGE_LIMIT, TRACEBACK_LIMIT = 1000, 10_000


class Spans:
    """Makes the spans of producers and consumers with the tracer of one provider."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer(SYSTEM, version("conveyor"))

    def sending(self, *, task: str, queue: str, count: int) -> SendSpan:
        """Start the span of an enqueue of `count` jobs: a child of the current span, if any."""
        attributes = _attributes("send", queue, task)
        if count > 1:
            attributes["messaging.batch.message_count"] = count
        span = _guarded(
            lambda: self._tracer.start_span(
                f"send {escape_line(queue)}", kind=SpanKind.PRODUCER, attributes=attributes
            )
        )
        return SendSpan(span, linked=count > 1)

    def processing(self, job: JobRecord) -> ProcessSpan:
        """Start the span of an attempt: a child of the span that enqueued the job alone.

        It is linked to that span in any case, and the root of a trace of its own if several jobs
        were enqueued at once.
        """
        trace = job.options.trace
        sent = None if trace is None else _span_context(trace)
        attributes = _attributes("process", job.queue, job.task) | {
            "messaging.message.id": job.id,
            "conveyor.attempt": job.attempt,
        }
        if job.worker is not None:
            attributes["messaging.client.id"] = job.worker
        parent = NOTHING
        if trace is not None and sent is not None and not trace.linked:
            parent = api.set_span_in_context(NonRecordingSpan(sent), NOTHING)
        span = _guarded(
            lambda: self._tracer.start_span(
                f"process {escape_line(job.queue)}",
                context=parent,
                kind=SpanKind.CONSUMER,
                links=[] if sent is None else [Link(sent)],
                attributes=attributes,
            )
        )
        return ProcessSpan(span)


class SendSpan:
    """The span of an enqueue, which is not the current one while that waits."""

    def __init__(self, span: Span | None, *, linked: bool) -> None:
        self._span = span
        self.trace = None if span is None else _trace_of(span, linked=linked)

    def accepted(self, job_id: str) -> None:
        """Note the id of the only job."""
        span = self._span
        if span is not None:
            _guarded(lambda: span.set_attribute("messaging.message.id", job_id))

    def end(self, error: BaseException | None = None) -> None:
        """End the span; `error` is why the jobs were not enqueued."""
        span = self._span
        if span is None:
            return
        if error is not None:
            told = ErrorInfo(type(error).__name__, str(error))
            _guarded(lambda: _note_error(span, told))
        _guarded(span.end)


class ProcessSpan:
    """The span of an attempt."""

    def __init__(self, span: Span | None) -> None:
        self._span = span
        self.trace = None if span is None else _trace_of(span, linked=False)

    def attach(self) -> Token[Context] | None:
        """Make it the current span of this context, until `detach`."""
        return None if self._span is None else contexts.attach(api.set_span_in_context(self._span))

    def detach(self, token: Token[Context] | None) -> None:
        """Make what was current before `attach` the current span again."""
        if token is not None:
            contexts.detach(token)

    def variables(self) -> Variables:
        """Return context variables of which only this span is set, for the code of a thread."""
        variables = Variables()
        variables.run(self.attach)
        return variables

    def end(self, outcome: str, error: ErrorInfo | None) -> None:
        """End the span with the name of the outcome, and the error of a failed attempt."""
        span = self._span
        if span is None:
            return
        _guarded(lambda: span.set_attribute("conveyor.outcome", outcome))
        if error is not None:
            _guarded(lambda: _note_error(span, error))
        _guarded(span.end)


def attach(trace: TraceContext) -> None:
    """Make a span of another process the current one of this context."""
    found = _span_context(trace)
    if found is not None:
        contexts.attach(api.set_span_in_context(NonRecordingSpan(found)))


def _attributes(operation: str, queue: str, task: str) -> dict[str, Any]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": escape_line(queue),
        "conveyor.task": escape_line(task),
    }


def _note_error(span: Span, error: ErrorInfo) -> None:
    message = error.message[:MESSAGE_LIMIT]
    span.set_attribute("error.type", error.type)
    span.set_status(Status(StatusCode.ERROR, message or error.type))
    told = {"exception.type": error.type, "exception.message": message}
    if error.traceback:
        told["exception.stacktrace"] = error.traceback[-TRACEBACK_LIMIT:]
    span.add_event("exception", told)


def _trace_of(span: Span, *, linked: bool) -> TraceContext | None:
    """Return the context of a span as jobs carry it; None if it has none that can be carried."""
    found = span.get_span_context()
    parent = f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags) & 0xFF:02x}"
    return read_trace(parent, found.trace_state.to_header(), linked=linked)


def _span_context(trace: TraceContext) -> SpanContext | None:
    known = read_trace(trace.parent, trace.state)
    if known is None:
        return None
    _, trace_id, span_id, flags = known.parent.split("-")
    return SpanContext(
        int(trace_id, 16),
        int(span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(flags, 16)),
        trace_state=TraceState.from_header([known.state]) if known.state else None,
    )


def _guarded(act: Callable[[], T]) -> T | None:
    """Call foreign code; None if it raises."""
    try:
        return act()
    except Exception as error:  # noqa: BLE001 - it must not keep a job from running
        report(error)
        return None
