"""Makes a span for each attempt, of which the job's code is a part; it observes the runners."""

from __future__ import annotations

from typing import Any

from ..core.lifecycle import Crashed, Failed, Unsupported
from ..runners.job_control import JobControl
from ..tracing.active import active_spans
from .attempt_metrics import outcome_name
from .observed_runners import Ended


class AttemptSpans:
    """Makes spans while an SDK of OpenTelemetry is configured."""

    def begin(self, control: JobControl) -> Any:
        """Start the span of an attempt, and make it the current one of the job's code."""
        spans = active_spans()
        if spans is None:
            return None
        span = spans.processing(control.job)
        control.span = span.trace
        if control.task.kind == "thread":
            control.variables = span.variables()
            return span, None
        # The code of a coroutine runs in a copy of this context.
        return span, span.attach()

    def end(self, control: JobControl, begun: Any, ended: Ended) -> None:
        """End the span with the outcome of the attempt."""
        if begun is None:
            return
        span, token = begun
        span.detach(token)
        error = ended.error if isinstance(ended, Failed | Crashed | Unsupported) else None
        span.end(outcome_name(control, ended), error)
