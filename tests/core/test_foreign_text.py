"""Text that others wrote neither controls a terminal nor forges a line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.core.foreign_text import escape_block, escape_json, escape_line


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
        ("क्\u200dष", "क्\u200dष"),
        ("ad\u200dmin", "ad\\u200dmin"),
        ("日\u200d\u200d本", "日\u200d\\u200d本"),
        ("\u3164\u115f", "\\u3164\\u115f"),
        ("e\u0301", "e\u0301"),
        ("e" + "\u0301" * 8, "e" + "\u0301" * 6 + "\\u0301" * 2),
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


@given(st.text(st.characters(codec="utf-8")))
def test_json_means_the_same_when_it_is_escaped(text: str) -> None:
    document = escape_json(json.dumps({"x": text}, ensure_ascii=False))
    assert json.loads(document) == {"x": text}
    assert not any(127 <= ord(letter) < 160 for letter in document)


def test_json_shows_the_controls_that_it_may_contain_raw() -> None:
    shown = escape_json('"\x7f\x9b\u202e\U000e0041 日"')
    assert shown == '"\\u007f\\u009b\\u202e\\udb40\\udc41 日"'


def test_a_megabyte_of_attacks_is_escaped_in_bounded_time_and_space() -> None:
    assert len(escape_line("\U000e0041" * 100_000)) == 1_000_000
