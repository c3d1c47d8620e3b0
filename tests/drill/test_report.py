"""The report of a drill: for people, for programs, and the details of broken promises."""

from __future__ import annotations

import io

from rich.console import Console

from conveyor.drill import report
from conveyor.drill.checks import Check, Row
from conveyor.drill.runner import ScenarioResult

KEPT = Row("thread", (Check("back within 1 s", "back after 0.20 s", kept=True),))
BROKEN = Row(
    "command",
    (
        Check("back within 1 s", "back after 0.21 s", kept=True),
        Check("no process left", "2 processes left", kept=False),
    ),
    ("+0.21 s seen available under lease 1",),
)
GOOD = ScenarioResult("drain", "SIGTERM", "All is released.", 3.0, (KEPT,))
BAD = ScenarioResult("kill", "kill -9", "All is back.", 4.0, (KEPT, BROKEN))


def drawn(*results: ScenarioResult) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(report.render(results))
    return out.getvalue()


def test_a_person_sees_by_scenario_what_was_promised_and_what_happened() -> None:
    text = drawn(GOOD, BAD)
    assert "✓ SIGTERM  drain, 3.0 s" in text
    assert "All is released." in text
    assert "✗ kill -9  kill, 4.0 s" in text
    assert "✗  command  back after 0.21 s, 2 processes left" in text


def test_a_program_gets_a_line_a_row() -> None:
    assert report.table_rows([BAD])[1] == (
        "kill",
        "command",
        "NO",
        "back within 1 s, no process left",
        "back after 0.21 s, 2 processes left",
    )


def test_the_summary_is_a_sentence_with_counts() -> None:
    assert report.summary([GOOD], 3.2) == "All 1 promises in 1 scenario were kept (3 s)."
    assert report.summary([GOOD, BAD], 8.0) == (
        "1 of 4 promises in 2 scenarios were not kept: see kill."
    )


def test_only_broken_promises_have_details() -> None:
    assert report.failure_details([GOOD]) == []
    assert report.failure_details([BAD]) == [
        "",
        "kill, command",
        "  promised: no process left; happened: 2 processes left",
        "    +0.21 s seen available under lease 1",
    ]
