"""How a drill is shown: to a person, to a program, and what is told of a broken promise."""

from __future__ import annotations

import io

from rich.console import Console

from conveyor.drill import report
from conveyor.drill.runner import Played
from conveyor.drill.verdict import Check, Row

KEPT = Row("thread", (Check("back within 1 s", "back after 0.20 s", kept=True),))
BROKEN = Row(
    "command",
    (
        Check("back within 1 s", "back after 0.21 s", kept=True),
        Check("no process left", "2 processes left", kept=False),
    ),
    ("+0.21 s seen available under lease 1",),
)
GOOD = Played("drain", "SIGTERM", "All is handed back.", 3.0, (KEPT,))
BAD = Played("kill", "kill -9", "All is back.", 4.0, (KEPT, BROKEN))


def drawn(*played: Played) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(report.drawn(played))
    return out.getvalue()


def test_a_person_sees_scene_by_scene_what_was_promised_and_what_happened() -> None:
    text = drawn(GOOD, BAD)
    assert "✓ SIGTERM  drain, 3.0 s" in text
    assert "All is handed back." in text
    assert "✗ kill -9  kill, 4.0 s" in text
    assert "✗  command  back after 0.21 s, 2 processes left" in text


def test_a_program_gets_a_line_a_row() -> None:
    assert report.lines([BAD])[1] == (
        "kill",
        "command",
        "NO",
        "back within 1 s, no process left",
        "back after 0.21 s, 2 processes left",
    )


def test_the_verdict_is_a_sentence_that_counts() -> None:
    assert report.verdict([GOOD], 3.2) == "All 1 promises in 1 scene were kept, seen within 3 s."
    assert report.verdict([GOOD, BAD], 8.0) == (
        "1 of 4 promises in 2 scenes were not kept: see kill."
    )


def test_of_a_broken_promise_there_is_a_story_and_of_a_kept_one_none() -> None:
    assert report.stories([GOOD]) == []
    assert report.stories([BAD]) == [
        "",
        "kill, command",
        "  promised: no process left; happened: 2 processes left",
        "    +0.21 s seen available under lease 1",
    ]
