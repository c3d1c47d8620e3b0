"""Finds out whether the application traces. It costs a look-up where OpenTelemetry is not used."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..core.trace_context import TraceContext
from .failure import report

if TYPE_CHECKING:
    from .spans import Spans

API = "opentelemetry.trace"


def active_spans() -> Spans | None:
    """Return what makes spans; None unless an OpenTelemetry SDK is configured in this process."""
    api: Any = sys.modules.get(API)
    if api is None:
        return None
    try:
        # Each call of `get_tracer_provider` reads the environment while none is set, which takes
        # most of a microsecond. The first one is enough for that.
        if getattr(api, "_TRACER_PROVIDER", api) is None and _has_no_provider(api):
            return None
        provider = api.get_tracer_provider()
        if isinstance(provider, api.ProxyTracerProvider):
            return None
        return _spans_of(provider)
    except Exception as error:  # noqa: BLE001 - foreign code, which must not keep a job from running
        report(error)
        return None


def continue_trace(trace: TraceContext | None) -> None:
    """Make the trace of a job the current one of this context, if the application may look."""
    if trace is None or API not in sys.modules:
        return
    # Only where the application has imported the library.
    from .spans import attach  # noqa: PLC0415

    attach(trace)


@lru_cache(maxsize=1)
def _has_no_provider(api: Any) -> bool:
    """Whether the environment names no provider either; if it does, this sets that."""
    return isinstance(api.get_tracer_provider(), api.ProxyTracerProvider)


@lru_cache(maxsize=1)
def _spans_of(provider: Any) -> Spans:
    from .spans import Spans  # noqa: PLC0415 - only where the application has imported the library

    return Spans(provider)
