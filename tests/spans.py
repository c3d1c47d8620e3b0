"""An SDK of OpenTelemetry that keeps the spans in memory, for one test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from opentelemetry.util._once import Once


class Recorded:
    """The spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    @property
    def all(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [each for each in self.all if each.name == name]

    @property
    def sent(self) -> list[ReadableSpan]:
        return [each for each in self.all if each.kind is SpanKind.PRODUCER]

    @property
    def processed(self) -> list[ReadableSpan]:
        return [each for each in self.all if each.kind is SpanKind.CONSUMER]


@contextmanager
def recording() -> Iterator[Recorded]:
    """Configure the SDK within the context, as an application does once in its life."""
    recorded = Recorded()
    use_provider(recorded.provider)
    try:
        yield recorded
    finally:
        recorded.provider.shutdown()
        use_provider(None)


def use_provider(provider: trace.TracerProvider | None) -> None:
    # An application configures it once, so there is no public way back.
    trace._TRACER_PROVIDER_SET_ONCE = Once()
    trace._TRACER_PROVIDER = None
    if provider is not None:
        trace.set_tracer_provider(provider)


def trace_id(span: ReadableSpan) -> str:
    return f"{context(span).trace_id:032x}"


def span_id(span: ReadableSpan) -> str:
    return f"{context(span).span_id:016x}"


def context(span: ReadableSpan) -> trace.SpanContext:
    assert span.context is not None
    return span.context


def linked(span: ReadableSpan) -> list[str]:
    """Return the ids of the spans to which a span is linked."""
    return [f"{each.context.span_id:016x}" for each in span.links]
