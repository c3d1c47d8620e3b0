"""On a terminal, the output of a job is text and colours, however it is cut into chunks."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.core.output_text import COLOUR, OutputText


def shown(*chunks: bytes) -> str:
    text = OutputText()
    return "".join([*map(text.feed, chunks), text.feed(b"", final=True)])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"plain\n\tand tabs\n", "plain\n\tand tabs\n"),
        (b"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m"),
        (b"\x1b[38;5;199mred", "\x1b[38;5;199mred\x1b[0m"),
        (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        (b"\x1b]52;c;AAAA\x1b\\\\", "\\x1b]52;c;AAAA\\x1b\\\\"),
        (b"\x1b[2J\x1b[H\x1bc", "\\x1b[2J\\x1b[H\\x1bc"),
        (b"\x1b[?25l\x1b[1;1m", "\\x1b[?25l\x1b[1;1m\x1b[0m"),
        (b"\x1b[" + b"1;" * 40 + b"m", "\\x1b[" + "1;" * 40 + "m"),
        (b"\xc2\x9b31m \xe2\x80\xae", "\\x9b31m \\u202e"),
        (b"no utf-8: \xff\xc3", "no utf-8: \\xff\\xc3"),
        (b"windows\r\n", "windows\n"),
        (b" 10%\r 20%\r", " 10%\n 20%\n"),
        (b"over\x08\x08\x7f\x00", "over\\x08\\x08\\x7f\\x00"),
        (b"\x1b", "\\x1b"),
        (b"\x1b[3", "\\x1b[3"),
    ],
)
def test_only_text_and_colours_are_shown(data: bytes, expected: str) -> None:
    assert shown(data) == expected
    # Colours are repeated with each chunk, and nothing else depends on the chunks.
    apart = shown(*(data[at : at + 1] for at in range(len(data))))
    assert COLOUR.sub("", apart) == COLOUR.sub("", expected)


@given(st.lists(st.binary(max_size=8)))
def test_no_chunks_add_up_to_a_control_sequence(chunks: list[bytes]) -> None:
    attack = [b"\x1b", b"]0;t\x07", *chunks, b"\xc2", b"\x9b", b"\r"]
    rest = re.sub(r"\x1b\[[0-9;:]*m", "", shown(*attack))
    assert all(letter in "\n\t" or letter.isprintable() or ord(letter) > 0xFF for letter in rest)


def test_a_text_of_others_between_two_chunks_has_no_colour() -> None:
    text = OutputText()
    assert text.feed(b"\x1b[1m\x1b[31mred") == "\x1b[1m\x1b[31mred\x1b[0m"
    assert text.feed(b"still\x1b[m") == "\x1b[1m\x1b[31mstill\x1b[m\x1b[0m"
    assert text.feed(b"plain") == "plain"
