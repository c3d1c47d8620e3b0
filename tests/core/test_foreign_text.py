"""Text that others wrote neither controls a terminal nor forges a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.core.foreign_text import escape_block, escape_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("naïve 日本語 🎉 नमस्ते", "naïve 日本語 🎉 नमस्ते"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        ("no\u00a0break", "no\u00a0break"),
        ("a\tb\nc\r", "a\\tb\\nc\\r"),
        ("\x1b]0;title\a", "\\x1b]0;title\\x07"),
        ("\x1b]52;c;Y2xpcGJvYXJk\x1b\\", "\\x1b]52;c;Y2xpcGJvYXJk\\x1b\\"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202ecod.exe", "a\\u202ecod.exe"),
        ("a\u2066b\u200fc\u2028d\ufeff", "a\\u2066b\\u200fc\\u2028d\\ufeff"),
        ("caf\udce9", "caf\\udce9"),
        ("\U000e0041", "\\U000e0041"),
        ("\x7f\x00", "\\x7f\\x00"),
    ],
)
def test_what_could_do_harm_is_escaped_and_all_else_stays(text: str, shown: str) -> None:
    assert escape_line(text) == shown


def test_a_block_keeps_its_lines_and_tabs() -> None:
    assert escape_block("one\r\n\ttwo\x1b[2J\rthree\n") == "one\n\ttwo\\x1b[2J\\rthree\n"


@given(st.text(st.characters(codec=None)))
def test_any_text_is_one_line_of_utf_8(text: str) -> None:
    shown = escape_line(text)
    assert len(shown.splitlines()) <= 1
    assert shown.encode().decode() == shown
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in shown)
