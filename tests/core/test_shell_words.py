"""A word of a command that is shown is what a shell reads, and hides nothing."""

from __future__ import annotations

import subprocess

import pytest

from conveyor.core.foreign_text import escape_line
from conveyor.core.shell_words import quote_word


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("mail", "mail"),
        ("two words", "'two words'"),
        ("naïve", "'naïve'"),
        ("a\nrm -rf x", r"$'a\x0arm -rf x'"),
        ("\x1b[2K'\\$x`id`", r"$'\x1b[2K\'\\$x`id`'"),
        ("a\u202ecod.exe", r"$'a\xe2\x80\xaecod.exe'"),
        ("\x01f1", r"$'\x01f1'"),
        ("caf\udce9", r"$'caf\xe9'"),
    ],
)
def test_a_shell_reads_the_word_and_a_person_sees_all_of_it(word: str, quoted: str) -> None:
    assert quote_word(word) == quoted
    assert escape_line(quoted) == quoted
    told = subprocess.run(["bash", "-c", f"printf %s {quoted}"], capture_output=True, check=True)
    assert told.stdout == word.encode("utf-8", "surrogateescape")
