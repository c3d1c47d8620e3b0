"""No log line of Conveyor has a control character of others, whatever handler gets it."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import conveyor
from conveyor.core.event_log import open_event_log

SOURCE = Path(conveyor.__file__).parent
LEVELS = ("debug", "info", "warning", "error", "exception", "critical", "log")
EVIL = "x\x1b]0;title\a\r\n2026-01-01 INFO all is well\u202e\x9b1m\x7f\u200b"


def calls() -> Iterator[tuple[Path, str, ast.Call]]:
    """Return each call of a method or a function in the source, with its name."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                yield path, name, node


def formats() -> set[str]:
    """Return the format of each log line in the source."""
    return {
        part.value
        for _, name, call in calls()
        if name in LEVELS and isinstance(call.func, ast.Attribute)
        if isinstance(call.func.value, ast.Name) and call.func.value.id == "log"
        for part in call.args[:2]
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }


def line(log: logging.Logger, text: str, *args: object, error: BaseException | None = None) -> str:
    """Return what a plain formatter of the application makes of a record."""
    lines: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(logging.Formatter("%(message)s").format(record))

    handler = Keeping()
    log.addHandler(handler)
    try:
        log.critical(text, *args, exc_info=error)
    finally:
        log.removeHandler(handler)
    return lines[0]


@pytest.mark.parametrize("text", sorted(formats()))
def test_no_event_has_a_control_character_of_others(text: str) -> None:
    fields = re.findall(r"%[.\d]*([a-z])", text)
    args = [EVIL if kind == "s" else 1 for kind in fields]
    assert line(open_event_log("test"), text, *args).isprintable()


def test_there_are_events() -> None:
    assert len(formats()) > 40


def test_all_loggers_are_opened_by_one_function() -> None:
    # By a name that the module itself writes.
    opened = [
        f"{path}:{call.lineno}"
        for path, name, call in calls()
        if name == "getLogger" and call.args
        if not isinstance(call.args[0], ast.Attribute | ast.Name)
    ]
    assert opened == [f"{SOURCE / 'core' / 'event_log.py'}:{opened[0].rpartition(':')[2]}"]


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_errors_and_tracebacks_are_escaped() -> None:
    log = open_event_log("test")
    assert line(log, "a.b error=%s", LookupError(EVIL)).isprintable()
    assert line(log, "a.b error=%s", UnprintableError()) == (
        "a.b error=(cannot be printed: RuntimeError)"
    )
    shown = line(log, "a.b", error=LookupError(EVIL))
    assert all(letter == "\n" or letter.isprintable() for letter in shown)
    assert "LookupError: x\\x1b]0;title" in shown


def test_an_exception_with_a_very_long_text_does_not_fill_the_log() -> None:
    log = open_event_log("test.long")
    shown = line(log, "failed", error=ValueError("x" * 1_000_000 + "the end"))
    assert len(shown) < 60_000
    assert "(cut, 1,000," in shown
    assert "the end" in shown


def test_numbers_stay_numbers() -> None:
    assert line(open_event_log("test"), "a.b n=%d f=%.1f", 3, 0.25) == "a.b n=3 f=0.2"
