"""The trace that a job belongs to, as W3C Trace Context has it, which anybody may have written."""

from __future__ import annotations

import re

import msgspec

from ..errors import UsageError

# Of version 00. What a later version appends is left out.
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
# One entry of `tracestate`: a key, and a value that does not end with a space.
MEMBER = (
    r"[a-z0-9][a-z0-9_\-*/@]{0,255}="
    r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MEMBER = re.compile(MEMBER)
STATE_LIMIT, MAX_MEMBERS = 512, 32
# What is looked at of a longer value.
_LOOKED_AT = 1024


class TraceContext(msgspec.Struct, frozen=True, omit_defaults=True):
    """The span that enqueued a job: the values of `traceparent` and `tracestate`.

    `linked`: it enqueued several jobs at once, so their spans refer to it by a link. Otherwise it
    is the parent of theirs.
    """

    parent: str
    state: str = ""
    linked: bool = False

    def environment(self) -> dict[str, str]:
        """Return the environment variables in which a program finds it."""
        found = {"TRACEPARENT": self.parent}
        return {**found, "TRACESTATE": self.state} if self.state else found


def read_trace(parent: str, state: str = "", *, linked: bool = False) -> TraceContext | None:
    """Return what foreign values mean; None if `parent` is no `traceparent`.

    As the standard wants it, a `state` that cannot be read is left out.
    """
    found = _PARENT.fullmatch(parent) if len(parent) <= _LOOKED_AT else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if (
        version == "ff"
        or (version == "00" and more)
        or not (int(trace_id, 16) and int(span_id, 16))
    ):
        return None
    kept = state if is_trace_state(state) else ""
    return TraceContext(f"00-{trace_id}-{span_id}-{flags}", kept, linked)


def is_trace_state(state: str) -> bool:
    """Whether a text is the value of `tracestate`, within the size that everybody must pass on."""
    if len(state) > STATE_LIMIT:
        return False
    members = [each.strip(" \t") for each in state.split(",")] if state else []
    named = [each for each in members if each]
    return len(named) <= MAX_MEMBERS and all(_MEMBER.fullmatch(each) for each in named)


def checked_trace(trace: TraceContext) -> TraceContext:
    """Return the trace of a job that is enqueued; UsageError if it is not valid."""
    if read_trace(trace.parent) != TraceContext(trace.parent):
        raise UsageError(
            "trace.parent must be a W3C traceparent of version 00, like "
            f"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, got {trace.parent[:80]!r}"
        )
    if not is_trace_state(trace.state):
        raise UsageError(
            f"trace.state must be a W3C tracestate of at most {STATE_LIMIT} characters, "
            f"got {trace.state[:80]!r}"
        )
    return trace
