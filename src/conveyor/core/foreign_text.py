"""Makes text safe to show that others wrote: names, errors and output of jobs and machines.

Such text may contain escape sequences that change a terminal's title or clipboard, line breaks
that forge rows of a table or lines of a log, and bidi controls that reorder what is read.
"""

from __future__ import annotations

from unicodedata import category

# Controls, bidi and other format characters, bytes that were not UTF-8, line and paragraph breaks.
UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Joiners: invisible, but part of how emoji and several scripts are written.
JOINERS = "\u200c\u200d"
# What a block of text may contain beside printable characters.
BLOCK_CONTROLS = "\n\t"


def escape_line(text: str) -> str:
    r"""Return text as one line: control characters as \n, \x1b or \u202e, all else unchanged."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def escape_block(text: str) -> str:
    """Return text as lines: like `escape_line`, but line breaks and tabs stay."""
    return "".join(
        letter if letter in BLOCK_CONTROLS else _escaped(letter)
        for letter in text.replace("\r\n", "\n")
    )


def _escaped(letter: str) -> str:
    unsafe = category(letter) in UNSAFE and letter not in JOINERS
    return ascii(letter)[1:-1] if unsafe else letter
