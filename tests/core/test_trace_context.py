"""Trace contexts that anybody may have written: what is read, and what is left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.core.trace_context import (
    MAX_MEMBERS,
    STATE_LIMIT,
    TraceContext,
    checked_trace,
    is_trace_state,
    read_trace,
)
from conveyor.errors import UsageError

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (PARENT, PARENT),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        # A later version, of which only what this one has is passed on.
        (f"cc-{TRACE}-{SPAN}-01", PARENT),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-then", PARENT),
        ("", None),
        (PARENT.upper(), None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"{PARENT}-more", None),
        (f"{PARENT}\n", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE[1:]}-{SPAN}-01", None),
        (f"cc-{TRACE}-{SPAN}-01-{'x' * 2000}", None),
        (f"{chr(0xFF10) * 2}-{PARENT[3:]}", None),
    ],
)
def test_a_traceparent_is_read_as_the_standard_says(given: str, read: str | None) -> None:
    found = read_trace(given)
    assert (found and found.parent) == read


@pytest.mark.parametrize(
    ("state", "valid"),
    [
        ("", True),
        ("a=1", True),
        ("vendor@tenant=x y, b=2,,", True),
        ("a", False),
        ("A=1", False),
        ("a=1=2", False),
        ("a=\n", False),
        ("a=ü", False),
        ("a=1 ", True),
        (",".join(f"k{number}=1" for number in range(MAX_MEMBERS)), True),
        (",".join(f"k{number}=1" for number in range(MAX_MEMBERS + 1)), False),
        (f"a={'x' * (STATE_LIMIT // 2 - 2)},b={'y' * (STATE_LIMIT // 2 - 3)}", True),
        (f"a={'x' * STATE_LIMIT}", False),
    ],
)
def test_a_tracestate_that_is_not_valid_is_left_out(state: str, valid: bool) -> None:
    assert is_trace_state(state) is valid
    assert read_trace(PARENT, state) == TraceContext(PARENT, state if valid else "")


@pytest.mark.parametrize(
    "wrong",
    [TraceContext("x" * 5000), TraceContext(f"cc{PARENT[2:]}"), TraceContext(PARENT, "=")],
)
def test_what_is_enqueued_is_refused_unless_it_can_be_passed_on_as_it_is(
    wrong: TraceContext,
) -> None:
    with pytest.raises(UsageError, match=r"trace\.(parent|state) must be a W3C") as error:
        checked_trace(wrong)
    assert len(str(error.value)) < 250


@pytest.mark.parametrize("state", ["", "a=1"])
def test_what_was_read_can_be_enqueued(state: str) -> None:
    found = read_trace(PARENT, state, linked=True)
    assert found is not None
    assert checked_trace(found) is found


@given(st.text(), st.text())
def test_any_text_is_read_or_left_out(parent: str, state: str) -> None:
    found = read_trace(parent, state)
    if found is not None:
        assert checked_trace(found) == found


def test_the_environment_of_programs_has_only_what_there_is() -> None:
    assert TraceContext(PARENT).environment() == {"TRACEPARENT": PARENT}
    assert TraceContext(PARENT, "a=1").environment() == {
        "TRACEPARENT": PARENT,
        "TRACESTATE": "a=1",
    }
