"""Quotes words of commands that are shown to be copied into a shell.

`shlex.quote` keeps control characters. In a name that others chose, one could end the line, erase
on a terminal what is before it, or reorder what is read.
"""

from __future__ import annotations

import shlex

from .foreign_text import escape_line


def quote_word(word: str) -> str:
    r"""Return a word as a shell takes it; one with hidden characters as $'…' with bytes as \xNN.

    bash, zsh and ksh read it back as it was, in any locale.
    """
    if escape_line(word) == word:
        return shlex.quote(word)
    return f"$'{''.join(map(_escaped, word.encode('utf-8', 'surrogateescape')))}'"


def _escaped(byte: int) -> str:
    letter = chr(byte)
    if letter in "\\'":
        return f"\\{letter}"
    return letter if " " <= letter <= "~" else f"\\x{byte:02x}"
